"""Workers that are processes of this machine."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, NamedTuple

from sovits.workers.crew import Done, Event, Job, Lost, Ready, attempt

FAREWELL = 2.0
"""How long a process may take to leave its job (s)."""


class _Worker(NamedTuple):
    process: SpawnProcess
    line: Connection


class Processes:
    """Processes that are begun afresh, as a forked copy of one with torch's threads may hang.

    Args:
        size: How many.
        threads: Threads that each computes with.
        gpus: GPUs that they shall share, one after the other; 0 if none, or one that is named.
    """

    local = True

    def __init__(self, size: int, *, threads: int = 1, gpus: int = 0) -> None:
        self.size, self.threads, self.gpus = size, threads, gpus
        self._function: Callable[[Any], Any] | None = None
        self._workers: dict[int, _Worker] = {}
        self._busy: set[int] = set()

    def begin(self, function: Callable[[Any], Any]) -> None:
        """Take note of what all jobs are done with, a function of a module."""
        self._function = function

    def hire(self, worker: int) -> None:
        """Begin a process."""
        line, end = get_context("spawn").Pipe()
        settings = {"OMP_NUM_THREADS": str(self.threads)}
        if self.gpus > 1:
            settings["CUDA_VISIBLE_DEVICES"] = self._gpu(worker)
        process = get_context("spawn").Process(target=_work, args=(end, settings), daemon=True)
        with _deaf_to_ctrl_c():
            process.start()
        end.close()  # so that the line is dead when the process is
        self._workers[worker] = _Worker(process, line)
        self._send(worker, self._function)

    def _gpu(self, worker: int) -> str:
        """Return the name of the GPU that a worker shall see as its only one."""
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",") if visible else [str(i) for i in range(self.gpus)]
        return names[worker % len(names)]

    def give(self, worker: int, job: Job) -> None:
        """Hand a job to a process that is ready."""
        self._busy.add(worker)
        self._send(worker, job)

    def _send(self, worker: int, what: object) -> None:
        try:
            self._workers[worker].line.send(what)
        except OSError:  # it is gone, which `wait` will find too
            return

    def wait(self) -> list[Event]:
        """Return what happened since the last call, waiting until there is something."""
        lines = {entry.line: worker for worker, entry in self._workers.items()}
        return [(lines[line], self._hear(lines[line])) for line in wait(list(lines))]  # type: ignore[index]

    def _hear(self, worker: int) -> Ready | Done | Lost:
        process, line = self._workers[worker]
        self._busy.discard(worker)
        try:
            heard: Ready | Done = line.recv()
        except (EOFError, OSError):
            process.join()
            line.close()
            del self._workers[worker]
            return Lost(_cause(process.exitcode))
        return heard

    def stop(self, worker: int) -> None:
        """End one process whatever it is at, if it is there; `wait` tells when it is gone."""
        if (entry := self._workers.get(worker)) is not None:
            entry.process.terminate()
            last = threading.Timer(FAREWELL, entry.process.kill)
            last.daemon = True
            last.start()

    def end(self) -> None:
        """End all processes; what those leave that have to be killed, the caller removes."""
        for worker in self._busy:
            self._workers[worker].process.terminate()
        last = time.monotonic() + FAREWELL
        for worker in self._busy:
            self._workers[worker].process.join(max(0.0, last - time.monotonic()))
        self._busy.clear()
        for process, _ in self._workers.values():
            process.kill()
        for process, line in self._workers.values():
            process.join()
            line.close()
        self._workers.clear()


def _cause(status: int | None) -> str:
    """Return why a process is gone, as far as its exit status tells."""
    if status is None or status >= 0:
        return f"it ended with status {status}"
    if -status == getattr(signal, "SIGKILL", None):
        return "it was killed, most likely because memory ran out"
    return f"it was ended by signal {-status}"


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Begin processes that Ctrl-C does not reach, not even while they begin: this one decides."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which would make it heard again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave(*_: object) -> None:
    raise SystemExit(1)


def _work(line: Connection, settings: dict[str, str]) -> None:
    """Do jobs until there is nobody who gives any."""
    os.environ.update(settings)  # before torch is imported, with the function that needs it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)  # so that a job removes what it has not finished
    if (parent := parent_process()) is not None:

        def leave() -> None:
            parent.join()  # a parent that was killed cannot say goodbye
            os._exit(1)

        threading.Thread(target=leave, daemon=True).start()
    function = line.recv()
    line.send(Ready())
    while True:
        try:
            job = line.recv()
        except EOFError:
            return
        line.send(Done(attempt(function, job)))
