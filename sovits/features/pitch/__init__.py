"""Pitch of a sound, by the method of one's choice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from sovits.errors import PitchError
from sovits.features.pitch import crepe, fcpe, praat, rmvpe, swift, world
from sovits.features.pitch.contract import FindsPitch, PitchExtractor, PitchSpec, bridge

__all__ = [
    "PITCH_METHODS",
    "FindsPitch",
    "PitchExtractor",
    "PitchSpec",
    "bridge",
    "load_pitch_extractor",
]

_NETWORKS: dict[PitchSpec, Callable[[str | torch.device, Path | None], PitchExtractor]] = {
    swift.SPEC: swift.load,
    crepe.TINY: crepe.load_tiny,
    crepe.FULL: crepe.load_full,
    fcpe.SPEC: fcpe.load,
    rmvpe.SPEC: rmvpe.load,
}
_MEASURES: dict[PitchSpec, Callable[[], PitchExtractor]] = {
    world.HARVEST: world.load_harvest,
    world.DIO: world.load_dio,
    praat.SPEC: praat.load,
}

PITCH_METHODS: dict[str, PitchSpec] = {spec.name: spec for spec in (*_NETWORKS, *_MEASURES)}
"""Every method by its name."""


def load_pitch_extractor(
    name: str, *, device: str | torch.device = "cpu", path: Path | None = None
) -> PitchExtractor:
    """Load a pitch method.

    Args:
        name: One of `PITCH_METHODS`.
        device: Where a network computes; methods without one use the CPU.
        path: File of weights to use instead of the known ones.

    Raises:
        PitchError: There is no such method, what it needs is not installed, or it has no weights
            and `path` is given.
        WeightsError: Its weights are missing, or are not the ones expected.
    """
    if name not in PITCH_METHODS:
        raise PitchError.unknown_method(name, PITCH_METHODS)
    spec = PITCH_METHODS[name]
    if spec in _NETWORKS:
        return _NETWORKS[spec](device, path)
    if path is not None:
        raise PitchError.no_weights(name, path)
    return _MEASURES[spec]()
