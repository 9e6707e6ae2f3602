"""Many processes do what one does, and a killed one is noticed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from sovits.errors import AudioError, WorkerError
from sovits.prepare import pool
from sovits.workers import size


def describe(number: int) -> tuple[int, str, bool]:
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    return number * number, os.environ.get("OMP_NUM_THREADS", ""), ignored


def fail(number: int) -> int:
    if number == 1:
        raise AudioError.missing(Path("x.wav"))
    return number


def die(_job: object) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def test_results_come_in_order_with_one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setattr(size, "_cores", lambda: 2)
    seen: list[tuple[int, int]] = []
    results = pool.run(describe, range(5), 2, lambda *at: seen.append(at))
    assert results == [(i * i, "1", True) for i in range(5)]
    assert seen == [(i + 1, 5) for i in range(5)]


def test_one_job_needs_no_process() -> None:
    assert pool.run(lambda number: number + os.getpid(), [1], 8, None) == [1 + os.getpid()]
    assert pool.run(fail, [], 8, None) == []


def test_errors_keep_their_type_across_processes() -> None:
    with pytest.raises(AudioError, match=r"x\.wav does not exist"):
        pool.run(fail, [0, 1], 2, None)


def test_what_kills_every_process_is_an_error_and_not_a_wait_for_ever() -> None:
    with pytest.raises(WorkerError, match=r"song\.wav was given up, as 3 workers.*--workers 1"):
        pool.run(die, [(0, Path("song.wav")), (1, Path("song.wav"))], 2, None)
