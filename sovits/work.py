"""Intermediate sounds that are kept, each under a name that tells what it was made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

KEY = 12  # characters of a digest in a file's name
MOST_BYTES = 200  # of a folder's name, as file systems end at 255


class Work:
    """A folder of steps that were done, so that only what has changed is done again.

    A file is named `STEP-KEY.wav`, where the key is a digest of the settings of its step and of the
    keys of what it is made of. The folder may be deleted at any time.

    Args:
        folder: Where; made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def step(
        self,
        names: Sequence[str],
        settings: Mapping[str, Any],
        sources: Sequence[Path],
        make: Callable[[dict[str, Path]], None],
    ) -> dict[str, Path]:
        """Return the files of a step, made only if they are not there.

        Args:
            names: What the step makes.
            settings: All that decides how; must go into JSON.
            sources: What it is made of: files of earlier steps.
            make: Makes the files; each must appear whole or not at all.
        """
        made_of = {"settings": settings, "sources": [path.name for path in sources]}
        digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
        paths = {name: self.folder / f"{name}-{digest[:KEY]}.wav" for name in names}
        if not all(path.is_file() for path in paths.values()):
            make(paths)
        return paths


def file_digest(path: Path) -> str:
    """Return the SHA-256 of what a file holds."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def work_folder(song: Path, out: Path) -> Path:
    """Return the folder beside `out` for what is made of `song`."""
    name = song.stem.encode()[:MOST_BYTES].decode(errors="ignore")
    return out.absolute().parent / f"{name}.cover"
