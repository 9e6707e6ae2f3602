"""Whether a sound lies where a voice can sing, and how far to move it if not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sovits.audio.loudness import LEVELS_PER_SECOND, recording_level
from sovits.audio.split import frame_levels
from sovits.ends import Sound
from sovits.features.pitch import PitchExtractor
from sovits.types import Wave

SLACK = 3.0
"""Semitones beyond the range of its recordings that a voice still sings well."""
LEAST_SECONDS, LEAST_SHARE = 1.0, 0.02
"""Less than this outside is not worth a word: seconds, and share of the voiced time."""
GAIN = 0.5
"""Share of what lies outside that a transposition has to bring inside."""
NEARLY = 0.05
"""Share of what lies outside that may stay there, if less has to be moved for it."""
FURTHEST = 24
"""Semitones that may be proposed, either way."""
STEP = 0.016
"""Seconds from one pitch to the next."""
BLOCK = 30.0
"""Seconds measured at once."""


class RangeFit(NamedTuple):
    """How a sound lies to the range of a voice."""

    above: float
    """Seconds above it, once transposed."""
    below: float
    """Seconds below it."""
    voiced: float
    """Seconds with a pitch."""
    low_hz: float
    high_hz: float
    semitones: float
    """Transposition that was asked for."""
    better: float
    """Transposition with which least lies outside; as asked for where nothing is much better."""

    @property
    def fits(self) -> bool:
        """Whether hardly anything lies outside."""
        return self.above + self.below < max(LEAST_SECONDS, LEAST_SHARE * self.voiced)

    def sentence(self) -> str:
        """Return what lies outside, and what to try."""
        sides = (("above", self.above), ("below", self.below))
        told = [f"{seconds:.0f} s lie {side}" for side, seconds in sides if seconds >= 0.5]
        wanted = f"; try -t {self.better:g}" if self.better != self.semitones else ""
        return (
            f"{' and '.join(told)} this voice's range "
            f"({self.low_hz:.0f} to {self.high_hz:.0f} Hz){wanted}."
        )


def heard_pitches(sound: Sound, extractor: PitchExtractor) -> Tensor:
    """Return the pitches of a sound, every 16 ms where it has one, in bounded memory (Hz)."""
    rate = sound.sample_rate
    hop = max(1, rate // LEVELS_PER_SECOND)
    levels = [frame_levels(block, hop) for block in _blocks(sound)]
    level = recording_level(np.concatenate(levels)) if levels else None
    found = [torch.zeros(0)]
    for block in _blocks(sound):
        pitch = extractor(block, rate, max(1, round(STEP * rate)), level=level)
        found.append(pitch.f0[pitch.voiced])
    return torch.cat(found)


def fit(
    pitches: Tensor, low_hz: float, high_hz: float, semitones: float, *, slack: float = SLACK
) -> RangeFit:
    """Return how a sound lies to the range of a voice.

    Args:
        pitches: Pitch of each 16 ms that has one (Hz).
        low_hz: Lower end of what the voice was trained on: 5 % of its pitches are below.
        high_hz: Upper end of it, likewise.
        semitones: Transposition that is asked for.
        slack: Semitones beyond both ends that count as inside.
    """
    notes = 12 * (pitches.double() / low_hz).log2()
    low, high = -slack, 12 * float(np.log2(high_hz / low_hz)) + slack

    def outside(moved: float) -> tuple[float, float]:
        above, below = notes + moved > high, notes + moved < low
        return float(above.sum()) * STEP, float(below.sum()) * STEP

    above, below = outside(semitones)
    better = semitones
    if above + below >= LEAST_SECONDS:
        tried = [semitones + step for step in range(-FURTHEST, FURTHEST + 1)]
        left = {t: sum(outside(t)) for t in tried}
        enough = min(left.values()) + max(0.5 * LEAST_SECONDS, NEARLY * (above + below))
        best = min((t for t in tried if left[t] <= enough), key=lambda t: abs(t - semitones))
        if left[best] <= GAIN * (above + below):
            better = best
    return RangeFit(above, below, len(notes) * STEP, low_hz, high_hz, semitones, better)


def _blocks(sound: Sound) -> Iterator[Wave]:
    """Yield the mean of all channels, `[samples]`, half a minute at a time."""
    size = round(BLOCK * sound.sample_rate)
    for start in range(0, sound.frames, size):
        yield sound.read(start, size).mean(0)
