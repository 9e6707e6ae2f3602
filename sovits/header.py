"""What stands before the tensors of a native voice: settings and card, read without torch."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from sovits.errors import VoiceError
from sovits.legacy.limits import check_finite
from sovits.legacy.settings import MAX_BYTES

FORMAT = "sovits-voice-1"
KEY = "sovits"
"""Name of the settings in the metadata."""
MAX_HEADER = 16 << 20
"""Headers larger than this (bytes) are not read to list a voice; one of ours has 3e4."""
SIZE = struct.Struct("<Q")

Table = dict[str, Any]


def read_header(path: Path) -> Table | None:
    """Return `format`, `config` and `card` of a native voice; None if the file is no voice.

    Only the header is read, but it must describe a file of exactly this length, so that one that
    is cut short is noticed.

    Raises:
        VoiceError: The file is no safetensors file, or is damaged, or its settings are.
    """
    try:
        text = _header_bytes(path)
    except OSError as error:
        raise VoiceError.damaged(path, error.strerror or "it cannot be opened") from error
    try:
        header = json.loads(text)
    except RecursionError as error:
        raise VoiceError.damaged(path, "its header is nested too deeply") from error
    except ValueError as error:
        raise VoiceError.damaged(path, "its header is not JSON") from error
    metadata = header.pop("__metadata__", None) if isinstance(header, dict) else None
    settings = metadata.get(KEY) if isinstance(metadata, dict) else None
    if not isinstance(settings, str):
        return None
    ends = [_end(tensor) for tensor in header.values()]
    if None in ends:
        raise VoiceError.damaged(path, "its header does not say where its tensors are")
    described = SIZE.size + len(text) + max((end for end in ends if end is not None), default=0)
    if (size := path.stat().st_size) != described:
        raise VoiceError.damaged(path, f"it has {size} bytes instead of {described}")
    return parse_settings(path, settings)


def parse_settings(path: Path, text: str | None) -> Table:
    """Return `format`, `config` and `card` of a native voice from their JSON.

    Raises:
        VoiceError: They are not there, are too many, or are not what they should be.
    """
    if text is None:
        raise VoiceError.bad_header(path, "it has no settings, so it is no voice")
    if len(text) > MAX_BYTES:
        raise VoiceError.bad_header(path, f"{len(text) / 1e6:.0f} MB of settings are too many")
    try:
        header = json.loads(text)
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise VoiceError.bad_header(path, f"its settings are not of the format {FORMAT}")
        if not all(isinstance(header.setdefault(key, {}), dict) for key in ("config", "card")):
            raise VoiceError.bad_header(path, "its config or its card is no object")
        _check_numbers(header["config"])
    except RecursionError as error:
        raise VoiceError.bad_header(path, "its settings are nested too deeply") from error
    except ValueError as error:
        raise VoiceError.bad_header(path, "its settings are not JSON") from error
    return header


def may_be_voice(path: Path) -> bool:
    """Return whether a safetensors file has a header that speaks of settings of ours."""
    try:
        return f'"{KEY}"'.encode() in _header_bytes(path)
    except (OSError, VoiceError):
        return False


def _header_bytes(path: Path) -> bytes:
    """Return the header as it stands in the file."""
    with path.open("rb") as file:
        begin = file.read(SIZE.size)
        length = SIZE.unpack(begin)[0] if len(begin) == SIZE.size else -1
        if not 0 < length <= path.stat().st_size - SIZE.size:
            raise VoiceError.damaged(path, "it is no safetensors file, or is cut short")
        if length > MAX_HEADER:
            raise VoiceError.damaged(path, f"its header of {length / 1e6:.0f} MB is too large")
        text = file.read(length)
    if not text.startswith(b"{"):
        raise VoiceError.damaged(path, "it is no safetensors file")
    return text


def _end(tensor: object) -> int | None:
    """Return where the bytes of a tensor end; None if that is not told as it should be."""
    offsets = tensor.get("data_offsets") if isinstance(tensor, dict) else None
    if not isinstance(offsets, list) or len(offsets) != 2:
        return None
    begin, end = offsets
    whole = type(begin) is int and type(end) is int and 0 <= begin <= end
    return end if whole else None


def _check_numbers(table: Table, where: str = "voice") -> None:
    """Refuse numbers and lists that no voice has, wherever they stand."""
    for key, value in table.items():
        if isinstance(value, dict):
            _check_numbers(value, f"{where}.{key}")
        else:
            check_finite(f"{where}.{key}", value)
