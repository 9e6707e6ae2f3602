"""How much sound the header of a file promises; libraries do not compare it with what is there."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO, NamedTuple

HEADER_SLACK = 44  # some writers count the header of a WAV file as part of its data (bytes)
FIRST_FRAME = 4096  # bytes in which the first frame of an MP3 file is looked for
MPEG = {3: (1152, 1), 2: (576, 2), 0: (576, 4)}  # version: samples a frame, divisor of the rate
MPEG_RATES = (44_100, 48_000, 32_000)
MOST_CHUNKS = 1000  # a file of so many is no sound file; do not walk through gigabytes of zeros


class Chunks(NamedTuple):
    """How a kind of file is cut into chunks: where they begin, and how each one does."""

    first: int
    name: str
    length: str
    align: int = 2
    counts_itself: bool = False


RIFF = Chunks(12, "<4s", "<I")
IFF = Chunks(12, ">4s", ">I")
KINDS = {
    b"RIFF": RIFF,
    b"RF64": RIFF,
    b"BW64": RIFF,
    b"RIFX": IFF,
    b"FORM": IFF,
    b"riff": Chunks(40, "<4s12x", "<Q", align=8, counts_itself=True),  # Sony Wave64
    b"caff": Chunks(8, ">4s", ">Q", align=1),
}
FORMS = {b"WAVE", b"AIFF", b"AIFC"}


def share_present(path: Path) -> float | None:
    """Return which share of its data a file holds, if that is less than it promises.

    Known for files that count their data (WAV, RF64, Wave64, AIFF, CAF, AU) and for Ogg, which ends
    with a whole page. A file that was written into a pipe promises nothing; nor do other kinds.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        kind = KINDS.get(head[:4])
        if kind and (kind.first != RIFF.first or head[8:] in FORMS):
            return _share_of_chunks(file, size, kind)
        if head[:4] == b".snd" and len(head) == 12:
            offset, length = struct.unpack(">II", head[4:])
            return _share(length, size - offset)
        if head[:4] == b"OggS":
            return _share_of_pages(file, size)
    return None


def _share_of_chunks(file: IO[bytes], size: int, kind: Chunks) -> float | None:
    """Walk a file from chunk to chunk until its samples."""
    of_name, of_length = struct.calcsize(kind.name), struct.calcsize(kind.length)
    position, long_length = kind.first, 0
    for _ in range(MOST_CHUNKS):
        if position + of_name + of_length > size:
            return None
        file.seek(position)
        header = file.read(24)
        (name,) = struct.unpack_from(kind.name, header)
        (length,) = struct.unpack_from(kind.length, header, of_name)
        body = position + of_name + of_length
        if kind.counts_itself:
            length -= of_name + of_length
        if name == b"ds64" and len(header) == 24:
            (long_length,) = struct.unpack_from("<Q", header, 16)
        if name in (b"data", b"SSND"):
            if length == 0xFFFFFFFF and long_length:
                length = long_length
            return _share(length, size - body)
        position = body + max(0, length) + -length % kind.align
    return None


def _share(promised: int, present: int) -> float | None:
    """Return `present` per `promised` bytes, unless all are there.

    Programs that write into a pipe cannot know the length, and put 0, or all bits, or the highest
    number below a sign bit, in place of it.
    """
    streamed = promised <= 0 or promised >= 1 << 62
    streamed |= 0xFFFFFF00 <= promised <= 0xFFFFFFFF or 0x7FFF0000 <= promised <= 0x80000000
    if streamed or promised <= present + HEADER_SLACK:
        return None
    return max(0, present) / promised


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


def mp3_seconds(path: Path) -> float | None:
    """Return how long an MP3 file says that it is at least, in its first frame (s).

    Only files with variable rates, and those made by LAME, say so. Its last two frames may be the
    encoder's padding, which decoders take away.
    """
    with path.open("rb") as file:
        head = file.read(10)
        tag = 0
        if head[:3] == b"ID3" and len(head) == 10:
            tag = 10 + sum(byte << 7 * place for place, byte in enumerate(reversed(head[6:])))
        file.seek(tag)
        data = file.read(FIRST_FRAME)
    for mark in (b"Xing", b"Info"):
        at = data.find(mark)
        if at < 0 or len(data) < at + 12 or not data[at + 7] & 1:
            continue
        for distance in (36, 21, 13):  # from the frame's start, by version and channels
            start = data[max(0, at - distance) :][:4]
            if at >= distance and start[0] == 0xFF and start[1] >= 0xE0:
                version, index = start[1] >> 3 & 3, start[2] >> 2 & 3
                if index < 3 and version in MPEG:
                    samples, divisor = MPEG[version]
                    frames = int.from_bytes(data[at + 8 : at + 12])
                    return max(0, frames - 2) * samples * divisor / MPEG_RATES[index]
    return None
