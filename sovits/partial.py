"""Files that are being written: hidden beside their target until they are whole."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PREFIX = ".sovits-"
_NAME = re.compile(re.escape(PREFIX) + r"[0-9a-f]{8}-(?P<host>[0-9a-f]{4})-(?P<process>\d+)-")


def partial(target: Path) -> Path:
    """Return a new name beside `target`, of which `sweep` knows whose it is."""
    unique = f"{_host()}-{os.getpid()}-{secrets.token_hex(4)}"
    return target.with_name(f"{PREFIX}{_digest(target.name)}-{unique}{target.suffix}")


def sweep(target: Path) -> None:
    """Remove what was left of `target` by whoever was at it, and is known to be gone."""
    target = Path(os.path.realpath(target))  # as AudioWriter does, so that a link stays one
    for path in target.parent.glob(f"{PREFIX}{_digest(target.name)}-*"):
        with suppress(OSError):
            path.unlink()


def sweep_folders(folders: Iterable[Path]) -> None:
    """Remove what processes of this machine were at when they were killed."""
    for folder in set(folders):
        for path in folder.glob(f"{PREFIX}*"):
            named = _NAME.match(path.name)
            if named and named["host"] == _host() and not _lives(int(named["process"])):
                with suppress(OSError):
                    path.unlink()


def _digest(text: str) -> str:
    """Return eight letters for a name that may itself be as long as a name can be."""
    return hashlib.blake2s(text.encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()


def _host() -> str:
    """Return four letters for this machine."""
    return _digest(socket.gethostname())[:4]


def _lives(process: int) -> bool:
    """Return whether there is such a process, or may be."""
    if os.name == "nt":  # there, asking would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
