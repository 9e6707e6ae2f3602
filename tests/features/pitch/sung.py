"""Sounds of known pitch."""

from __future__ import annotations

import numpy as np
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


def medley() -> Tensor:
    """A second of 16 kHz: a rising vowel, a chirp, a soft vowel, in faint noise."""
    time = torch.arange(8000) / 16_000
    rising = vowel(150 * 2 ** (2 * time.double()), 16_000, 0.5)
    chirp = 0.02 * torch.sin(3e4 * time[:4000] ** 2)
    soft = vowel(500.0, 16_000, 0.25, level=0.05)
    noise = np.random.RandomState(0).standard_normal(16_000)  # this stream is frozen for ever
    return torch.cat([rising, chirp, soft]) + 1e-3 * torch.from_numpy(noise).float()
