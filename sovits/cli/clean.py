"""svc clean."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from sovits.cli.progress import note

MADE = (Path("dataset"), Path("filelists"))
"""What can be made again of the recordings."""
TRAINED = Path("logs")
"""What cannot."""


@dataclass(frozen=True)
class Clean:
    """Delete the clips, features and lists made of recordings; never what was trained."""

    yes: Annotated[bool, arg(aliases=("-y",))] = False
    """Do not ask."""
    logs: bool = False
    """Delete the trained voices too."""

    def run(self) -> int:
        """List what would be deleted, ask, and delete it."""
        folders = [path for path in (*MADE, *([TRAINED] if self.logs else ())) if path.exists()]
        if not folders:
            note("There is nothing to delete.")
            return 0
        for folder in folders:
            count, size = measure(folder)
            note(f"{folder}: {count} files, {size / 1e6:.1f} MB")
        if not self.yes and not _agreed():
            note("Nothing is deleted.")
            return 1
        for folder in folders:
            if folder.is_dir() and not folder.is_symlink():
                shutil.rmtree(folder)
            else:
                folder.unlink()
            print(folder)
        return 0


def measure(folder: Path) -> tuple[int, int]:
    """Return the number of files below a folder, and their bytes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return len(files), sum(path.stat().st_size for path in files)


def _agreed() -> bool:
    """Ask, and return whether the answer is yes; no answer is no."""
    try:
        return input("Delete all of this? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
