"""Sound that changes like speech does, made of sines and noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def babble(seconds: float, seed: int = 0) -> Tensor:
    """Vowels of random pitch and colour, hisses and pauses, `[samples]` at 16 kHz."""
    generator = torch.Generator().manual_seed(seed)
    total, at = round(seconds * 16_000), 0
    wave = torch.randn(total, generator=generator) * 1e-4
    while at < total:
        kind, pitch, *colour = torch.rand(5, generator=generator).tolist()
        length = int(16_000 * (0.06 + 0.2 * colour[2]))
        t = torch.arange(length) / 16_000
        formants = [250 + 600 * colour[0], 900 + 1500 * colour[1], 2700.0]
        if kind < 0.15:
            at += length
            continue
        if kind < 0.8:
            f0 = 90 * 2 ** (1.5 * pitch)
            part = torch.zeros(length)
            for harmonic in range(1, int(6000 / f0)):
                level = sum(math.exp(-(((harmonic * f0 - f) / 250) ** 2)) for f in formants)
                part += (level + 0.01) * torch.sin(2 * math.pi * harmonic * f0 * t)
        else:
            noise = torch.fft.rfft(torch.randn(length, generator=generator))
            hz = torch.linspace(0, 8000, noise.shape[0])
            part = torch.fft.irfft(
                noise * torch.exp(-(((hz - 2000 - 5000 * pitch) / 1200) ** 2)), length
            )
        end = min(at + length, total)
        wave[at:end] += 0.1 * (part * torch.hann_window(length).sqrt())[: end - at]
        at += length
    return wave
