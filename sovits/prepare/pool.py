"""Do the same to many files, in several processes; what one process cannot do is an error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from sovits.errors import WorkerError
from sovits.workers import crew
from sovits.workers.crew import Failure, OnProgress
from sovits.workers.size import default_workers as default_jobs
from sovits.workers.size import processes

__all__ = ["OnProgress", "default_jobs", "run"]

J = TypeVar("J")
R = TypeVar("R")


class _Task(NamedTuple):
    """A job of any kind, as workers know jobs."""

    function: Callable[[Any], Any]
    job: Any
    out: Path


def run(
    function: Callable[[J], R], jobs: Sequence[J], n_jobs: int, on_progress: OnProgress | None
) -> list[R]:
    """Return `function(job)` for each of `jobs`, in their order.

    Args:
        function: A function of a module, so that a new process can import it.
        jobs: What it is called with; the first path in it is named where something is wrong.
        n_jobs: Processes; 1 works in this one.
        on_progress: Called after each job.

    Raises:
        WorkerError: Several processes in turn were killed over a job, or it failed otherwise.
    """
    tasks = [_Task(function, job, _name(job, number)) for number, job in enumerate(jobs, 1)]
    workers = None if n_jobs <= 1 else processes(n_jobs, 0)
    results: list[R] = []
    for result in crew.run(_do, tasks, workers, on_progress=on_progress):
        if isinstance(result, Failure):
            raise WorkerError.stopped(result.reason)
        results.append(result)
    return results


def _do(task: _Task) -> Any:
    return task.function(task.job)


def _name(job: object, number: int) -> Path:
    """Return the file that a job is about, if there is one."""
    fields = job if isinstance(job, tuple) else ()
    return next((field for field in fields if isinstance(field, Path)), Path(f"Job {number}"))
