"""How many clips a step may have before memory runs out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from sovits.config import Config
from sovits.device import free_memory
from sovits.errors import TrainingError
from sovits.train.dataset import LONG_FACTOR, Batches, Recording
from sovits.train.step import Trainee
from sovits.train.store import Store

SHARE = 0.6
"""Share of the free memory that a step may take, as not all that it needs can be foreseen."""
MOST = 64
"""More clips than this make steps slower than they make them better."""
MOST_ON_CPU = 16
STATES = 4
"""Copies of the weights that training keeps: gradients, two moments, and an average."""
UNKNOWN = 4 << 30
"""Free memory (bytes) of a system that does not tell."""


def find_batch_size(
    config: Config,
    recordings: Sequence[Recording],
    store: Store,
    trainee: Trainee,
    processes: int = 1,
) -> int:
    """Return how many clips fit into memory at once, by what one of them takes.

    Args:
        config: Settings of the training.
        recordings: Clips that are trained on.
        store: Where their features are.
        trainee: The networks, on their device.
        processes: How many share the memory of the machine.
    """
    device = next(trainee.generator.parameters()).device
    each = max(
        _bytes_of_clips(config, recordings, store, trainee),
        # Of long crops there are fewer.
        _bytes_of_clips(_longer(config), recordings, store, trainee) / LONG_FACTOR,
    )
    weights = sum(
        weight.nbytes
        for network in (trainee.generator, trainee.discriminator)
        for weight in network.parameters()
    )
    room = SHARE * _free(device, processes) - STATES * weights
    most = MOST if device.type == "cuda" else MOST_ON_CPU
    return max(1, min(int(room / each), most, len(recordings)))


def _longer(config: Config) -> Config:
    frames = config.train.context_frames * LONG_FACTOR
    return replace(config, train=replace(config.train, context_frames=frames))


def _bytes_of_clips(
    config: Config, recordings: Sequence[Recording], store: Store, trainee: Trainee
) -> float:
    """Return the bytes that going backwards needs of each clip."""
    one, three = (_bytes_kept(config, recordings, store, trainee, size) for size in (1, 3))
    return max(1.0, (three - one) / 2)


def _bytes_kept(
    config: Config, recordings: Sequence[Recording], store: Store, trainee: Trainee, size: int
) -> int:
    """Return the bytes that are kept of a step for going backwards."""
    train = config.train
    crops = Batches(
        recordings, replace(config, train=replace(train, batch_size=size)), store=store
    )[0]
    device = next(trainee.generator.parameters()).device
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    half = torch.autocast(device.type, torch.bfloat16, enabled=train.precision != "fp32")
    batch = type(crops.batch)(*(x.to(device) for x in crops.batch))
    devices = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        half,
    ):
        out = trainee.generator(batch, train.segment_frames)
        judged = trainee.discriminator(crops.wave.to(device), out.wave)
    assert judged
    return sum(kept.values())


def _free(device: torch.device, processes: int) -> float:
    """Return the bytes that are free on a device."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    free = free_memory()
    return (UNKNOWN if free is None else free) / processes


@contextmanager
def named_if_short(batch_size: int, device: torch.device) -> Iterator[None]:
    """Say which batch size to try if memory runs out.

    Raises:
        TrainingError: It has.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        told = str(error).lower()
        if (
            isinstance(error, MemoryError | torch.OutOfMemoryError)
            or "out of memory" in told
            or ("allocat" in told and "memory" in told)
        ):
            raise TrainingError.out_of_memory(str(device), batch_size) from error
        raise
