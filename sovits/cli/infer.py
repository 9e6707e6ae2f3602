"""svc infer."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from sovits.cli.models import choose
from sovits.cli.options import option_flags
from sovits.cli.progress import bar, note
from sovits.cli.refine import check_refiner, refined
from sovits.cli.workers import check_workers, result_lines, workplace
from sovits.config import ConvertOptions, NativeConfig
from sovits.errors import AudioError, ConfigError, OutputError

if TYPE_CHECKING:
    from sovits.voice import Voice

RESULT = ".out.wav"
"""How the names of results end, by which they are not converted again."""


@dataclass(frozen=True, kw_only=True)
class Infer:
    """Sing or say INPUT in another voice."""

    input_path: Positional[Annotated[Path, arg(metavar="INPUT")]]
    """Sound file, or with -re a folder of them."""
    output_path: Annotated[Path | None, arg(aliases=("-o",), metavar="PATH")] = None
    """File or folder for the result; NAME.out.wav beside INPUT if not given."""
    model_path: Annotated[str | None, arg(aliases=("-m",), metavar="MODEL")] = None
    """Voice file, folder, name (see svc voices) or hub:OWNER/REPO; else logs/44k, else bundled."""
    config_path: Annotated[Path | None, arg(aliases=("-c",), metavar="PATH")] = None
    """Settings of a G_*.pth; config.json beside it if not given."""
    recursive: Annotated[bool, arg(aliases=("-re",))] = False
    """Convert every sound in the folder INPUT and its subfolders."""
    workers: Annotated[str, arg(metavar="N")] = "1"
    """Processes for -re, or actors with --ray; auto: as many as cores, memory or GPUs allow."""
    ray: Annotated[str | None, arg(metavar="ADDRESS")] = None
    """With -re, work on the machines of a Ray cluster, HOST:6379; auto: the one of this machine."""
    device: Annotated[str, arg(aliases=("-d",))] = "auto"
    """Where networks compute: auto, cpu, cuda, cuda:1, mps."""
    shallow_diffusion: Annotated[bool, arg(aliases=("-shd",))] = False
    """Refine with the refiner's own strength, if --refine is not given."""
    k_step: Annotated[int | None, arg(aliases=("-ks",), metavar="STEPS")] = None
    """In place of --refine: steps of noise, of refiners of so-vits-svc; theirs is 100."""
    conversion: Annotated[ConvertOptions, OmitArgPrefixes, arg(constructor=option_flags())]

    def run(self) -> int:
        """Convert, and print where each result is."""
        self._check_input()
        check_workers(self.workers)
        choice = choose(self.model_path, self.config_path)
        retrieval = self.conversion.retrieval
        if retrieval is not None and not Path(retrieval).is_file():
            raise ConfigError.no_retrieval(Path(retrieval))
        if retrieval is not None and not self.conversion.retrieval_ratio:
            note(f"{retrieval} is not used, as -r is 0. Add -r 0.5, say.")
        check_refiner(self.conversion, self._refines)
        if choice.because:
            note(choice.because)
        if not self.recursive:
            check_output(self._pair()[1])
        # From here on with torch, so only when all else is right.
        from sovits.device import choose_arithmetic, choose_device
        from sovits.voice import load_voice

        pairs = list(self._pairs()) if self.recursive else [self._pair()]
        # Of a cluster, other machines may have GPUs.
        device = choose_device("cpu" if self.recursive and self.ray else self.device)
        voice = load_voice(choice.model, choice.config, device=device)
        for remark in voice.remarks:
            note(remark)
        if self.conversion.precision == "auto":
            light = isinstance(voice.config.synthesizer, NativeConfig)
            note(f"Precision: {choose_arithmetic('auto', voice.device, light=light).because}")
        if self._refines or self.conversion.refine or self.conversion.only_refiner:
            # Now that its refiner is known, it is known how strong this is to be.
            strong = refined(voice, self.conversion, self.k_step)
            return replace(self, conversion=strong)._run(voice, choice.config, pairs)
        return self._run(voice, choice.config, pairs)

    @property
    def _refines(self) -> bool:
        """Whether a refiner is asked for by the flags of so-vits-svc."""
        return self.shallow_diffusion or self.k_step is not None

    def _run(self, voice: Voice, config: Path | None, pairs: list[tuple[Path, Path]]) -> int:
        """Convert all there is."""
        from sovits.mixing import mix_of

        mix = mix_of(self.conversion, voice.row)
        self._open_index(voice, mix.names)
        if self.recursive:
            return self._convert_all(voice, config, pairs)
        self._convert(voice, *pairs[0])
        return 0

    def _convert(self, voice: Voice, source: Path, out: Path) -> None:
        from sovits.convert import convert_file

        options = transposed(voice, source, self.conversion)
        out.parent.mkdir(parents=True, exist_ok=True)
        with bar(source.name) as move:
            convert_file(voice, source, out, options, on_progress=move)
        print(out, flush=True)

    def _convert_all(
        self, voice: Voice, config: Path | None, pairs: list[tuple[Path, Path]]
    ) -> int:
        """Convert what can be converted, name the rest, and return the exit status."""
        from sovits.folder import (
            BYTES_EACH,
            VoiceFile,
            convert_files,
            files_of,
            with_absolute_paths,
        )

        options, folder = self.conversion, self.output_path or self.input_path
        model = voice.path or Path(str(self.model_path))
        folder.mkdir(parents=True, exist_ok=True)
        shared = [self.input_path, folder]
        if self.ray is not None:  # other machines have other current folders
            folder, model = folder.absolute(), model.absolute()
            config = config and config.absolute()
            pairs = [(source.absolute(), out.absolute()) for source, out in pairs]
            options = with_absolute_paths(options)
            shared = [self.input_path.absolute(), folder, *files_of(options).values()]
        show = result_lines()
        with (
            workplace(
                check_workers(self.workers),
                self.ray,
                bytes_each=BYTES_EACH,
                device=self.device,
                shared=shared,
            ) as place,
            bar(f"{len(pairs)} files") as move,
        ):
            outcome = convert_files(
                voice,
                VoiceFile(model, config, place.device),
                pairs,
                options,
                folder=folder,
                crew=place.crew,
                on_result=show,
                on_progress=move,
            )
        if outcome.kept:
            note(f"{len(outcome.kept)} files were converted by an earlier run that did not finish.")
        for failure in outcome.failed:
            note(f"svc: {failure.reason}")
        if outcome.failed:
            note(f"svc: {len(outcome.failed)} of {len(pairs)} files could not be converted.")
        return 1 if outcome.failed else 0

    def _open_index(self, voice: Voice, speakers: Sequence[str | None]) -> None:
        """Read what is retrieved from, so that what is wrong with it is said once."""
        options = self.conversion
        if not options.retrieval_ratio:
            return
        path = voice.index_path() if options.retrieval is None else Path(options.retrieval)
        if options.retrieval is None:
            note(f"Retrieving from {path}.")
        for speaker in speakers:
            voice.index(path, speaker)

    def _check_input(self) -> None:
        """Refuse what is not there, and a folder where a file is meant."""
        source, out = self.input_path, self.output_path
        if not source.exists():
            raise AudioError.missing(source)
        if source.is_dir() and not self.recursive:
            raise AudioError.needs_recursive(source)
        if self.recursive and not source.is_dir():
            raise AudioError.not_a_folder(source)
        if self.recursive and out is not None and out.exists() and not out.is_dir():
            raise OutputError.not_a_folder(out)

    def _pair(self) -> tuple[Path, Path]:
        """Return the one source, and where its result goes."""
        source = self.input_path
        default = source.with_name(source.stem + RESULT)
        out = self.output_path or default
        if out.is_dir():
            out /= default.name
        if out.exists() and out.samefile(source):
            raise OutputError.same_as_source(out)
        if not out.parent.is_dir():
            raise OutputError.no_folder(out)
        return source, out

    def _pairs(self) -> Iterator[tuple[Path, Path]]:
        """Yield the sounds in a folder, but not the results of an earlier run."""
        from sovits.audio.io import AUDIO_SUFFIXES

        folder = self.input_path
        out = self.output_path or folder
        taken: set[Path] = set()
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        for path in paths:
            inside = path.relative_to(folder)
            hidden = any(part.startswith(".") for part in inside.parts)
            result = path.name.lower().endswith(RESULT)
            if hidden or result or path.suffix.lower() not in AUDIO_SUFFIXES:
                continue
            target = out / inside.with_name(path.stem + RESULT)
            if target in taken:  # song.mp3 beside song.wav
                target = out / inside.with_name(path.name + RESULT)
            taken.add(target)
            yield path, target
        if not taken:
            raise AudioError.none_in_folder(folder)


def transposed(voice: Voice, source: Path, options: ConvertOptions) -> ConvertOptions:
    """Say what lies outside the range of a voice, and move it if that is asked for.

    Raises:
        VoiceError: It is asked for, and the voice does not tell its range.
    """
    from sovits.audio.io import AudioReader
    from sovits.convert import into_range, range_fit

    with AudioReader(source) as reader:
        if options.auto_transpose:
            moved = into_range(voice, reader, options)
            note(f"{source.name}: transposed by {moved.semitones:+g} semitones.")
            return moved
        found = range_fit(voice, reader, options)
    if found is not None and not found.fits:
        note(f"{source.name}: {found.sentence()}")
    return options


def check_output(path: Path) -> None:
    """Refuse what cannot be written, before the work is done.

    Raises:
        OutputError: There is no folder for `path`, or it may not be written.
    """
    if path.exists() and not path.is_file():
        raise OutputError.not_a_file(path)
    folder = next(parent for parent in path.parents if parent.exists())
    if not folder.is_dir():
        raise OutputError.no_folder(path)
    if not os.access(folder, os.W_OK):
        raise OutputError.cannot_write(path, f"{folder} may not be written to")
