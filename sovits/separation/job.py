"""One separation as it was asked for, of as many songs as there are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from sovits.audio.io import AudioReader, AudioWriter
from sovits.config import SeparateOptions
from sovits.separation.clean import Cleaner, clean
from sovits.separation.community import load_community, separate_with
from sovits.separation.denoise import load_denoiser
from sovits.separation.dereverb import Dereverberator
from sovits.separation.registry import load_separator, model_named
from sovits.separation.separate import separate_file

Progress = Callable[[float], None]


class SeparationJob:
    """Separates songs, one after the other, with networks that are loaded once.

    Args:
        options: What is asked for.
        device: Where networks compute.

    Raises:
        SeparationError: There is no such model, or its package is not installed.
    """

    def __init__(self, options: SeparateOptions, device: str = "cpu") -> None:
        self.options = options
        model = model_named(options.model)
        self._separate: Callable[[Path, dict[str, Path], Progress], None]
        if model.file is None:
            separator = load_separator(options.model, device)
            self._separate = lambda song, stems, progress: separate_file(
                song, stems, separator, on_progress=progress
            )
        else:
            found = load_community(model)
            self._separate = lambda song, stems, _: separate_with(found, song, stems)
        self.cleaners: list[Cleaner] = []
        if options.denoise:
            self.cleaners.append(load_denoiser())
        if options.dereverb:
            self.cleaners.append(Dereverberator())

    def run(
        self, song: Path, folder: Path, *, on_progress: Progress | None = None
    ) -> dict[str, Path]:
        """Write the stems of `song` into `folder`, and return where they are, by name.

        Raises:
            AudioError: `song` cannot be read.
            OutputError: A stem cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        stems = {name: folder / f"{name}.wav" for name in self.options.names}
        self.into(song, stems, on_progress=on_progress)
        return stems

    def into(
        self, song: Path, stems: dict[str, Path], *, on_progress: Progress | None = None
    ) -> None:
        """Write the stems of `song` to the files that are named; raises as `run` does."""
        progress = on_progress or (lambda _: None)
        cleaners = self.cleaners if "vocals" in stems else []
        steps = 1 + len(cleaners)
        if not cleaners:
            self._separate(song, stems, progress)
            return
        with TemporaryDirectory(prefix=".sovits-", dir=stems["vocals"].parent) as name:
            raw = [Path(name) / f"{i}.wav" for i in range(steps - 1)]
            files = [*raw, stems["vocals"]]
            self._separate(song, {**stems, "vocals": files[0]}, partial(_share, progress, 0, steps))
            for i, cleaner in enumerate(cleaners):
                clean_file(files[i], files[i + 1], cleaner, partial(_share, progress, i + 1, steps))


def clean_file(
    source: Path, out: Path, cleaner: Cleaner, on_progress: Progress | None = None
) -> None:
    """Clean a file in bounded memory: as long as before, with its rate and channels.

    Raises:
        AudioError: `source` cannot be read.
        OutputError: `out` cannot be written.
    """
    exact = "FLOAT" if out.suffix.lower() == ".wav" else None
    with (
        AudioReader(source) as reader,
        AudioWriter(out, reader.sample_rate, reader.channels, subtype=exact) as writer,
    ):
        clean(reader, cleaner, writer.write, on_progress)


def _share(progress: Progress, step: int, steps: int, share: float) -> None:
    """Tell how much of all steps is done."""
    progress((step + share) / steps)
