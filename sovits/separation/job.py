"""One separation as it was asked for, of as many songs as there are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sovits.config import SeparateOptions
from sovits.separation.registry import load_separator, model_named
from sovits.separation.separate import separate_file


class SeparationJob:
    """Separates songs, one after the other, with networks that are loaded once.

    Args:
        options: What is asked for.
        device: Where networks compute.

    Raises:
        SeparationError: There is no such model, or its package is not installed.
    """

    def __init__(self, options: SeparateOptions, device: str = "cpu") -> None:
        self.options, self.device = options, device
        self.model = model_named(options.model)
        self.separator = load_separator(options.model, device)

    def run(
        self, song: Path, folder: Path, *, on_progress: Callable[[float], None] | None = None
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
        self,
        song: Path,
        stems: dict[str, Path],
        *,
        on_progress: Callable[[float], None] | None = None,
    ) -> None:
        """Write the stems of `song` to the files that are named; raises as `run` does."""
        separate_file(song, stems, self.separator, on_progress=on_progress)
