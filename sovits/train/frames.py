"""The content of a data set's clips, speaker by speaker, in memory or on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sovits.errors import DatasetError
from sovits.features.content import CONTENT
from sovits.train.dataset import FEATURES_SUFFIX


class Clip(NamedTuple):
    """The features of one clip."""

    path: Path
    frames: int
    """Frames of content."""


class Heard(NamedTuple):
    """What a data set holds, all of it made with one content encoder."""

    content: str
    """Name of the content encoder."""
    channels: int
    """Channels of its content."""
    frame_rate: float | None
    """Frames of content per second (Hz); None if the encoder is not known."""
    speakers: dict[str, list[Clip]]
    """The clips of each speaker, in the order of their names."""

    def minutes(self, frames: int) -> str:
        """Return how long so many frames last, in words."""
        seconds = frames / self.frame_rate if self.frame_rate else None
        return "" if seconds is None else f" ({seconds / 60:.1f} minutes)"


def find_content(dataset: Path) -> Heard:
    """Return what there is in `dataset/SPEAKER/*.features.safetensors`; only headers are read.

    Raises:
        DatasetError: There are no features, they are damaged, or of different content encoders.
    """
    paths = sorted(dataset.glob(f"[!.]*/[!.]*{FEATURES_SUFFIX}"))
    if not paths:
        raise DatasetError.no_features(dataset / "SPEAKER" / f"NAME.wav{FEATURES_SUFFIX}")
    first: tuple[str, int] | None = None
    speakers: dict[str, list[Clip]] = {}
    for path in paths:
        if not path.parent.name.isprintable():  # also surrogates, which no JSON could hold
            raise DatasetError.bad_name(path.parent)
        try:
            with safe_open(path, framework="pt") as features:
                content = (features.metadata() or {}).get("content")
                shape = features.get_slice("content").get_shape()
        except (OSError, SafetensorError) as error:
            raise DatasetError.damaged_features(path, str(error)) from error
        if len(shape) != 2 or not all(shape):
            raise DatasetError.damaged_features(path, f"its content has the shape {shape}")
        if content is None:
            raise DatasetError.damaged_features(path, "it does not name its content encoder")
        first = first or (content, shape[0])
        if content != first[0]:
            raise DatasetError.mixed_features(path, content, first[0])
        if shape[0] != first[1]:
            found = f"it has {shape[0]} channels, others have {first[1]}"
            raise DatasetError.damaged_features(path, found)
        speakers.setdefault(path.parent.name, []).append(Clip(path, shape[1]))
    content, channels = first or ("", 0)
    spec = CONTENT.get(content)
    rate = spec.sample_rate / spec.hop_length if spec else None
    return Heard(content, channels, rate, speakers)


class Frames:
    """Content frames of one speaker, `[n, channels]` in all, in memory or on disk."""

    def __init__(self, paths: Sequence[Path], *, in_memory: bool) -> None:
        self.paths = paths
        self.whole = torch.cat([_read(path) for path in paths]) if in_memory else None
        self._length = sum(_length(path) for path in paths)

    def __len__(self) -> int:
        return self._length

    def batches(self, size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield every frame once, in an order drawn anew; from disk, file after file."""
        if self.whole is not None:
            for index in torch.randperm(len(self), generator=generator).split(size):
                yield self.whole[index].float()
            return
        rest: list[Tensor] = []
        for index in torch.randperm(len(self.paths), generator=generator).tolist():
            rest.append(_read(self.paths[index]))
            if sum(map(len, rest)) >= size:
                *whole, last = torch.cat(rest).split(size)
                yield from (batch.float() for batch in whole)
                rest = [last]
        yield torch.cat(rest).float()

    def join(self) -> Tensor:
        """Return all of them, as they are stored."""
        return torch.cat([_read(path) for path in self.paths]) if self.whole is None else self.whole

    def pick(self, count: int, generator: torch.Generator) -> Tensor:
        """Return `count` different frames."""
        chosen = torch.randperm(len(self), generator=generator)[:count].sort().values
        if self.whole is not None:
            return self.whole[chosen].float()
        picked, first = [], 0
        for path in self.paths:
            frames = _read(path)
            here = chosen[(chosen >= first) & (chosen < first + len(frames))] - first
            picked.append(frames[here].float())
            first += len(frames)
        return torch.cat(picked)


class Sample(Frames):
    """Some frames, `[n, channels]`, that are in memory already."""

    def __init__(self, frames: Tensor) -> None:
        self.paths, self.whole, self._length = (), frames, len(frames)


def _read(path: Path) -> Tensor:
    """Return the content of one clip, `[n, channels]`."""
    try:
        with safe_open(path, framework="pt") as features:
            content: Tensor = features.get_tensor("content")
    except (OSError, SafetensorError) as error:  # it has changed since its header was read
        raise DatasetError.damaged_features(path, str(error)) from error
    if not bool(content.isfinite().all()):
        raise DatasetError.damaged_features(path, "its content holds NaN or infinite values")
    return content.t()


def _length(path: Path) -> int:
    with safe_open(path, framework="pt") as features:
        return int(features.get_slice("content").get_shape()[-1])
