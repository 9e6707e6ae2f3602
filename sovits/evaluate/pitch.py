"""How well one sound follows the melody of another."""

from __future__ import annotations

from typing import NamedTuple

import torch

from sovits.features.pitch import PitchExtractor
from sovits.types import Pitch, Wave


class PitchAgreement(NamedTuple):
    """How two melodies compare, over the frames in which both sounds are voiced."""

    correlation: float
    """Of log pitch, -1 to 1; NaN if one of the two stands still."""
    error_cents: float
    """Root mean square of the difference."""
    frames: int
    """How many frames were compared."""


def compare_pitch(source: Pitch, result: Pitch, semitones: float = 0.0) -> PitchAgreement:
    """Compare the melody of `result` with that of `source` moved by `semitones`."""
    frames = min(len(source.f0), len(result.f0))
    both = source.voiced[:frames] & result.voiced[:frames]
    count = int(both.sum())
    if count < 2:
        return PitchAgreement(0.0, float("nan"), count)
    a = source.f0[:frames][both].double().log2() + semitones / 12
    b = result.f0[:frames][both].double().log2()
    correlation = torch.corrcoef(torch.stack([a, b]))[0, 1].item()
    return PitchAgreement(correlation, 1200 * (a - b).square().mean().sqrt().item(), count)


def melody(extractor: PitchExtractor, wave: Wave, sample_rate: int) -> Pitch:
    """Return the pitch of `wave` `[samples]` in steps of 10 ms."""
    return extractor(wave, sample_rate, round(sample_rate / 100))
