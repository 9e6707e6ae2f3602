"""Processes that train one voice together; one process alone is a team of one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from inspect import signature
from typing import Any, Literal, TypeVar, cast

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from sovits.device import choose_device
from sovits.errors import ConfigError, Interrupted, SovitsError, TrainingError

T = TypeVar("T")
PATIENCE = timedelta(hours=6)
"""How long processes wait for the first one, which alone validates and saves."""
PRECISION: Literal["32-true"] = "32-true"
"""Not Fabric's mixed precision, which would round the pitch in each batch as well."""


class Dismissed(SystemExit):
    """Ends a process without a word, because the first one says why all end."""


class Team:
    """What the processes of one training agree on.

    Args:
        fabric: Launched.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.rank: int = fabric.global_rank
        self.size: int = fabric.world_size
        # Not through the devices, which would have to finish their work each time.
        self._group = dist.new_group(backend="gloo", timeout=PATIENCE) if self.size > 1 else None

    @property
    def leads(self) -> bool:
        """Whether this is the process that speaks, validates and saves."""
        return self.rank == 0

    @property
    def on_this_machine(self) -> int:
        """Processes that share this machine's memory."""
        strategy = self.fabric.strategy
        return strategy.num_processes if isinstance(strategy, DDPStrategy) else 1

    def lead(self, work: Callable[[], T]) -> T | None:
        """Let the first process alone do `work`; what it cannot do ends all of them."""
        if self.size == 1:
            return work()
        done, failed = None, None
        if self.leads:
            try:
                done = work()
            except SovitsError as error:
                failed = error
        if self._told(failed is not None):
            raise failed or Dismissed(1)
        return done

    def follow(self, work: Callable[[], T]) -> T:
        """Let the first process do `work`, and then the others, who find what it left behind."""
        done = self.lead(work)
        return cast(T, done) if self.leads else work()

    def most(self, *values: int) -> tuple[int, ...]:
        """Return the largest of each value among the processes."""
        if self.size == 1:
            return values
        among = torch.tensor(values)
        dist.all_reduce(among, dist.ReduceOp.MAX, group=self._group)
        return tuple(int(value) for value in among)

    def gather(self, value: T) -> list[T]:
        """Return what each process has, in their order."""
        if self.size == 1:
            return [value]
        every: list[T | None] = [None] * self.size
        dist.all_gather_object(every, value, group=self._group)
        return every  # type: ignore[return-value]

    def total(self, x: Tensor) -> Tensor:
        """Return the sum over processes of a tensor; gradients go back to all of them."""
        if self.size == 1:
            return x
        summed: Tensor = _Sum.apply(x)  # type: ignore[no-untyped-call]
        return summed

    @contextmanager
    def together(self) -> Iterator[None]:
        """Work as a team, and part in order, whatever ends it.

        Raises:
            TrainingError: This process cannot go on because another one has gone.
        """
        agreed = False
        try:
            yield
            agreed = True
        except Interrupted:
            agreed = True
            raise
        except RuntimeError as error:
            told = str(error).lower()
            if self.size > 1 and any(
                word in told for word in ("peer", "gloo", "nccl", "timed out")
            ):
                raise TrainingError.process_lost(self.rank, self.size) from error
            raise
        finally:
            self.close(agreed=agreed)

    def close(self, *, agreed: bool = True) -> None:
        """Let the processes part; they can agree on nothing more.

        Threads that talk to the others must not outlive what they work for.

        Args:
            agreed: Whether all of them do so now.
        """
        if self.size == 1 or not dist.is_initialized():
            return
        # Devices that are told to part wait for what they have begun, which others may never do.
        alone = not agreed and dist.get_backend() == "nccl"
        group, self._group = self._group, None
        dist.destroy_process_group(group if alone else None)

    def _told(self, failed: bool) -> bool:
        """Return what the first process says, once it says so."""
        word = torch.tensor(int(failed and self.leads))
        dist.broadcast(word, 0, group=self._group)
        return bool(word)


class _Sum(torch.autograd.Function):
    """Sum over processes. Each has its own copy of what comes of it, and so a gradient for it."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        summed = x.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        summed = gradient.clone()
        dist.all_reduce(summed)
        return summed


def make_fabric(device: str | None, devices: int | None = None) -> Fabric:
    """Return what moves and differentiates, on devices that are known to be there.

    Under torchrun and SLURM there are as many processes as these have begun; else as many are
    begun here as there shall be devices.

    Args:
        device: Such as `cpu`, `cuda` or `cuda:1`; CUDA if there is any, else the CPU.
        devices: How many of them on this machine; 1 if neither this nor a launcher says.

    Raises:
        ConfigError: There is no such device, or there are fewer.
    """
    kind, _, index = choose_device(device or "auto").partition(":")
    local, nodes = launched() or (devices or 1, 1)
    if devices is not None and devices != local:
        raise ConfigError.other_launch(devices, local)
    there = {"cuda": torch.cuda.device_count(), "mps": 1}.get(kind, local)
    if local > (1 if index else there):
        raise ConfigError.too_few_devices(kind, local, 1 if index else there)
    if local * nodes == 1:
        return Fabric(
            accelerator=kind,
            devices=[int(index)] if index and kind == "cuda" else 1,
            precision=PRECISION,
        )
    # The only buffers are windows, which are the same everywhere.
    known = signature(DistributedDataParallel).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    still: dict[str, Any] = {buffers: False}
    strategy = DDPStrategy(gradient_as_bucket_view=True, timeout=PATIENCE, **still)
    fabric = Fabric(
        accelerator=kind, devices=local, num_nodes=nodes, strategy=strategy, precision=PRECISION
    )
    fabric.launch()
    return fabric


def launched() -> tuple[int, int] | None:
    """Return how many processes torchrun or SLURM began on this machine, and on how many."""
    seen = os.environ
    if "TORCHELASTIC_RUN_ID" in seen:
        local = int(seen["LOCAL_WORLD_SIZE"])
        return local, int(seen["WORLD_SIZE"]) // local
    if "SLURM_PROCID" in seen and int(seen.get("SLURM_NTASKS", 1)) > 1:
        nodes = int(seen.get("SLURM_NNODES", 1))
        return int(seen["SLURM_NTASKS"]) // nodes, nodes
    return None
