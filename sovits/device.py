"""Which processor networks compute on."""

from __future__ import annotations

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
