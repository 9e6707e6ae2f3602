"""What a stage of preparation did, and what it left out and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Skipped(NamedTuple):
    """A file that was left out."""

    path: Path
    reason: str

    def __str__(self) -> str:
        named = self.reason.startswith(str(self.path))
        return self.reason if named else f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class Report:
    """Outcome of one stage, with every file that it saw in exactly one of the lists."""

    made: tuple[Path, ...] = ()
    """Files written."""
    kept: tuple[Path, ...] = ()
    """Files that were there already and are still right."""
    skipped: tuple[Skipped, ...] = ()
    """Files left out, with the reason."""
    damaged: tuple[Skipped, ...] = ()
    """Those of them that are sounds, but cannot be read."""
    stale: tuple[Path, ...] = ()
    """Files of an earlier run that no recording stands behind any more."""
