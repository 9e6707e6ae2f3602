"""Who is heard in the results: the target, or still the source."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from sovits.evaluate import bootstrap
from sovits.evaluate.clips import Clip, one_by_one
from sovits.evaluate.results import Column, Measure
from sovits.evaluate.target import RATE, Target
from sovits.features.speaker import SpeakerEncoder, similarity
from sovits.types import Wave

SAME_SPEAKER = 0.75
"""Two clips of one speaker are above this, and those of two below, in 97 of 100 cases."""


def measure_similarity(
    clips: Sequence[Clip],
    target: Target,
    encoder: SpeakerEncoder,
    on_progress: Callable[[float], None],
) -> list[Measure]:
    """Return how much source and result resemble the target, and the result its source.

    Each clip, of 10 s or more where there is enough sound, is compared with all recordings of the
    target together. A silent result resembles nobody: 0.
    """
    wanted = encoder.embed(target.wave, RATE)
    rows = []
    for number, clip in enumerate(clips):
        source = encoder.embed(*clip.source())
        result = _heard(encoder, *clip.result())
        rows.append([_cosine(result, wanted), similarity(source, wanted), _cosine(result, source)])
        on_progress((number + 1) / len(clips))
    names = tuple(clip.name for clip in clips)
    table = np.array(rows)
    ones = np.ones(len(clips))

    def mean(values: bootstrap.Sums) -> Column:
        return Column(np.stack([values, ones], 1), bootstrap.ratio)

    made, was, kept = table.T
    return [
        Measure(
            "similarity_to_target",
            "Similarity to target",
            "similarity",
            "higher",
            names,
            mean(made),
            mean(was),
            Column(np.stack([made, ones, was, ones], 1), bootstrap.change_of_ratio),
            explanation=f"Cosine of two voices, 1 at most; from about {SAME_SPEAKER:g} on they "
            "pass for one.",
            clips=one_by_one(clips),
        ),
        Measure(
            "similarity_to_source",
            "Similarity to source",
            "similarity",
            "lower",
            names,
            mean(kept),
            explanation="How much of who spoke is left in the result.",
            clips=one_by_one(clips),
        ),
    ]


def similarity_between_halves(target: Target, encoder: SpeakerEncoder) -> float | None:
    """Return how much the target resembles itself, which no voice can much exceed.

    None if one half of the recordings is silent.
    """
    middle = target.wave.shape[-1] // 2
    halves = target.wave[:middle], target.wave[middle:]
    if not all(bool(half.any()) for half in halves):
        return None
    return similarity(*(encoder.embed(half, RATE) for half in halves))


def _heard(encoder: SpeakerEncoder, wave: Wave, sample_rate: int) -> Tensor | None:
    """Return the speaker of a result; None if there is only silence."""
    return encoder.embed(wave, sample_rate) if bool(wave.any()) else None


def _cosine(a: Tensor | None, b: Tensor) -> float:
    return 0.0 if a is None else similarity(a, b)
