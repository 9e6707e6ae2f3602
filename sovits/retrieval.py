"""Move content towards the target voice's own: its nearest frames, or the nearest centre of them.

Frames as in kNN-VC (Baas 2023) and so-vits-svc 4.1, centres as in so-vits-svc 4.0 and its fork.
Nothing here remembers what it was asked, so a stream is moved frame by frame as a whole file is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from sovits.errors import ConfigError
from sovits.types import Content

NEIGHBOURS = 4
"""Frames that are mixed."""
PROBED = 8
"""Lists whose frames are compared, of those there are."""
FRAMES_AT_ONCE = 512
"""Frames that are looked up at once; with the next one it bounds the memory of the distances."""
VECTORS_AT_ONCE = 16_384
"""Vectors that they are compared with at once."""
SPARE = 4
"""Candidates beyond the neighbours, as the quick distances are rounded."""
LEAST = 1e-9
"""Squared distance below which two frames are the same."""


class Lists(NamedTuple):
    """Which vectors lie together, so that only some need to be compared."""

    centres: Tensor
    """`[lists, channels]`."""
    ends: tuple[int, ...]
    """Where the vectors of each list end, and those of the next begin."""


class Near(NamedTuple):
    """The nearest vectors of each frame, nearest first."""

    which: Tensor
    """Their numbers, int64 `[frames, neighbours]`."""
    squared: Tensor
    """Squared distances from them, `[frames, neighbours]`."""


@dataclass(frozen=True)
class Index:
    """Content of one speaker, to look up what is nearest.

    Args:
        vectors: `[n, channels]`.
        neighbours: How many are mixed; 1 for cluster centres, which are averages already.
        lists: How the vectors are grouped; all of them are compared if not given.
        probed: Lists whose vectors are compared.
    """

    vectors: Tensor
    neighbours: int = 1
    lists: Lists | None = None
    probed: int = PROBED

    def to(self, device: torch.device | str) -> Index:
        """Return the same on another device; beside the CPU, all vectors are compared there."""
        if torch.device(device).type == self.vectors.device.type:
            return self
        lists = self.lists if torch.device(device).type == "cpu" else None
        return replace(self, vectors=self.vectors.to(device), lists=lists)

    def blend(self, content: Content, ratio: float) -> Content:
        """Return `[channels, frames]`, moved by `ratio` towards the nearest vectors."""
        return torch.lerp(content, self.nearest(content), ratio) if ratio else content

    def nearest(self, content: Content) -> Content:
        """Return `[channels, frames]`: for each frame, the mean of its neighbours.

        They are weighted by the inverse square of their squared distance, so one that is much
        nearer than the others counts alone.
        """
        moved = [self._mean(frames) for frames in content.t().split(FRAMES_AT_ONCE)]
        return torch.cat(moved).t() if content.shape[-1] else content

    def search(self, frames: Tensor) -> Near:
        """Return the nearest vectors of `[frames, channels]`.

        Candidates are found by quick distances, which lose digits where vectors are long, and
        put in order by exact ones; so it does not matter what else is looked up with a frame.
        """
        count = min(self.neighbours, len(self.vectors))
        wanted = min(count + SPARE, len(self.vectors))
        candidates = self._compared(frames, wanted)
        there = candidates >= 0  # the lists may hold fewer than are wanted
        away = self.vectors[candidates].to(frames.dtype) - frames[:, None]
        exact = away.square().sum(dim=-1).masked_fill(~there, torch.inf)
        squared, order = exact.topk(count, largest=False)
        return Near(candidates.gather(1, order), squared)

    def _mean(self, frames: Tensor) -> Tensor:
        near = self.search(frames.to(self.vectors.device))
        squared = near.squared.clamp(min=LEAST)
        weight = (squared[:, :1] / squared).square()  # of the nearest 1, so that none overflows
        weight = (weight / weight.sum(dim=-1, keepdim=True))[..., None]
        found = self.vectors[near.which].to(frames.dtype)
        return (found * weight).sum(dim=1).to(frames.device)

    def _compared(self, frames: Tensor, wanted: int) -> Tensor:
        """Return which vectors are likely the nearest, `[frames, wanted]`; -1 for none."""
        if self.lists is not None:
            return self._probe(frames, self.lists, wanted)
        best, centred = _Best(frames, wanted), frames - self._middle.to(frames.dtype)
        for first in range(0, len(self.vectors), VECTORS_AT_ONCE):
            part = slice(first, first + VECTORS_AT_ONCE)
            best.add(self._distances(centred, part), first)
        return best.index

    def _probe(self, frames: Tensor, lists: Lists, wanted: int) -> Tensor:
        """Return the same of the lists whose centres are nearest."""
        centres = lists.centres.to(frames.dtype)
        away = centres.square().sum(dim=1) - 2 * frames @ centres.t()
        probed = min(self.probed, len(centres))
        chosen = away.topk(probed, largest=False).indices
        centred = frames - self._middle.to(frames.dtype)
        score = frames.new_full((len(frames), probed, wanted), torch.inf)
        index = torch.full(score.shape, -1, device=frames.device)
        for number, row, slot in _by_list(chosen):
            begin = lists.ends[number - 1] if number else 0
            away = self._distances(centred[row], slice(begin, lists.ends[number]))
            found = away.topk(min(wanted, away.shape[1]), largest=False)
            score[row, slot, : found.values.shape[1]] = found.values
            index[row, slot, : found.values.shape[1]] = found.indices + begin
        order = score.flatten(1).topk(wanted, largest=False).indices
        return index.flatten(1).gather(1, order)

    def _distances(self, centred: Tensor, part: slice) -> Tensor:
        """Return squared distances from some vectors, less what is the same for all of them.

        From their middle, as products of all that vectors have in common would hide the rest.
        """
        vectors = self.vectors[part].to(centred.dtype)
        return torch.addmm(self._squares[part].to(centred.dtype), centred, vectors.t(), alpha=-2)

    @cached_property
    def _middle(self) -> Tensor:
        exact = torch.float64 if self.vectors.dtype == torch.float64 else torch.float32
        # A part at a time, since numbers in half precision are widened first.
        parts = self.vectors.split(VECTORS_AT_ONCE)
        total = torch.stack([part.sum(dim=0, dtype=exact) for part in parts]).sum(dim=0)
        return total / len(self.vectors)

    @cached_property
    def _squares(self) -> Tensor:
        parts = self.vectors.split(VECTORS_AT_ONCE)
        return torch.cat([(part - self._middle).square().sum(dim=1) for part in parts])


@dataclass(frozen=True)
class Mixture:
    """Content of several speakers, of which each frame has shares.

    Args:
        indices: One for each speaker.
        shares: `[speakers]`, or `[speakers, frames]` for the frames of one content; at least 0,
            and not all of them 0. They are divided by their sum.

    Raises:
        ConfigError: Shares are negative, or all 0.
    """

    indices: tuple[Index, ...]
    shares: Tensor

    def __post_init__(self) -> None:
        total = self.shares.sum(dim=0)
        if not bool((self.shares >= 0).all() and (total > 0).all() and total.isfinite().all()):
            found = self.shares.flatten()[:8].tolist()
            raise ConfigError.wrong_value("shares", found, "at least 0, and not all 0")

    def blend(self, content: Content, ratio: float) -> Content:
        """Return `[channels, frames]`, moved by `ratio` towards all speakers by their shares."""
        return torch.lerp(content, self.nearest(content), ratio) if ratio else content

    def nearest(self, content: Content) -> Content:
        """Return `[channels, frames]`: the mean of what is nearest of each speaker."""
        shares = (self.shares / self.shares.sum(dim=0)).to(content)
        moved = torch.zeros_like(content)
        for index, share in zip(self.indices, shares, strict=True):
            if bool(share.any()):
                moved += share * index.nearest(content)
        return moved


class _Best:
    """The vectors nearest to each frame, of those that were added so far."""

    def __init__(self, frames: Tensor, wanted: int) -> None:
        self.wanted = wanted
        self.score = frames.new_full((len(frames), wanted), torch.inf)
        self.index = torch.full(self.score.shape, -1, device=frames.device)

    def add(self, score: Tensor, first: int) -> None:
        """Compare `[frames, n]` more, the first of which is vector `first`."""
        found = score.topk(min(self.wanted, score.shape[1]), largest=False)
        both = torch.cat([self.score, found.values], dim=1)
        self.score, order = both.topk(self.wanted, largest=False)
        self.index = torch.cat([self.index, found.indices + first], dim=1).gather(1, order)


def _by_list(chosen: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield each list that any frame has chosen, `[frames, probed]`, with which and as which."""
    flat = chosen.flatten()
    order = flat.argsort(stable=True)
    numbers, counts = flat[order].unique_consecutive(return_counts=True)
    for number, places in zip(numbers.tolist(), order.split(counts.tolist()), strict=True):
        yield number, places // chosen.shape[1], places % chosen.shape[1]
