"""Read k-means files of so-vits-svc and the fork, and files of one tensor for each speaker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sovits.errors import VoiceError
from sovits.legacy.unpickle import PICKLE, ZIP, Allowed, is_plain, reason, unpickle

CENTRES = "sovits-clusters-1"
"""Format of a file of cluster centres of version 0.1, as its header has it."""

_NUMBERS = ("f2", "f4", "f8", "i4", "i8")


def _arrays() -> Allowed:
    """Return all that pickled arrays of numbers need; nothing else is ever allowed."""
    array: Any = np.empty(0).__reduce__()
    number: Any = np.float32(0).__reduce__()
    made_by: dict[str, Callable[..., Any]] = {"_reconstruct": array[0], "scalar": number[0]}
    homes = ("numpy.core.multiarray", "numpy._core.multiarray")  # before and after numpy 2
    return [
        np.ndarray,
        np.dtype,
        *{type(np.dtype(kind)) for kind in _NUMBERS},
        *((maker, f"{home}.{name}") for name, maker in made_by.items() for home in homes),
    ]


def read_clusters(path: Path) -> dict[str, Tensor]:
    """Return the content vectors of each speaker, `[n, channels]`.

    Raises:
        VoiceError: The file is damaged, of another kind, or needs more than arrays to be read.
    """
    if path.suffix == ".safetensors":
        try:
            return _checked(path, load_file(path))
        except (SafetensorError, ValueError, OSError) as error:
            raise VoiceError.damaged(path, reason(error)) from error
    with path.open("rb") as file:
        if not file.read(2).startswith((ZIP, PICKLE)):  # as an index of faiss, which RVC has
            raise VoiceError.not_an_index(path)
    table = unpickle(path, _arrays())
    if not isinstance(table, dict):
        raise VoiceError.not_an_index(path)
    banks = {}
    for speaker, entry in table.items():
        centres = entry.get("cluster_centers_") if isinstance(entry, dict) else None
        if isinstance(centres, np.ndarray) and centres.dtype.str[1:] in _NUMBERS:
            centres = torch.from_numpy(np.array(centres, np.float32))
        if not isinstance(centres, Tensor):
            raise VoiceError.not_an_index(path)
        banks[str(speaker)] = centres
    return _checked(path, banks)


def _checked(path: Path, banks: dict[str, Tensor]) -> dict[str, Tensor]:
    for bank in banks.values():
        sound = is_plain(bank) and bank.dim() == 2 and bank.is_floating_point() and bank.numel()
        if not sound or not bool(bank.float().isfinite().all()):
            raise VoiceError.not_an_index(path)
    return {speaker: bank.float() for speaker, bank in banks.items()}
