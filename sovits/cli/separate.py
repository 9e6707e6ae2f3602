"""svc separate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from sovits.cli.infer import check_output
from sovits.cli.progress import bar, note
from sovits.config import SeparateOptions
from sovits.errors import AudioError, SovitsError

if TYPE_CHECKING:
    from sovits.separation.job import SeparationJob


@dataclass(frozen=True, kw_only=True)
class Separate:
    """Take SONG apart into vocals and accompaniment, whose sum is SONG."""

    songs: Positional[Annotated[tuple[Path, ...], arg(metavar="SONG...")]]
    """Sound files, or folders of them."""
    output_path: Annotated[Path | None, arg(aliases=("-o",), metavar="DIR")] = None
    """Folder for the results, DIR/SONG/vocals.wav and accompaniment.wav; beside SONG if not given.
    """
    device: Annotated[str, arg(aliases=("-d",))] = "auto"
    """Where networks compute: auto, cpu, cuda, cuda:1, mps."""
    separation: Annotated[SeparateOptions, OmitArgPrefixes]

    def run(self) -> int:
        """Separate what can be, name the rest, and print where the results are."""
        if not self.songs:
            raise AudioError.none_named()
        for song in self.songs:
            if not song.exists():
                raise AudioError.missing(song)
        if self.output_path is not None:
            check_output(self.output_path / "song" / "vocals.wav")
        # From here on with torch, so only when all else is right.
        from sovits.device import choose_device
        from sovits.separation.job import SeparationJob

        pairs = list(self._pairs())
        job = SeparationJob(self.separation, choose_device(self.device))
        if len(pairs) == 1:
            self._separate(job, *pairs[0])
            return 0
        failed = 0
        for song, folder in pairs:
            try:
                self._separate(job, song, folder)
            except SovitsError as error:
                failed += 1
                note(f"svc: {error}" if str(song) in str(error) else f"svc: {song}: {error}")
        if failed:
            note(f"svc: {failed} of {len(pairs)} files could not be separated.")
        return 1 if failed else 0

    def _separate(self, job: SeparationJob, song: Path, folder: Path) -> None:
        with bar(song.name) as move:
            for path in job.run(song, folder, on_progress=move).values():
                print(path, flush=True)

    def _pairs(self) -> Iterator[tuple[Path, Path]]:
        """Yield every song, and the folder for its stems."""
        from sovits.audio.io import AUDIO_SUFFIXES

        taken: set[Path] = set()
        for given in self.songs:
            inside = [given]
            if given.is_dir():
                files = sorted(path for path in given.rglob("*") if path.is_file())
                inside = [path for path in files if path.suffix.lower() in AUDIO_SUFFIXES]
                if not inside:
                    raise AudioError.none_in_folder(given)
            for song in inside:
                parent = song.parent if self.output_path is None else self.output_path
                folder = parent / song.stem
                if folder in taken or folder == song:  # song.mp3 beside song.wav
                    folder = parent / f"{song.name}.stems"
                taken.add(folder)
                yield song, folder
