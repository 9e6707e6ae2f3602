"""One key at a time from a terminal, without rights that nobody should need; else lines."""

from __future__ import annotations

import contextlib
import select
import sys
from collections.abc import Iterator
from typing import Protocol

ARROWS = {"[A": "up", "[B": "down", "[C": "right", "[D": "left"}


class Keys(Protocol):
    """Where keys come from."""

    def __call__(self, timeout: float | None = None) -> str | None:
        """Return the next key, `enter`, `up`, ...; None after a while, and `end` at the end."""


@contextlib.contextmanager
def keys() -> Iterator[Keys]:
    """Hand out what reads keys; the terminal is as it was afterwards."""
    if not sys.stdin.isatty():
        yield _line
        return
    try:
        import termios
        import tty
    except ImportError:  # Windows
        yield _console
        return
    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    tty.setcbreak(number)
    try:
        yield _terminal
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)


def _terminal(timeout: float | None = None) -> str | None:
    """Return the next key of a terminal that gives each as it is pressed."""
    if not select.select([sys.stdin], [], [], timeout)[0]:
        return None
    key = sys.stdin.read(1)
    if key == "\x1b" and select.select([sys.stdin], [], [], 0.02)[0]:
        return ARROWS.get(sys.stdin.read(2), "escape")
    return named(key)


def _console(timeout: float | None = None) -> str | None:
    """Return the next key of a Windows console."""
    import importlib
    import time

    console = importlib.import_module("msvcrt")
    end = None if timeout is None else time.monotonic() + timeout
    while not console.kbhit():
        if end is not None and time.monotonic() > end:
            return None
        time.sleep(0.01)
    key = console.getwch()
    if key in ("\x00", "\xe0"):
        return {"H": "up", "P": "down"}.get(console.getwch(), "escape")
    return named(key)


def _line(timeout: float | None = None) -> str | None:
    """Return the first letter of the next line, however long that takes; `enter` if it is empty."""
    del timeout
    line = sys.stdin.readline()
    if not line:
        return "end"
    return named(line.strip()[:1] or "\n")


def named(key: str) -> str:
    r"""Return the name of a key.

    >>> named("\n"), named("a"), named("\x04")
    ('enter', 'a', 'end')
    """
    return {"\n": "enter", "\r": "enter", " ": "space", "": "end", "\x04": "end"}.get(key, key)
