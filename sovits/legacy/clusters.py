"""Read k-means files of so-vits-svc and the fork, and our own index files."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sovits.errors import VoiceError

# All that pickled arrays of numbers need; nothing else is ever allowed.
_ARRAYS = [
    np.ndarray,
    np.dtype,
    *{type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8")},
    (np._core.multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),  # type: ignore[attr-defined]
    (np._core.multiarray._reconstruct, "numpy._core.multiarray._reconstruct"),  # type: ignore[attr-defined]
]


def read_clusters(path: Path) -> dict[str, Tensor]:
    """Return the content vectors of each speaker, `[n, channels]`.

    Raises:
        VoiceError: The file is missing, damaged, or needs more than arrays to be read.
    """
    if not path.is_file():
        raise VoiceError.missing(path)
    if path.suffix == ".safetensors":
        try:
            return _checked(path, load_file(path))
        except SafetensorError as error:
            raise VoiceError.damaged(path, str(error)) from error
    try:
        with torch.serialization.safe_globals(_ARRAYS):
            table = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise VoiceError.needs_code(path) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError) as error:
        raise VoiceError.damaged(path, str(error).strip().splitlines()[0][:160]) from error
    if not isinstance(table, dict):
        raise VoiceError.not_an_index(path)
    banks = {}
    for speaker, entry in table.items():
        centres = entry.get("cluster_centers_") if isinstance(entry, dict) else None
        if isinstance(centres, np.ndarray):
            centres = torch.from_numpy(np.ascontiguousarray(centres))
        if not isinstance(centres, Tensor):
            raise VoiceError.not_an_index(path)
        banks[str(speaker)] = centres
    return _checked(path, banks)


def _checked(path: Path, banks: dict[str, Tensor]) -> dict[str, Tensor]:
    for bank in banks.values():
        if bank.dim() != 2 or not len(bank) or not bool(bank.float().isfinite().all()):
            raise VoiceError.not_an_index(path)
    return {speaker: bank.float() for speaker, bank in banks.items()}
