"""Models of others, fetched and run by the package audio-separator."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sovits.audio.io import AudioReader, AudioWriter
from sovits.ends import Listener
from sovits.errors import SeparationError
from sovits.places import cache_folder
from sovits.separation.registry import SeparationModel
from sovits.types import Wave

PACKAGE = "audio-separator"
BLOCK_SECONDS = 10


def is_installed() -> bool:
    """Return whether the package is there."""
    return importlib.util.find_spec("audio_separator") is not None


def load_community(model: SeparationModel) -> Callable[[Path, Path], Path]:
    """Return what writes the vocals of a song into a folder, and tells where.

    Raises:
        SeparationError: The package is not installed, or cannot fetch the model.
    """
    if not is_installed():
        raise SeparationError.no_package(f"--model {model.name}", PACKAGE, "separation")
    from audio_separator.separator import Separator

    folder = cache_folder() / PACKAGE
    folder.mkdir(parents=True, exist_ok=True)

    def separate(song: Path, into: Path) -> Path:
        try:
            separator: Any = Separator(
                log_level=logging.ERROR,
                model_file_dir=str(folder),
                output_dir=str(into),
                output_format="WAV",
                output_single_stem="Vocals",
            )
            separator.load_model(model.file)
            found = separator.separate(str(song))
        # What a network, a download or a model of others gets wrong is of any class.
        except Exception as error:
            raise SeparationError.package_fails(model.name, error) from error
        if not found:
            raise SeparationError.package_fails(model.name, "it made no vocals")
        return into / Path(found[0]).name

    return separate


def separate_with(
    separate: Callable[[Path, Path], Path], song: Path, stems: dict[str, Path]
) -> None:
    """Write stems of `song` as `separate` finds them; their sum is the song.

    Args:
        separate: As `load_community` returns it.
        song: What to separate.
        stems: Where to write `vocals`, `accompaniment`, or both.
    """
    with ExitStack() as stack:
        reader = stack.enter_context(AudioReader(song))
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="sovits-separate-")))
        vocals = stack.enter_context(AudioReader(separate(song, folder)))
        rate, channels, total = reader.sample_rate, reader.channels, reader.frames

        def fold(wave: Wave) -> Wave:
            if len(wave) == channels:
                return wave
            return wave.mean(0, keepdim=True).expand(channels, -1)

        listener = Listener(vocals, rate, total, fold, channels)
        writers = {
            name: stack.enter_context(AudioWriter(path, rate, channels, subtype="FLOAT"))
            for name, path in stems.items()
        }
        for start in range(0, total, BLOCK_SECONDS * rate):
            stop = min(start + BLOCK_SECONDS * rate, total)
            voice = listener.hear(start, stop)
            waves = {"vocals": voice, "accompaniment": reader.read(start, stop - start) - voice}
            for name, writer in writers.items():
                writer.write(waves[name])
