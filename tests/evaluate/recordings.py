"""Recordings made of sines, and what there is to know of them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from sovits.audio.io import write
from sovits.evaluate.bootstrap import ratio
from sovits.evaluate.clips import Clip, Recording, cut
from sovits.evaluate.results import Column, Measure
from sovits.types import Wave

RATE = 16_000


def vowel(seconds: float, hz: float = 150.0, *, seed: int = 0, rate: int = RATE) -> Wave:
    """Return harmonics of a gliding tone with formants and a little noise, `[samples]`."""
    time = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    pitch = hz * 2 ** (0.25 * torch.sin(2 * math.pi * 0.4 * time + seed))
    turns = torch.cumsum(pitch, 0) / rate
    wave = torch.zeros_like(time)
    for k in range(1, int(0.45 * rate / hz / 1.2)):
        level = sum(1 / (1 + ((k * hz - formant) / 150) ** 2) for formant in (600, 1500, 2600))
        wave += level * torch.sin(2 * math.pi * k * turns)
    noise = torch.randn(len(time), generator=torch.Generator().manual_seed(seed))
    return (0.3 * wave / wave.abs().max() + 0.001 * noise).float()


def recorded(
    folder: Path,
    name: str,
    source: Wave,
    result: Wave | None = None,
    *,
    text: str | None = None,
    rate: int = RATE,
) -> Recording:
    """Write a source and its result; both the same if only one is given."""
    paths = folder / f"{name}.source.wav", folder / f"{name}.result.wav"
    for path, wave in zip(paths, (source, source if result is None else result), strict=True):
        write(path, wave, rate, subtype="FLOAT")
    return Recording(Path(f"{name}.wav"), *paths, text)


def clips_of(folder: Path, *waves: tuple[Wave, Wave]) -> list[Clip]:
    """Return one clip for each pair of source and result, which last 14 s or more."""
    return cut([recorded(folder, f"clip-{i}", *pair) for i, pair in enumerate(waves)])


def measure_of(values: list[float], names: list[str], key: str = "score") -> Measure:
    """Return a row of the report that is the mean of some values."""
    sums = np.stack([np.array(values), np.ones(len(values))], 1)
    return Measure(key, key.title(), "quality", "higher", tuple(names), Column(sums, ratio))
