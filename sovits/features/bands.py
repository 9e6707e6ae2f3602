"""Mel bands on the Slaney scale, the front end of networks that were trained elsewhere."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_BREAK_HZ = 1000.0  # Slaney's Auditory Toolbox (1998): linear below, logarithmic above
_HZ_PER_MEL = 200.0 / 3.0
_LOG_STEP = math.log(6.4) / 27.0


def hz_to_mel(hz: float) -> float:
    """Return a frequency (Hz) on the Slaney mel scale."""
    if hz < _BREAK_HZ:
        return hz / _HZ_PER_MEL
    return _BREAK_HZ / _HZ_PER_MEL + math.log(hz / _BREAK_HZ) / _LOG_STEP


def mel_to_hz(mel: Tensor) -> Tensor:
    """Return Slaney mels as frequencies (Hz)."""
    above = mel - _BREAK_HZ / _HZ_PER_MEL
    return torch.where(above < 0, mel * _HZ_PER_MEL, _BREAK_HZ * torch.exp(above * _LOG_STEP))


def mel_bands(sample_rate: int, n_fft: int, n_mels: int) -> Tensor:
    """Return `[n_mels, n_fft // 2 + 1]` triangles from 0 Hz to half the rate, each of area 1/Hz.

    >>> list(mel_bands(16_000, 400, 80).shape)
    [80, 201]
    """
    top = hz_to_mel(sample_rate / 2)
    edges = mel_to_hz(torch.linspace(0, top, n_mels + 2, dtype=torch.float64))
    bins = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    rise = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    area = (edges[2:] - edges[:-2])[:, None] / 2
    return (torch.minimum(rise, fall).clamp(min=0) / area).float()
