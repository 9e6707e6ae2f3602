"""Pitch of a stream, a chunk at a time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sovits.audio.pad import reflect
from sovits.features.pitch import PitchExtractor, load_pitch_extractor
from sovits.features.pitch.contract import Track
from sovits.features.pitch.swift import HOP, SwiftExtractor, SwiftF0
from sovits.types import Wave

MIRROR = 6
"""Frames by which a chunk's future is mirrored where it ends: what the network hears beyond it."""
SWIFT_SECONDS = 0.18
"""How far back all that a frame of swift depends on lies."""
OTHERS_SECONDS = 0.35
"""Sound before a chunk that other methods hear."""


class Bands(nn.Module):
    """What sums bins into bands, as one matrix that is made once."""

    matrix: Tensor

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)

    def forward(self, magnitude: Tensor) -> Tensor:
        """Map `[frames, bins]` to `[frames, bands]`."""
        return magnitude @ self.matrix


class LiveSwift(SwiftExtractor):
    """SwiftF0 for short pieces of a stream: half the work, and the same pitch inside them."""

    def __init__(self, network: SwiftF0, device: torch.device | str) -> None:
        super().__init__(network, device=device)
        for name, bins in list(network.filters.items()):
            if not isinstance(bins, Bands):
                identity = torch.eye(int(name) // 2 + 1, device=device)
                network.filters[name] = Bands(bins(identity))

    def track(self, wave: Wave, sample_rate: int) -> Track:
        """Return the pitch every 16 ms; before `wave` there is silence."""
        pitch, confidence = self.confidence(reflect(wave, 0, MIRROR * HOP))
        f0 = torch.where(confidence >= self.threshold, pitch, 0.0)
        return Track(f0, HOP / sample_rate, 0.0).inside(len(wave) / sample_rate)


def load_live_pitch(name: str, device: torch.device) -> tuple[PitchExtractor, float]:
    """Return a pitch method for chunks, and how much sound before them it is to hear (s)."""
    extractor = load_pitch_extractor(name, device=device)
    if isinstance(extractor, SwiftExtractor):
        return LiveSwift(extractor.network, device), SWIFT_SECONDS
    return extractor, OTHERS_SECONDS
