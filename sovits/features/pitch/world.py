"""Harvest and DIO of WORLD (Morise, 2016 and 2009), by the package pyworld."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from sovits.errors import PitchError
from sovits.features.pitch.contract import PitchExtractor, PitchSpec, Track
from sovits.types import Wave

PACKAGE = "sovits[world]"
HARVEST = PitchSpec(
    "harvest", "WORLD's Harvest: exact and slow, marks much as voiced", needs=PACKAGE
)
DIO = PitchSpec("dio", "WORLD's DIO refined by StoneMask: fast, less robust", needs=PACKAGE)
STEP = 0.005
"""Seconds from one estimate to the next."""
BLOCK = 60.0
"""Seconds per run, which bounds the memory."""
CONTEXT = 1.0
"""Seconds of sound before and after a run that it may look at."""


class WorldExtractor(PitchExtractor):
    """Pitch by a method of WORLD."""

    sample_rate = 16_000

    def __init__(self, spec: PitchSpec, world: ModuleType) -> None:
        self.spec = spec
        self.world = world

    def track(self, wave: Wave, sample_rate: int) -> Track:
        """Return the pitch every 5 ms."""
        samples = wave.double().numpy()
        step, block = round(STEP * sample_rate), round(BLOCK * sample_rate)
        context = round(CONTEXT * sample_rate)
        parts = []
        for start in range(0, max(len(samples), 1), block):
            left = max(start - context, 0)
            stop = start + block + context
            f0 = self.measure(samples[left:stop], sample_rate)
            skip = (start - left) // step
            parts.append(f0[skip : skip + block // step] if stop < len(samples) else f0[skip:])
            if stop >= len(samples):
                break
        return Track(torch.from_numpy(np.concatenate(parts)), STEP)

    def measure(self, samples: np.ndarray, sample_rate: int) -> np.ndarray:
        """Return Hz `[n]`, 0 where unvoiced."""
        limits = {"f0_floor": self.spec.lowest, "f0_ceil": self.spec.highest}
        period = {"frame_period": 1000 * STEP}
        if self.spec is HARVEST:
            return self.world.harvest(samples, sample_rate, **limits, **period)[0]
        coarse, times = self.world.dio(samples, sample_rate, **limits, **period)
        return self.world.stonemask(samples, coarse, times, sample_rate)


def load_harvest(device: str | torch.device = "cpu", path: Path | None = None) -> WorldExtractor:
    """Load Harvest, which has no weights and computes on the CPU."""
    return WorldExtractor(HARVEST, _world(HARVEST.name))


def load_dio(device: str | torch.device = "cpu", path: Path | None = None) -> WorldExtractor:
    """Load DIO, which has no weights and computes on the CPU."""
    return WorldExtractor(DIO, _world(DIO.name))


def _world(name: str) -> ModuleType:
    """Import pyworld."""
    with warnings.catch_warnings():
        # It asks the deprecated pkg_resources for its own version.
        warnings.simplefilter("ignore")
        try:
            import pyworld
        except ModuleNotFoundError as error:
            raise PitchError.needs_package(name, "pyworld", PACKAGE) from error
    return pyworld
