"""Which processor networks compute on."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import NamedTuple

import torch

from sovits.errors import ConfigError


def choose_device(name: str = "auto") -> str:
    """Return the device that `name` means, once it is known to be there.

    Args:
        name: As torch has it, such as `cpu`, `cuda:1` or `mps`; `auto` takes CUDA if there is
            any, else the CPU.

    Raises:
        ConfigError: There is no such device.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError.no_device(name) from error
    there = {
        "cpu": True,
        "cuda": (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        raise ConfigError.no_device(name)
    return name


def has_bf16(device: torch.device) -> bool:
    """Return whether the processor multiplies in bfloat16 itself."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return device.type == "cpu" and bool(supported and supported())


def free_memory() -> int | None:
    """Return the bytes of memory that are free, or None if this system does not tell."""
    known = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        known.append(int(next(x for x in lines if x.startswith("MemAvailable")).split()[1]) * 1024)
    with contextlib.suppress(OSError, ValueError):  # "max" where a container has no limit
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        known.append(limit - int((group / "memory.current").read_text()))
    return min(known) if known else None


MEL_BOUND = 0.02
"""How far bfloat16 may move the sound of a light voice, for `auto` to choose it: mean difference of
log-mel bands (natural logarithms). 16 bits a sample move it by 0.006, another seed by 0.15."""


class Arithmetic(NamedTuple):
    """What networks compute in."""

    bf16: bool
    """Whether matrices are multiplied in bfloat16, and not in float32."""
    because: str
    """Why, as one sentence."""


def choose_arithmetic(precision: str, device: torch.device, *, light: bool = False) -> Arithmetic:
    """Return what `precision` means here.

    Args:
        precision: `fp32`, `bf16`, or `auto` for bfloat16 where it is known to be faster.
        device: Where networks compute.
        light: Whether the voice is of the light architecture.
    """
    if precision != "auto":
        return Arithmetic(precision == "bf16", f"{precision} was asked for.")
    if not has_bf16(device):
        return Arithmetic(False, "fp32, as this processor does not multiply in bfloat16 itself.")
    if light and device.type != "cpu":
        # So small a network waits for the launch of its kernels, and not for its products.
        return Arithmetic(
            False, "fp32, as bfloat16 is not known to make a light voice faster on a GPU."
        )
    itself = "bf16, as this processor multiplies in it itself"
    if light:
        return Arithmetic(True, f"{itself}, and the sound stays within {MEL_BOUND} (log-mel).")
    return Arithmetic(True, f"{itself}; the sound changes a little.")
