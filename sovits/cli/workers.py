"""The flags --workers and --ray, and the workers that they ask for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sovits.errors import ConfigError

if TYPE_CHECKING:
    from sovits.workers.crew import Crew

MOST = 1024
"""Workers that there may be."""


class Workplace(NamedTuple):
    """Who does the work, and on what."""

    crew: Crew | None
    """Workers; None if this process is the only one."""
    device: str
    """Where networks compute."""


def check_workers(workers: str) -> int | None:
    """Return a number of workers, or None for as many as there should be.

    Raises:
        ConfigError: There cannot be so many.
    """
    if workers in ("auto", "-1", "0"):
        return None
    if not workers.isdecimal() or not 1 <= int(workers) <= MOST:
        raise ConfigError.wrong_value("--workers", workers, f"between 1 and {MOST}, or auto")
    return int(workers)


@contextmanager
def workplace(
    workers: int | None,
    ray: str | None,
    *,
    bytes_each: int,
    device: str = "cpu",
    shared: Sequence[Path] = (),
) -> Iterator[Workplace]:
    """Hand out the workers that were asked for.

    Args:
        workers: How many; as many as there is room for if not given.
        ray: Address of a Ray cluster; processes of this machine if not given.
        bytes_each: Memory that each needs.
        device: As it was typed.
        shared: What all machines of a cluster have to see.
    """
    if ray is None:
        from sovits.device import choose_device
        from sovits.workers.size import processes

        device = choose_device(device)
        crew = processes(workers, bytes_each, device)
        yield Workplace(None if crew.size == 1 else crew, device)
        return
    from sovits.workers.cluster import Cluster

    # Ray prints there what happens to workers, where only results belong.
    with redirect_stdout(sys.stderr):
        cluster = Cluster(ray, workers, device=device, bytes_each=bytes_each, shared=shared)
        yield Workplace(cluster, cluster.device)


def result_lines() -> Callable[[Path], None]:
    """Return what prints a result, even while a bar is shown or Ray prints beside."""
    out = sys.stdout

    def show(path: Path) -> None:
        print(path, file=None if out.isatty() else out, flush=True)

    return show
