"""svc voices."""

from __future__ import annotations

from dataclasses import dataclass

from sovits.cli.models import LOGS, bundled, trained
from sovits.cli.progress import note


@dataclass(frozen=True)
class Voices:
    """List the voices that -m can name: those bundled, and those trained here."""

    def run(self) -> int:
        """Print one line for each: where it is, its size, and what it is."""
        lines = [(path, f"bundled, -m {path.stem}") for path in bundled()]
        lines += [(path, "trained here") for path in trained()]
        for path, kind in lines:
            print(f"{path}\t{path.stat().st_size / 1e6:.1f} MB\t{kind}")
        if not lines:
            note(f"There are none: no voice is bundled, and {LOGS} holds none.")
        return 0
