"""Read what torch.save wrote as data, and never as a program."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sovits.errors import VoiceError

ZIP, PICKLE = b"PK", b"\x80"
"""First bytes of what torch.save writes, now and before torch 1.6."""

Allowed = Sequence[Callable[..., Any] | tuple[Callable[..., Any], str]]
"""What may be made besides tensors, as `torch.serialization.safe_globals` takes it."""


def unpickle(path: Path, allowed: Allowed = ()) -> object:
    """Return the content of a file that torch.save wrote.

    Raises:
        VoiceError: The file is of another kind, damaged, or needs code to be read.
    """
    with path.open("rb") as file:
        head = file.read(2)
    if not head.startswith((ZIP, PICKLE)):
        raise VoiceError.not_a_checkpoint(path)
    if head == ZIP:
        _check_zip(path)
    try:
        # From an open file, since torch.load otherwise goes by the end of the name.
        with (
            path.open("rb") as file,
            warnings.catch_warnings(),
            torch.serialization.safe_globals(list(allowed)),
        ):
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise VoiceError.needs_code(path) from error
    # A damaged archive fails wherever its first wrong byte is, as any class of error.
    except Exception as error:
        raise VoiceError.damaged(path, reason(error)) from error


def is_plain(tensor: Tensor) -> bool:
    """Return whether all elements are there, one by one, as numbers.

    A file of a few bytes can describe a tensor that would fill any memory once it is copied:
    strides of zero, no storage at all, or a few entries of a sparse one.
    """
    return (
        tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_quantized
        and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
    )


def reason(error: Exception) -> str:
    """Return the first line of an error of another library, or its class."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]


def _check_zip(path: Path) -> None:
    """Refuse an archive of which more comes out than is in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise VoiceError.damaged(path, reason(error)) from error
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if packed or sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise VoiceError.damaged(path, "it is compressed, which torch.save never does")
