"""Sounds of known pitch."""

from __future__ import annotations

import torch
from torch import Tensor

FORMANTS = ((700.0, 130.0), (1200.0, 150.0), (2600.0, 250.0))  # of an open vowel (Hz, Hz)


def vowel(f0: float | Tensor, sample_rate: int, seconds: float = 1.0, level: float = 0.3) -> Tensor:
    """Sing a vowel: harmonics of `f0` (Hz, one for all or one per sample), shaped by formants."""
    samples = round(seconds * sample_rate)
    pitch = torch.as_tensor(f0, dtype=torch.float64).expand(samples)
    phase = 2 * torch.pi * torch.cumsum(pitch / sample_rate, 0)
    wave = torch.zeros(samples, dtype=torch.float64)
    top = min(0.45 * sample_rate, 6000.0)
    for k in range(1, int(top / float(pitch.min())) + 1):
        hz = k * pitch
        gain = sum(1 / (1 + ((hz - centre) / width) ** 2) for centre, width in FORMANTS) + 100 / hz
        wave += gain * (hz < top) * torch.sin(k * phase)
    return (level * wave / wave.abs().max()).float()


def cents(found: Tensor, true: float | Tensor) -> Tensor:
    """How far `found` is above `true`."""
    return 1200 * torch.log2(found.double() / true)
