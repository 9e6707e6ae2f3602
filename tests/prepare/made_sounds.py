"""Recordings made of sines, for tests of preparation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor


def tone(seconds: float, hz: float, sample_rate: int = 22_050, level: float = 0.3) -> Tensor:
    """Return a sine, `[samples]`."""
    t = torch.arange(round(seconds * sample_rate)) / sample_rate
    return level * torch.sin(2 * math.pi * hz * t)


def save(path: Path, *channels: Tensor, sample_rate: int = 22_050) -> Path:
    """Write a 16-bit wav file, and the folders it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.stack([c.numpy() for c in channels], axis=1), sample_rate)
    return path


def pitch_of(path: Path) -> float:
    """Return the frequency of a clip's strongest partial (Hz)."""
    wave, sample_rate = soundfile.read(path)
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    return float(spectrum.argmax() * sample_rate / len(wave))
