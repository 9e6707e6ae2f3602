"""How much sound the header of a file promises, which libraries do not compare with its size."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO

HEADER_SLACK = 44  # some writers count the header of a WAV file as part of its data (bytes)
MOST_CHUNKS = 1000  # a file of so many is no sound file; do not walk through gigabytes of zeros
LITTLE = {b"RIFF", b"RF64", b"BW64"}
BIG = {b"RIFX", b"FORM"}
KINDS = {b"WAVE", b"AIFF", b"AIFC"}


def share_present(path: Path) -> float | None:
    """Return which share of its data a file holds, if that is less than it promises.

    Known for WAV and AIFF, whose headers count the data, and for Ogg, which ends with a whole page.
    A WAV file that was written into a pipe promises nothing; nor do other kinds.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] in LITTLE | BIG and head[8:] in KINDS:
            return _share_of_chunks(file, size, "<" if head[:4] in LITTLE else ">")
        if head[:4] == b"OggS":
            return _share_of_pages(file, size)
    return None


def _share_of_chunks(file: IO[bytes], size: int, order: str) -> float | None:
    """Walk a WAV or AIFF file from chunk to chunk until its samples."""
    position, long_length = 12, 0
    for _ in range(MOST_CHUNKS):
        file.seek(position)
        header = file.read(24)
        if len(header) < 8:
            return None
        name, length = struct.unpack(f"{order}4sI", header[:8])
        if name == b"ds64" and len(header) == 24:
            long_length = struct.unpack("<Q", header[16:])[0]
        if name in (b"data", b"SSND"):
            if length == 0xFFFFFFFF and 0 < long_length < 1 << 63:
                return _share(long_length, size - position - 8)
            return None if _is_streamed(length) else _share(length, size - position - 8)
        position += 8 + length + length % 2
    return None


def _is_streamed(length: int) -> bool:
    """Tell whether `length` stands for "unknown", as programs write it that write into a pipe."""
    return length == 0 or length >= 0xFFFFFF00 or 0x7FFF0000 <= length <= 0x80000000


def _share(promised: int, present: int) -> float | None:
    """Return `present` per `promised`, unless they agree."""
    return present / promised if present + HEADER_SLACK < promised else None


def _share_of_pages(file: IO[bytes], size: int) -> float | None:
    """Walk an Ogg file from page to page; the share is 0, as it cannot be known."""
    position = 0
    while position < size:
        file.seek(position)
        header = file.read(27)
        if header[:4] != b"OggS"[: len(header)]:
            return None  # something else follows the pages, or is among them: the decoder judges
        if len(header) < 27:
            return 0.0
        lengths = file.read(header[26])
        position += 27 + header[26] + sum(lengths)
    return 0.0 if position > size else None
