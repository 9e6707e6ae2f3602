"""svc evaluate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from sovits.choices import check_f0_method
from sovits.cli.infer import check_output
from sovits.cli.models import choose
from sovits.cli.options import option_flags
from sovits.cli.progress import bar, note
from sovits.config import ConvertOptions
from sovits.errors import AudioError, EvaluationError, OutputError
from sovits.evaluate.metrics import choose_metrics


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Convert SOURCE with a voice, and measure how good the results are."""

    source: Positional[Annotated[tuple[Path, ...], arg(metavar="SOURCE...")]]
    """Recordings, or folders of them. What is said in talk.wav may stand in talk.txt beside it."""
    voice: Annotated[str | None, arg(aliases=("-m", "--model-path"), metavar="VOICE")] = None
    """Voice to judge: as -m of svc infer."""
    config_path: Annotated[Path | None, arg(aliases=("-c",), metavar="PATH")] = None
    """Settings of a G_*.pth; config.json beside it if not given."""
    target: Annotated[Path | None, arg(metavar="DIR")] = None
    """Recordings of whom the voice should sound like; for bundled voices there is one."""
    metrics: Annotated[str | None, arg(metavar="LIST")] = None
    """Some of similarity,intelligibility,pitch,quality,reconstruction,speed; all if not given."""
    report: Annotated[Path | None, arg(metavar="PATH")] = None
    """Page to write (HTML), with players and spectrograms."""
    json_path: Annotated[Path | None, arg(name="json", metavar="PATH")] = None
    """File to write all numbers to."""
    output_path: Annotated[Path | None, arg(aliases=("-o",), metavar="DIR")] = None
    """Folder to keep the converted sounds in; they are deleted if not given."""
    pitch_judge: Annotated[str | None, arg(metavar="METHOD")] = None
    """Pitch method to measure by; crepe-tiny if not given, or swift if crepe-tiny sings."""
    language: Annotated[str | None, arg(metavar="CODE")] = None
    """Language of the sources, such as en; told from the sound if not given."""
    device: Annotated[str, arg(aliases=("-d",))] = "auto"
    """Where networks compute: auto, cpu, cuda, cuda:1, mps."""
    conversion: Annotated[ConvertOptions, OmitArgPrefixes, arg(constructor=option_flags())]

    def run(self) -> int:
        """Evaluate, and print the table, and where the files are."""
        self._check_paths()
        metrics = choose_metrics(self.metrics)
        judge = None if self.pitch_judge is None else check_f0_method(self.pitch_judge)
        choice = choose(self.voice, self.config_path)
        if choice.because:
            note(choice.because)
        # From here on with torch, so only when all else is right.
        from rich.console import Console

        from sovits.device import choose_device
        from sovits.evaluate.evaluation import evaluate
        from sovits.evaluate.report import write_json, write_report
        from sovits.evaluate.table import table
        from sovits.voice import load_voice

        sources = self._sources()
        voice = load_voice(choice.model, choice.config, device=choose_device(self.device))
        for remark in voice.remarks:
            note(remark)
        with self._folder() as folder:
            with bar("evaluating") as move:
                found = evaluate(
                    voice,
                    sources,
                    folder,
                    options=self.conversion,
                    target=self.target,
                    metrics=metrics,
                    judge=judge,
                    language=self.language,
                    on_progress=move,
                )
            Console(highlight=False).print(table(found))
            for remark in found.notes:
                note(remark)
            if self.json_path is not None:
                write_json(self.json_path, found)
                print(self.json_path)
            if self.report is not None:
                write_report(self.report, found, folder)
                print(self.report)
        return 0

    def _check_paths(self) -> None:
        """Refuse what is not there, and what cannot be written."""
        if not self.source:
            raise EvaluationError.no_sources()
        for source in self.source:
            if not source.exists():
                raise AudioError.missing(source)
        if self.target is not None and not self.target.exists():
            raise EvaluationError.no_target_sounds(self.target)
        for path in (self.report, self.json_path):
            if path is not None:
                check_output(path)
                if not path.parent.is_dir():
                    raise OutputError.no_folder(path)
        out = self.output_path
        if out is not None and out.exists() and not out.is_dir():
            raise OutputError.not_a_folder(out)

    def _sources(self) -> list[Path]:
        """Return the recordings, those in folders among them."""
        from sovits.evaluate.target import sounds_in

        found: list[Path] = []
        for source in self.source:
            inside = sounds_in(source) if source.is_dir() else [source]
            if not inside:
                raise AudioError.none_in_folder(source)
            found += inside
        return found

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        """Hand out the folder for the converted sounds."""
        if self.output_path is not None:
            self.output_path.mkdir(parents=True, exist_ok=True)
            yield self.output_path
            return
        with TemporaryDirectory(prefix="sovits-evaluate-") as folder:
            yield Path(folder)
