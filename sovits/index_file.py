"""A file of content to retrieve from: `sovits-index-1`, arrays and a header, never a program."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from sovits.config import build
from sovits.errors import ConfigError, OutputError, VoiceError
from sovits.legacy.clusters import CENTRES, read_clusters
from sovits.legacy.unpickle import reason
from sovits.retrieval import NEIGHBOURS, Index, Lists

FORMAT = "sovits-index-1"
KEY = "sovits-index"
"""Name of the description in the metadata."""
SUFFIX = ".safetensors"
BESIDE = f"index{SUFFIX}"
"""Name of the index of a training, in its folder; that of NAME.safetensors is NAME.index.…"""
MOST_BYTES = 4 << 20
"""A description larger than this is none of ours; that of a hundred speakers has 1e4."""

Kind = Literal["frames", "centres"]

_DTYPES = {torch.float16: "F16", torch.float32: "F32", torch.int64: "I64"}
_STORED = {name: dtype for dtype, name in _DTYPES.items()}


@dataclass(frozen=True)
class Held:
    """What there is of one speaker."""

    vectors: int
    """Frames, or centres of them."""
    frames: int
    """Frames that it was made of."""
    clips: int
    """Recordings that it was made of."""
    lists: int = 0
    """Lists that the vectors are in; 0 if all of them are compared."""


@dataclass(frozen=True)
class Description:
    """What a file holds."""

    content: str
    """Name of the content encoder."""
    channels: int
    """Channels of its content."""
    frame_rate: float | None
    """Frames of content per second (Hz), if it is known."""
    kind: Kind
    """Whether a vector is one frame, or the centre of many."""
    speakers: dict[str, Held]
    """What there is of each."""
    format: str = FORMAT
    """Version of the file's layout."""


class Bank(NamedTuple):
    """Vectors of one speaker to write, float16 or float32 `[n, channels]`, list after list."""

    vectors: Tensor
    lists: Lists | None = None


class IndexFile(NamedTuple):
    """What a file holds, of whom, and how to read it."""

    path: Path
    content: str | None
    """Name of the content encoder, if it is told."""
    frame_rate: float | None
    """Frames of content per second (Hz), if it is told."""
    speakers: tuple[str, ...]
    read: Callable[[str], Index]
    """Return what is there of a speaker."""


def open_index(path: Path) -> IndexFile:
    """Return what a retrieval file holds; ours, or k-means of so-vits-svc and its fork.

    Raises:
        VoiceError: The file is missing, damaged, of another kind, or needs code to be read.
    """
    if not path.is_file():
        raise VoiceError.missing(path)
    if path.suffix != SUFFIX:
        return _plain(path, None, 1)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    # Damaged headers fail in the reader as many classes.
    except Exception as error:
        raise VoiceError.damaged(path, reason(error)) from error
    if KEY not in metadata:
        centres = metadata.get("format") == CENTRES
        return _plain(path, metadata.get("content"), 1 if centres else NEIGHBOURS)
    told = _described(path, metadata[KEY])

    def read(speaker: str) -> Index:
        return _index(path, told, speaker)

    return IndexFile(path, told.content, told.frame_rate, tuple(told.speakers), read)


def write_index(path: Path, told: Description, banks: Mapping[str, Bank]) -> None:
    """Write a file that depends on nothing else than what is in it.

    Args:
        path: Where to; replaced at once, or not at all.
        told: What it holds.
        banks: Vectors of each speaker of `told`.

    Raises:
        OutputError: The file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for speaker, bank in banks.items():
        tensors[f"vectors/{speaker}"] = bank.vectors
        if bank.lists is not None:
            tensors[f"centres/{speaker}"] = bank.lists.centres.float()
            tensors[f"ends/{speaker}"] = torch.tensor(bank.lists.ends)
    # Whoever reads a file in place wants numbers where they may stand: the largest come first.
    tensors = dict(sorted(tensors.items(), key=lambda item: -item[1].element_size()))
    text = json.dumps(asdict(told), ensure_ascii=False)
    header: dict[str, object] = {"__metadata__": {KEY: text}}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    begins = json.dumps(header, ensure_ascii=False).encode()
    begins += b" " * (-len(begins) % 8)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not by safetensors, which puts metadata in another order each time, and holds a copy.
        with part.open("wb") as file:
            file.write(struct.pack("<Q", len(begins)) + begins)
            for tensor in tensors.values():
                file.flush()
                tensor.contiguous().numpy().tofile(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise OutputError.cannot_write(path, reason(error)) from error
    finally:
        if part.exists():
            part.unlink()


def _plain(path: Path, content: str | None, neighbours: int) -> IndexFile:
    """Return what is in a file that holds a tensor for each speaker, and no description."""
    banks = read_clusters(path)

    def read(speaker: str) -> Index:
        return Index(banks[speaker], neighbours)

    return IndexFile(path, content, None, tuple(banks), read)


def _described(path: Path, text: str) -> Description:
    if len(text) > MOST_BYTES:
        raise VoiceError.damaged(path, f"{len(text) / 1e6:.0f} MB of description are too many")
    try:
        table = json.loads(text)
        found = table.get("format") if isinstance(table, dict) else None
        if found != FORMAT:
            raise VoiceError.damaged(path, f"its format is {str(found)[:40]}, and not {FORMAT}")
        return build(Description, table)
    except (ValueError, RecursionError) as error:
        raise VoiceError.damaged(path, "its description is not JSON") from error
    except (ConfigError, TypeError) as error:  # a setting is wrong, or is not there
        raise VoiceError.damaged(path, str(error).rstrip(".")) from error


def _index(path: Path, told: Description, speaker: str) -> Index:
    held = told.speakers[speaker]
    try:
        with safe_open(path, framework="pt") as file:
            vectors = file.get_tensor(f"vectors/{speaker}")
            lists = None
            if held.lists:
                centres = file.get_tensor(f"centres/{speaker}")
                ends = file.get_tensor(f"ends/{speaker}")
                lists = Lists(centres, tuple(ends.flatten().tolist()))
    # Tensors that are not there fail in the reader, kinds of numbers in torch: as many classes.
    except Exception as error:
        raise VoiceError.damaged(path, reason(error)) from error
    if wrong := _wrong(told, held, vectors, lists):
        raise VoiceError.damaged(path, f"{wrong} of {speaker}")
    # Lists are compared a few at a time, so they may stay as small as they are.
    stored = vectors if lists else vectors.float()
    return Index(stored, NEIGHBOURS if told.kind == "frames" else 1, lists)


def _wrong(told: Description, held: Held, vectors: Tensor, lists: Lists | None) -> str | None:
    """Return what is not as it is described, if anything."""
    if vectors.shape != (held.vectors, told.channels) or not vectors.numel():
        return f"it holds {tuple(vectors.shape)} vectors"
    if vectors.dtype not in (torch.float16, torch.float32):
        return f"it holds vectors of type {vectors.dtype}"
    parts = vectors.split(1 << 16)
    if not all(bool(part.isfinite().all()) for part in parts):
        return "it holds NaN or infinite vectors"
    if lists is None:
        return None
    if lists.centres.shape != (held.lists, told.channels) or lists.centres.dtype != torch.float32:
        return f"it holds {tuple(lists.centres.shape)} centres of lists"
    if not bool(lists.centres.isfinite().all()):
        return "it holds NaN or infinite centres of lists"
    begins = (0, *lists.ends)
    rises = all(a < b for a, b in zip(begins, lists.ends, strict=False))
    if len(lists.ends) != held.lists or not rises or lists.ends[-1] != held.vectors:
        return "it holds lists that do not cover the vectors"
    return None
