"""Do the same to many files, in several processes."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TypeVar

from sovits.device import free_memory as _free_memory
from sovits.errors import DatasetError

J = TypeVar("J")
R = TypeVar("R")

OnProgress = Callable[[int, int], None]
"""Told how many files are done, and of how many."""


def run(
    function: Callable[[J], R], jobs: Sequence[J], n_jobs: int, on_progress: OnProgress | None
) -> list[R]:
    """Return `function(job)` for each of `jobs`, in their order.

    Args:
        function: A function of a module, so that a new process can import it.
        jobs: What it is called with.
        n_jobs: Processes; 1 works in this one.
        on_progress: Called after each job.

    Raises:
        DatasetError: A process was killed, as happens when memory runs out.
    """
    results: dict[int, R] = {}
    for index, result in _results(function, jobs, min(n_jobs, len(jobs))):
        results[index] = result
        if on_progress is not None:
            on_progress(len(results), len(jobs))
    return [results[index] for index in range(len(jobs))]


def _results(function: Callable[[J], R], jobs: Sequence[J], n_jobs: int) -> Iterator[tuple[int, R]]:
    """Yield the results with the indices of their jobs, as they come."""
    if n_jobs <= 1:
        for index, job in enumerate(jobs):
            yield index, function(job)
        return
    # Spawned, because a forked copy of a process with torch's threads may hang.
    pool = ProcessPoolExecutor(n_jobs, get_context("spawn"), _begin)
    try:
        index_of: dict[Future[R], int] = {
            pool.submit(function, job): index for index, job in enumerate(jobs)
        }
        for future in as_completed(index_of):
            yield index_of[future], future.result()
    except BrokenProcessPool as error:
        raise DatasetError.worker_killed(n_jobs) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Prepare a new process, before it imports torch."""
    os.environ["OMP_NUM_THREADS"] = "1"  # several processes with several threads each only wait
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    if (parent := parent_process()) is not None:

        def leave() -> None:
            parent.join()  # a parent that was killed cannot say goodbye
            os._exit(1)

        threading.Thread(target=leave, daemon=True).start()


def default_jobs(bytes_each: int) -> int:
    """Return how many processes to use: one per core, but no more than fit into memory.

    Args:
        bytes_each: Memory that one process needs.
    """
    free = _free_memory()
    fitting = 4 if free is None else int(free // bytes_each)
    return max(1, min(_cores(), fitting))


def _cores() -> int:
    """Return the number of physical cores that this process may use, as far as can be told."""
    try:
        usable = os.sched_getaffinity(0)
    except AttributeError:  # only Linux has it
        return os.cpu_count() or 1
    siblings = {str(core) for core in usable}
    with contextlib.suppress(OSError):
        siblings = {
            Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text()
            for core in usable
        }
    return len(siblings)
