"""How many workers this machine has room for."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from sovits.device import free_memory as _free_memory
from sovits.workers.processes import Processes


def processes(workers: int | None, bytes_each: int, device: str = "cpu") -> Processes:
    """Return processes that share the cores of this machine.

    Args:
        workers: How many; if not given, one per core as far as memory goes, or one per GPU.
        bytes_each: Memory that one needs.
        device: Where they compute; `cuda` stands for all GPUs, `cuda:1` for one.
    """
    gpus = 0
    if device == "cuda":
        import torch

        gpus = torch.cuda.device_count()
    if workers is None:
        workers = default_workers(bytes_each) if device == "cpu" else max(1, gpus)
    return Processes(workers, threads=max(1, _cores() // workers), gpus=gpus)


def default_workers(bytes_each: int) -> int:
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
