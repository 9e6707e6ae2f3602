"""Read the tensors of a CTranslate2 model.bin (binary format 6)."""

from __future__ import annotations

import struct
from pathlib import Path

import torch
from torch import Tensor

from sovits.errors import WeightsError

_VERSION = 6
_DTYPES = {
    0: torch.float32,
    1: torch.int8,
    2: torch.int16,
    3: torch.int32,
    4: torch.float16,
    5: torch.bfloat16,
}


def is_ctranslate2(path: Path) -> bool:
    """Return whether a file begins like a CTranslate2 model with a named specification."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(64)
    if len(head) < 7 or struct.unpack_from("<I", head)[0] > _VERSION:
        return False
    length = struct.unpack_from("<H", head, 4)[0]
    name = head[6 : 6 + length]
    return 1 < length <= 50 and name.endswith(b"Spec\0")


class _Cursor:
    """Reads little-endian fields one after the other, and never past the end."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path, self.data, self.at = path, data, 0

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        if count > len(self.data) - self.at:
            raise WeightsError.unreadable(self.path, "the file ends in the middle of a tensor")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, code: str) -> int:
        """Return the next unsigned integer."""
        value: int = struct.unpack(f"<{code}", self.take(struct.calcsize(code)))[0]
        return value

    def text(self) -> str:
        """Return the next string, without its closing zero."""
        return self.take(self.number("H")).rstrip(b"\0").decode("utf-8", "replace")


def read_ctranslate2(path: Path) -> dict[str, Tensor]:
    """Return every floating-point tensor by name; `path` must satisfy `is_ctranslate2`.

    Raises:
        WeightsError: The file is cut short, quantised, or of another version.
    """
    cursor = _Cursor(path, path.read_bytes())
    version = cursor.number("I")
    if version != _VERSION:
        raise WeightsError.unreadable(path, f"CTranslate2 format {version} is not {_VERSION}")
    cursor.text(), cursor.number("I")
    tensors: dict[str, Tensor] = {}
    for _ in range(cursor.number("I")):
        name = cursor.text()
        shape = [cursor.number("I") for _ in range(cursor.number("B"))]
        dtype = _DTYPES.get(cursor.number("B"))
        data = cursor.take(cursor.number("I"))
        if not shape:
            continue
        if dtype in (None, torch.int8, torch.int16):
            raise WeightsError.unreadable(path, "its weights are quantised; use a float16 file")
        if torch.Size(shape).numel() * dtype.itemsize != len(data):
            raise WeightsError.unreadable(path, f"{name} has the wrong size")
        if dtype.is_floating_point:
            tensors[name] = torch.frombuffer(bytearray(data), dtype=dtype).view(shape)
    return tensors
