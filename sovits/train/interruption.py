"""Let a training end between two steps when someone asks it to."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

ASKING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Ctrl-C, what a machine sends before it shuts down, and the end of the terminal's session."""


class Interruption:
    """Takes note of the first signal of `ASKING` instead of dying of it.

    A second one acts as it would have before, for whoever cannot wait for the end of the step.
    Those that are ignored, as under nohup, stay ignored. Signals reach only the main thread; in
    others nothing changes.

    Args:
        patient: Take a second one for the first again. Launchers of several processes hand on
            what the terminal has sent to each already.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self.signal: int | None = None
        """What was asked, or None."""
        self._patient = patient
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in ASKING:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.signal = self.signal or number
        if not self._patient:
            self._restore()

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            # None stands for a handler that was not set from Python, and cannot be set from it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def ignore_in_worker(_index: int) -> None:
    """Leave it to the training process to end a process that loads its data."""
    for number in ASKING:
        signal.signal(number, signal.SIG_IGN)
