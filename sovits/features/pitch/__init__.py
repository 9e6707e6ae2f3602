"""Pitch of a sound, by the method of one's choice."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sovits.errors import PitchError
from sovits.features.pitch import crepe, swift, world
from sovits.features.pitch.contract import PitchExtractor, PitchSpec, bridge

if TYPE_CHECKING:
    import torch

__all__ = ["PITCH_METHODS", "PitchExtractor", "PitchSpec", "bridge", "load_pitch_extractor"]

_LOADERS = {
    swift.SPEC: swift.load,
    crepe.FULL: crepe.load_full,
    crepe.TINY: crepe.load_tiny,
    world.HARVEST: world.load_harvest,
    world.DIO: world.load_dio,
}

PITCH_METHODS: dict[str, PitchSpec] = {spec.name: spec for spec in _LOADERS}
"""Every method by its name."""


def load_pitch_extractor(
    name: str, *, device: str | torch.device = "cpu", path: Path | None = None
) -> PitchExtractor:
    """Load a pitch method.

    Args:
        name: One of `PITCH_METHODS`.
        device: Where networks compute.
        path: File of weights to use instead of the known ones.

    Raises:
        PitchError: There is no such method, or what it needs is not installed.
        WeightsError: Its weights are missing, or are not the ones expected.
    """
    if name not in PITCH_METHODS:
        raise PitchError.unknown_method(name, PITCH_METHODS)
    return _LOADERS[PITCH_METHODS[name]](device=device, path=path)
