"""Harvest and DIO of WORLD (Morise, 2017 and 2009), by the package pyworld."""

from __future__ import annotations

import warnings
from importlib import import_module
from types import ModuleType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from sovits.audio.pad import reflect
from sovits.errors import PitchError
from sovits.features.pitch.contract import PitchExtractor, PitchSpec, Track, blocks
from sovits.types import Wave

Samples: TypeAlias = npt.NDArray[np.float64]

PACKAGE = "sovits[world]"
HARVEST = PitchSpec(
    "harvest", "WORLD's Harvest: exact and slow, calls much of the sound voiced", needs=PACKAGE
)
DIO = PitchSpec("dio", "WORLD's DIO refined by StoneMask: fast, less robust", needs=PACKAGE)
STEP = 0.005
"""Seconds from one estimate to the next."""
BLOCK = 12_000
"""Estimates per run (60 s), which bounds the memory."""
MIRROR = 20
"""Estimates by which a sound is mirrored at its ends for DIO, which takes leaps there (0.1 s)."""
CONTEXT = 200
"""Estimates before and after a block that its run may look at (1 s)."""


class WorldExtractor(PitchExtractor):
    """Pitch by a method of WORLD, on the CPU."""

    sample_rate = 16_000

    def __init__(self, spec: PitchSpec, world: ModuleType) -> None:
        self.spec = spec
        self.world = world

    def track(self, wave: Wave, sample_rate: int) -> Track:
        """Return the pitch every 5 ms."""
        step = round(STEP * sample_rate)
        margin = MIRROR * step if self.spec is DIO else 0
        samples = reflect(wave, margin, margin).double().numpy()
        parts = []
        for block in blocks(len(samples) // step + 1, BLOCK, CONTEXT):
            piece = samples[block.left * step : block.right * step]
            parts.append(self.measure(piece, sample_rate)[block.core])
        track = Track(torch.from_numpy(np.concatenate(parts)), STEP, -margin / sample_rate)
        return track.inside(len(wave) / sample_rate) if margin else track

    def measure(self, samples: Samples, sample_rate: int) -> Samples:
        """Return Hz `[n]`, 0 where unvoiced, for every `STEP`."""
        limits = {"f0_floor": self.spec.lowest, "f0_ceil": self.spec.highest}
        period = {"frame_period": 1000 * STEP}
        f0: Samples
        if self.spec is HARVEST:
            f0, _ = self.world.harvest(samples, sample_rate, **limits, **period)
        else:
            coarse, times = self.world.dio(samples, sample_rate, **limits, **period)
            f0 = self.world.stonemask(samples, coarse, times, sample_rate)
        return f0


def load_harvest() -> WorldExtractor:
    """Load Harvest."""
    return WorldExtractor(HARVEST, _world(HARVEST.name))


def load_dio() -> WorldExtractor:
    """Load DIO."""
    return WorldExtractor(DIO, _world(DIO.name))


def _world(name: str) -> ModuleType:
    """Import pyworld."""
    with warnings.catch_warnings():
        # It asks the deprecated pkg_resources for its own version.
        warnings.simplefilter("ignore")
        try:
            return import_module("pyworld")
        except ModuleNotFoundError as error:
            raise PitchError.needs_package(name, "pyworld", PACKAGE) from error
