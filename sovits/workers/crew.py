"""Do jobs with workers that may be lost; each is done once in the end."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from sovits.errors import SovitsError, WorkerError
from sovits.partial import sweep, sweep_folders

TRIES = 3
"""Workers that a job may cost before it is given up."""

OnProgress = Callable[[int, int], None]
"""Told how many files are done, and of how many."""


class Job(Protocol):
    """What makes a file, and may be done again."""

    @property
    def out(self) -> Path:
        """The file, which is there whole or not at all; or what the names of several begin with."""


J = TypeVar("J", bound=Job)
R = TypeVar("R")


class Failure(NamedTuple):
    """A job that could not be done."""

    out: Path
    """The file that is not there."""
    reason: str
    """One sentence."""


class Raised(NamedTuple):
    """An error that is no matter of one file, on its way out of a worker."""

    error: SovitsError


class Ready(NamedTuple):
    """A worker may be given a job."""


class Done(NamedTuple):
    """A worker has done its job."""

    result: Any


class Lost(NamedTuple):
    """A worker is gone."""

    reason: str


Event = tuple[int, Ready | Done | Lost]
"""A worker's number, and what happened to it."""


class Crew(Protocol):
    """Workers of one kind. Each has a number, and one job at a time."""

    size: int
    """How many there may be at once."""
    local: bool
    """Whether this process may do the jobs itself, if there would be one worker only."""

    def begin(self, function: Callable[[Any], Any]) -> None:
        """Take note of what all jobs are done with, a function of a module."""

    def hire(self, worker: int) -> None:
        """Begin a worker; it tells when it is ready."""

    def give(self, worker: int, job: Job) -> None:
        """Hand a job to a worker that is ready."""

    def wait(self) -> list[Event]:
        """Return what happened since the last call, waiting until there is something."""

    def end(self) -> None:
        """End all workers at once, whatever they are at; none is left when this returns."""


def run(
    function: Callable[[J], R],
    jobs: Sequence[J],
    crew: Crew | None = None,
    *,
    on_progress: OnProgress | None = None,
    on_result: Callable[[J, R | Failure], None] | None = None,
) -> list[R | Failure]:
    """Return `function(job)` for each of `jobs`, in their order, or why there is none.

    A job whose worker is lost is done again by another, up to `TRIES` times. What an interrupted
    job has begun to write is removed.

    Args:
        function: A function of a module, so that a worker can import it.
        jobs: What it is called with.
        crew: Workers; this process if not given.
        on_progress: Called after each job.
        on_result: Called after each job too, in the order in which they are done.

    Raises:
        SovitsError: `function` raised it, and then it is no matter of one file: nothing further is
            begun.
        WorkerError: There are no workers to be had.
    """
    results: dict[int, R | Failure] = {}

    def finish(index: int, result: R | Failure) -> None:
        results[index] = result
        if on_result is not None:
            on_result(jobs[index], result)
        if on_progress is not None:
            on_progress(len(results), len(jobs))

    sweep_folders(job.out.parent for job in jobs)
    if crew is None or not jobs or (crew.local and min(crew.size, len(jobs)) == 1):
        for index, job in enumerate(jobs):
            finish(index, _unwrap(attempt(function, job)))
    else:
        _Shift(crew, jobs, finish).work(function)
    return [results[index] for index in range(len(jobs))]


def attempt(function: Callable[[J], R], job: J) -> R | Failure | Raised:
    """Return what became of a job, whatever it was."""
    try:
        return function(job)
    except SovitsError as error:
        return Raised(error)
    except Exception as error:
        return Failure(job.out, str(WorkerError.unexpected(job.out, error)))


def _unwrap(result: R | Failure | Raised) -> R | Failure:
    if isinstance(result, Raised):
        raise result.error
    return result


class _Shift:
    """Jobs, and the workers that are at them."""

    def __init__(self, crew: Crew, jobs: Sequence[Job], finish: Callable[[int, Any], None]) -> None:
        self.crew, self.jobs, self.finish = crew, jobs, finish
        self.waiting = deque(range(len(jobs)))
        self.at: dict[int, int] = {}  # the job that each worker is at
        self.idle: list[int] = []
        self.hired = 0
        self.left = len(jobs)
        self.losses: Counter[int] = Counter()
        self.never_ready = 0

    def work(self, function: Callable[[Any], Any]) -> None:
        """Do all jobs."""
        try:
            self.crew.begin(function)
            for _ in range(min(self.crew.size, len(self.jobs))):
                self._hire()
            while self.left:
                for worker, event in self.crew.wait():
                    self._hear(worker, event)
        finally:
            self.crew.end()
            for index in self.at.values():
                self._sweep(index)

    def _hear(self, worker: int, event: Ready | Done | Lost) -> None:
        if isinstance(event, Lost):
            self._replace(worker, event.reason)
            return
        if isinstance(event, Done):
            self._finish(self.at.pop(worker), event.result)
        self.never_ready = 0
        self.idle.append(worker)
        self._give()

    def _replace(self, worker: int, reason: str) -> None:
        """Let another worker do what a lost one was at."""
        index = self.at.pop(worker, None)
        if worker in self.idle:
            self.idle.remove(worker)
        elif index is None:
            self.never_ready += 1
            if self.never_ready == TRIES:
                raise WorkerError.none_begins(TRIES, reason)
        if index is not None:
            self._sweep(index)
            self.losses[index] += 1
            if self.losses[index] == TRIES:
                out = self.jobs[index].out
                self._finish(index, Failure(out, str(WorkerError.given_up(out, TRIES, reason))))
            else:
                self.waiting.appendleft(index)
        if self.idle:
            self._give()
        elif self.waiting:
            self._hire()

    def _sweep(self, index: int) -> None:
        """Remove what a worker has left that is gone."""
        sweep(self.jobs[index].out)
        sweep_folders([self.jobs[index].out.parent])

    def _hire(self) -> None:
        self.crew.hire(self.hired)
        self.hired += 1

    def _give(self) -> None:
        while self.idle and self.waiting:
            worker, index = self.idle.pop(), self.waiting.popleft()
            self.at[worker] = index
            self.crew.give(worker, self.jobs[index])

    def _finish(self, index: int, result: Any) -> None:
        self.left -= 1
        self.finish(index, _unwrap(result))
