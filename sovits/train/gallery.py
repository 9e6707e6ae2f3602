"""What was sung at evaluations, kept to be listened to and looked at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from sovits.audio.io import AudioWriter
from sovits.errors import OutputError
from sovits.evaluate.pictures import Pixels, png, spectrograms
from sovits.train.probe import Probe
from sovits.types import Wave

FOLDER = "probe"
"""Where it lies, beside the checkpoints."""
SOURCE = "source"
MOST_SHOWN = 8
"""Evaluations that are kept besides the best and the newest."""


class Gallery:
    """Sounds and spectrograms in files, by step and by the key of a probe."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER

    def add(self, step: int, probes: Sequence[Probe], sung: Sequence[Wave], rate: int) -> None:
        """Keep what was made of each probe, and once what it was made of.

        Raises:
            OutputError: A file cannot be written.
        """
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError.cannot_write(self.folder, error.strerror or str(error)) from error
        for probe, wave in zip(probes, sung, strict=True):
            source, made = _pictures(probe, wave, rate)
            self._write(f"{step}-{probe.key}", wave, rate, png(made))
            name = f"{SOURCE}-{probe.key}"
            if not self._path(name, ".png").is_file():
                self._write(name, probe.source, probe.source_rate, png(source))

    def pixels(self, probe: Probe, wave: Wave, rate: int) -> Pixels:
        """Return the spectrogram of what was made of a probe."""
        return _pictures(probe, wave, rate)[1]

    def prune(self, kept: Iterable[int]) -> None:
        """Delete what was made at any other step than these."""
        names = {str(step) for step in kept}
        for path in self.folder.glob("*-*"):
            first = path.name.partition("-")[0]
            if first.isdecimal() and first not in names:
                path.unlink(missing_ok=True)

    def forget_after(self, step: int) -> None:
        """Delete what a training that goes on from `step` will make again."""
        self.prune(made for made in self.steps() if made <= step)

    def steps(self) -> list[int]:
        """Return at which steps something was kept."""
        first = {path.name.partition("-")[0] for path in self.folder.glob("*-*")}
        return sorted(int(name) for name in first if name.isdecimal())

    def sound(self, step: int | None, key: str) -> bytes | None:
        """Return what was made of a probe as an Ogg file; its source if there is no step."""
        return self._read(step, key, ".ogg")

    def picture(self, step: int | None, key: str) -> bytes | None:
        """Return its spectrogram as a PNG file."""
        return self._read(step, key, ".png")

    def _read(self, step: int | None, key: str, suffix: str) -> bytes | None:
        path = self._path(f"{SOURCE if step is None else step}-{key}", suffix)
        return path.read_bytes() if path.is_file() else None

    def _path(self, name: str, suffix: str) -> Path:
        return self.folder / f"{name}{suffix}"

    def _write(self, name: str, wave: Wave, rate: int, picture: bytes) -> None:
        with AudioWriter(self._path(name, ".ogg"), rate, 1) as writer:
            writer.write(wave[None])
        path = self._path(name, ".png")
        part = path.with_name(f".{path.name}.part")
        try:
            part.write_bytes(picture)
            part.replace(path)
        except OSError as error:
            raise OutputError.cannot_write(path, error.strerror or str(error)) from error
        finally:
            part.unlink(missing_ok=True)


def _pictures(probe: Probe, wave: Wave, rate: int) -> tuple[Pixels, Pixels]:
    """Return the spectrograms of a source and of what was made of it, on one scale."""
    source, made = spectrograms([(probe.source, probe.source_rate), (wave, rate)])
    return source, made


def shown(steps: Sequence[int], best: int | None) -> list[int]:
    """Return which of the evaluations, oldest first, stay to be listened to.

    The best and the newest, and as many others as there is room for at even distances. Those that
    stay when there are more were there when there were fewer.

    >>> shown(range(0, 2000, 100), 700)
    [0, 400, 700, 800, 1200, 1600, 1900]
    """
    spacing = 1
    while len(steps) > MOST_SHOWN * spacing:
        spacing *= 2
    kept = {*steps[::spacing], *steps[-1:]}
    if best is not None and best in steps:
        kept.add(best)
    return sorted(kept)
