"""Jobs for workers, in a module that is quickly imported."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sovits.errors import AudioError
from sovits.partial import partial


class Square(NamedTuple):
    """Write the square of a number, and say in which process."""

    number: int
    folder: Path

    @property
    def out(self) -> Path:
        return self.folder / f"{self.number}.txt"


def write(job: Square) -> tuple[int, str]:
    part = partial(job.out)
    part.write_text(f"{job.number**2}")
    part.replace(job.out)
    with (job.folder / "log").open("a") as log:
        log.write(f"{job.number} {os.getpid()}\n")
    return os.getpid(), os.environ.get("OMP_NUM_THREADS", "")


def die_once(job: Square) -> tuple[int, str]:
    """Write, but be killed in the middle of the third and the fifth file, once each."""
    mark = job.folder / f"died-{job.number}"
    if job.number in (2, 4) and not mark.exists():
        mark.touch()
        partial(job.out).write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)
    return write(job)


def die_of_three(job: Square) -> tuple[int, str]:
    if job.number == 3:
        partial(job.out).write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)
    return write(job)


def die_now_and_then(job: Square) -> tuple[int, str]:
    if job.number == 1:
        return stumble(job)
    return die_of_three(job) if job.number == 3 else die_once(job)


def stumble(job: Square) -> tuple[int, str]:
    if job.number == 1:
        raise ZeroDivisionError("of all\nthings")
    return write(job)


def refuse(job: Square) -> tuple[int, str]:
    if job.number == 1:
        raise AudioError.missing(Path("x.wav"))
    return write(job)


def linger(job: Square) -> None:
    partial(job.out).write_text("half")
    (job.folder / "log").open("a").write(f"{os.getpid()}\n")
    time.sleep(60)


def jobs(folder: Path, count: int = 6) -> list[Square]:
    return [Square(number, folder) for number in range(count)]


class Unborn:
    """A function that no worker can import."""

    def __reduce__(self) -> tuple[Callable[[int], None], tuple[int]]:
        return os._exit, (3,)


def done(folder: Path) -> list[int]:
    return sorted(int(line.split()[0]) for line in (folder / "log").read_text().splitlines())


def gone(process: int, within: float = 0.0) -> bool:
    """Return whether there is no such process, any more."""
    last = time.monotonic() + within
    while True:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        if time.monotonic() >= last:
            return False
        time.sleep(0.05)
