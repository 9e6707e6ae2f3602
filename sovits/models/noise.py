"""Noise that depends only on a seed and on where it lies, not on how sound was cut."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import torch
from torch import Tensor

BLOCK = 256  # steps that one draw of a generator covers


class NoiseSource:
    """Standard normal noise for the frames and samples of one sound.

    A stretch of it is the same whether it is asked for at once or in pieces, so that a sound
    converted in chunks equals the same sound converted whole.

    Args:
        seed: Another seed is other noise.
        start: Frame of the whole sound at which frame 0 of this stretch lies.
    """

    def __init__(self, seed: int = 0, start: int = 0) -> None:
        self.seed, self.start = seed, start

    def latent(self, channels: int, frames: int) -> Tensor:
        """Return noise for the prior, `[1, channels, frames]`."""
        return self._draw("latent", channels, self.start, frames)

    def samples(self, frames: int, hop_length: int) -> Tensor:
        """Return noise for the source, `[1, 1, frames * hop_length]`."""
        noise = self._draw("source", hop_length, self.start, frames)
        return noise.transpose(1, 2).reshape(1, 1, frames * hop_length)

    def diffusion(self, number: int, bands: int, frames: int) -> Tensor:
        """Return the n-th noise that a refiner adds, `[1, bands, frames]`."""
        return self._draw(f"diffusion/{number}", bands, self.start, frames)

    def phases(self, n: int) -> Tensor:
        """Return start phases of overtones, uniform in cycles, `[1, n]`; one draw per seed."""
        return torch.rand(1, n, generator=_generator(self.seed, "phase", 0), dtype=torch.float64)

    def _draw(self, kind: str, channels: int, start: int, frames: int) -> Tensor:
        parts = [
            _block(self.seed, kind, index, channels)[
                max(start - index * BLOCK, 0) : start + frames - index * BLOCK
            ]
            for index in range(start // BLOCK, (start + frames - 1) // BLOCK + 1)
        ]
        return torch.cat(parts).t().unsqueeze(0)


@lru_cache(maxsize=4)
def _block(seed: int, kind: str, index: int, channels: int) -> Tensor:
    """Return `[BLOCK, channels]`; a stream that takes a frame at a time draws it only once."""
    with torch.inference_mode(False):
        return torch.randn(BLOCK, channels, generator=_generator(seed, kind, index))


def _generator(seed: int, kind: str, index: int) -> torch.Generator:
    digest = hashlib.blake2b(f"{seed}/{kind}/{index}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
