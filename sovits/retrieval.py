"""Move content towards the target voice's own (k-means of so-vits-svc; kNN-VC, Baas 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sovits.types import Content

FRAMES_AT_ONCE = 512  # bounds the memory of the distances


@dataclass(frozen=True)
class Index:
    """Content of one voice, to look up what is nearest.

    Args:
        vectors: `[n, channels]`.
        neighbours: How many are mixed; 1 for cluster centres, which are averages already.
    """

    vectors: Tensor
    neighbours: int = 1

    def blend(self, content: Content, ratio: float) -> Content:
        """Return `[channels, frames]`, moved by `ratio` towards its nearest vectors.

        Neighbours are weighted by the inverse square of their squared distance.
        """
        bank = self.vectors.to(content)
        moved = [self._nearest(frames, bank) for frames in content.t().split(FRAMES_AT_ONCE)]
        return torch.lerp(content, torch.cat(moved).t(), ratio) if moved else content

    def _nearest(self, frames: Tensor, bank: Tensor) -> Tensor:
        distance = torch.cdist(frames, bank).square()
        near, index = distance.topk(min(self.neighbours, len(bank)), largest=False)
        weight = near.clamp(min=1e-9).pow(-2)
        weight = weight / weight.sum(dim=-1, keepdim=True)
        return (bank[index] * weight.unsqueeze(-1)).sum(dim=1)
