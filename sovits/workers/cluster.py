"""Workers that are actors of a Ray cluster, on as many machines as it has."""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sovits.errors import WorkerError
from sovits.workers.crew import Done, Event, Job, Lost, Raised, Ready, attempt

PATIENCE = 300.0
"""How long to wait for a worker when there is none (s)."""
_KNOCK = 10.0  # seconds that a machine may take to answer
_FAREWELL = 10.0  # seconds that a killed actor may take to be gone
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_CAUSE = re.compile(r"[\w.]+(Error|Exception|Exit|Interrupt)\b")
_TICK = 1.0  # seconds after which Ctrl-C is noticed at the latest


class Cluster:
    """Actors that have a core each, or a GPU, wherever the cluster has one free.

    Args:
        address: Of the cluster: `auto` for the one that this machine is part of, `HOST:6379`, or
            `ray://HOST:10001`.
        size: How many actors; as many as the cluster has cores or GPUs if not given.
        device: Where they compute; `auto` takes GPUs if the cluster has any.
        bytes_each: Memory that one needs; a machine gets no more of them than it has room for.
        shared: Files and folders that all machines have to see.

    Raises:
        WorkerError: Ray is not installed, or there is no such cluster.
    """

    local = False

    def __init__(
        self,
        address: str = "auto",
        size: int | None = None,
        *,
        device: str = "auto",
        bytes_each: int = 0,
        shared: Sequence[Path] = (),
    ) -> None:
        self.address, self.bytes_each, self.shared = address, bytes_each, list(shared)
        self._ray = _load()
        self._opened = not self._ray.is_initialized()
        if self._opened:
            self._join()
        has = self._ray.cluster_resources()
        gpus = has.get("GPU", 0) if device == "auto" else device.startswith("cuda")
        self.device, self._what = ("cuda", "GPU") if gpus else ("cpu", "CPU")
        self.size = size or max(1, int(has.get(self._what, 0)))
        self._actors: dict[int, Any] = {}
        self._worker_of: dict[Any, int] = {}
        self._begun: set[int] = set()
        self._alone_since = time.monotonic()

    def _join(self) -> None:
        try:
            somebody = _knock(self.address)  # where nobody is, Ray would wait for minutes
        except OSError as error:
            raise WorkerError.no_cluster(self.address, error) from error
        try:
            self._ray.init(
                address=self.address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                namespace="sovits",
            )
        except Exception as error:  # of several kinds, Ray's own and others
            problem = WorkerError.not_admitted if somebody else WorkerError.no_cluster
            raise problem(self.address, error) from error

    def begin(self, function: Callable[[Any], Any]) -> None:
        """Take note of what all jobs are done with, a function of a module."""
        needs = {
            "num_cpus": 1,
            "num_gpus": 1 if self._what == "GPU" else 0,
            "memory": self.bytes_each,
        }
        self._kind = self._ray.remote(max_restarts=0, max_task_retries=0, **needs)(Worker)
        self._function = function

    def hire(self, worker: int) -> None:
        """Ask for an actor, which begins when the cluster has room for it."""
        actor = self._kind.remote(self._function, self.shared, own_version())
        self._actors[worker] = actor
        self._worker_of[actor.ready.remote()] = worker

    def give(self, worker: int, job: Job) -> None:
        """Hand a job to an actor that is ready."""
        self._worker_of[self._actors[worker].do.remote(job)] = worker

    def wait(self) -> list[Event]:
        """Return what happened since the last call, waiting until there is something."""
        while True:
            done, _ = self._ray.wait(list(self._worker_of), num_returns=1, timeout=_TICK)
            if self._begun:
                self._alone_since = time.monotonic()
            if done:
                return [self._hear(ref) for ref in done]
            if time.monotonic() - self._alone_since > PATIENCE:
                raise WorkerError.no_room(self.address, PATIENCE, self._what)

    def _hear(self, ref: Any) -> Event:
        worker = self._worker_of.pop(ref)
        try:
            heard: Ready | Done | Raised = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            self._begun.discard(worker)
            self._ray.kill(self._actors.pop(worker))  # in case that only the way to it is lost
            return worker, Lost(_reason(error))
        if isinstance(heard, Raised):
            raise heard.error
        self._begun.add(worker)
        return worker, heard

    def end(self) -> None:
        """Kill all actors; what they had begun to write, the caller removes."""
        for actor in self._actors.values():
            self._ray.kill(actor)
        if refs := list(self._worker_of):
            self._ray.wait(refs, num_returns=len(refs), timeout=_FAREWELL, fetch_local=False)
        self._actors.clear()
        self._worker_of.clear()
        self._begun.clear()
        if self._opened:
            self._ray.shutdown()


class Worker:
    """What an actor is: does jobs in a process of its own, somewhere."""

    def __init__(
        self, function: Callable[[Any], Any], shared: Sequence[Path], expected: str
    ) -> None:
        self.function, self.shared, self.expected = function, shared, expected

    def ready(self) -> Ready | Raised:
        """Return whether this machine has what it takes."""
        host = socket.gethostname()
        if (found := own_version()) != self.expected:
            return Raised(WorkerError.other_version(host, found, self.expected))
        for path in self.shared:
            if not path.exists():
                return Raised(WorkerError.not_shared(host, path))
        return Ready()

    def do(self, job: Job) -> Done:
        """Do one job."""
        return Done(attempt(self.function, job))


def own_version() -> str:
    """Return the version of this package, as it is installed here."""
    try:
        return version("sovits")
    except PackageNotFoundError:
        return "without a version"


def _knock(address: str) -> bool:
    """Return whether an address names a machine and a port; fail if nobody is there."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK).close()
        return True
    return False


def _load() -> Any:
    """Import Ray, without the report of its use that it would send to its makers."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise WorkerError.no_ray() from error
    return ray


def _reason(error: Exception) -> str:
    """Return the cause in what Ray says of a lost actor, or else the first sentence."""
    lines = _COLOUR.sub("", str(error)).strip().splitlines() or [type(error).__name__]
    cause = lines[-1].strip() if _CAUSE.match(lines[-1].strip()) else lines[0]
    return cause.partition(". ")[0][:300].rstrip(".: ")
