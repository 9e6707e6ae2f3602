"""One training at a time in one folder."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sovits.errors import OutputError, TrainingError

NAME = ".training.lock"
LINGER = 10.0
"""How long processes that load data may outlive a training that was killed (s)."""


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep other trainings out of a folder; the system ends the claim of a process that dies.

    Raises:
        TrainingError: Another training is at work there.
        OutputError: The folder cannot be made, or not be written to.
    """
    path = folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise OutputError.cannot_write(folder, error.strerror or str(error)) from error
    with file:
        patience = time.monotonic() + LINGER
        while not _lock(file):
            holder = _holder(path)
            if holder is None or _lives(*holder) or time.monotonic() > patience:
                raise TrainingError.at_work(folder, *(holder or (0, "")))
            time.sleep(0.1)
        file.truncate(0)
        file.write(f"{os.getpid()} {socket.gethostname()}\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _lock(file: IO[str]) -> bool:
    """Take the system's lock of an open file, if nobody else has it."""
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(1 << 20)  # beyond what is read, which Windows would refuse
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks: what the file says must do
        holder = _holder(Path(file.name))
        return holder is None or not _lives(*holder)
    return True


def _holder(path: Path) -> tuple[int, str] | None:
    """Return the process and machine that a lock is of, if it says."""
    words = path.read_text("utf-8", "replace").split()
    if len(words) != 2 or not words[0].isdecimal():
        return None
    return int(words[0]), words[1]


def _lives(process: int, machine: str) -> bool:
    """Return whether a process is there; of another machine that is not known, and assumed."""
    if machine != socket.gethostname() or os.name == "nt":  # there, asking would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
