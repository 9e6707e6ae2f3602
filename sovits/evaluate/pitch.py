"""How well one sound follows the melody of another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from sovits.evaluate import bootstrap
from sovits.evaluate.clips import Clip, one_by_one
from sovits.evaluate.results import Better, Column, Measure
from sovits.features.pitch import PitchExtractor, load_pitch_extractor
from sovits.types import Pitch, Wave

JUDGES = ("crepe-tiny", "swift")
"""Methods to measure by; the first that is not what the voice sang by is taken."""
HALF_OCTAVE = 600.0
"""A pitch that is further off than this is nearer to another octave (cents)."""
CONCERT = 440.0
"""What pitches are counted from, so that their logarithms are small (Hz)."""


class Row(NamedTuple):
    """What is measured, as it stands in the report."""

    key: str
    label: str
    better: Better
    terms: str
    """Which sums it is made of."""
    statistic: bootstrap.Statistic
    unit: str
    digits: int
    explanation: str


ROWS = (
    Row(
        "f0_correlation",
        "Log-F0 correlation",
        "higher",
        "correlation",
        bootstrap.correlation,
        "",
        4,
        "1 is the same melody.",
    ),
    Row(
        "f0_rmse_cents",
        "F0 error, all frames",
        "lower",
        "error",
        bootstrap.root_ratio,
        "cents",
        1,
        "Root mean square over the frames voiced in both; 100 cents are a semitone. A few wrong "
        "octaves, of the voice or of the method, outweigh all else.",
    ),
    Row(
        "f0_fine_rmse_cents",
        "F0 error, right octave",
        "lower",
        "fine",
        bootstrap.root_ratio,
        "cents",
        1,
        "The same without the frames that are half an octave off or more.",
    ),
    Row(
        "octave_errors",
        "Octave errors",
        "lower",
        "octaves",
        bootstrap.ratio,
        "",
        4,
        "Share of the frames voiced in both that are half an octave off or more.",
    ),
    Row(
        "voicing_f1",
        "Voicing F1",
        "higher",
        "voicing",
        bootstrap.f_score,
        "",
        3,
        "1 if the same frames are voiced in source and result.",
    ),
)
"""What is measured of melodies."""


class PitchAgreement(NamedTuple):
    """How two melodies compare, over the frames in which both sounds are voiced."""

    correlation: float
    """Of log pitch, -1 to 1; NaN if one of the two stands still."""
    error_cents: float
    """Root mean square of the difference."""
    frames: int
    """How many frames were compared."""
    octave_errors: float = 0.0
    """Share of those frames whose pitch is nearer to another octave."""
    fine_error_cents: float = 0.0
    """Root mean square of the difference in the other frames."""
    voicing_f1: float = 0.0
    """Agreement on which frames are voiced, 0 to 1."""


def compare_pitch(source: Pitch, result: Pitch, semitones: float = 0.0) -> PitchAgreement:
    """Compare the melody of `result` with that of `source` moved by `semitones`."""
    frames = min(len(source.f0), len(result.f0))
    a, b = source.voiced[:frames], result.voiced[:frames]
    hits = int((a & b).sum())
    errors = int((a ^ b).sum())
    voicing = 2 * hits / (2 * hits + errors) if hits + errors else 0.0
    nan = float("nan")
    if hits < 2:
        return PitchAgreement(0.0, nan, hits, nan, nan, voicing)
    wanted = source.f0[:frames][a & b].double().log2() + semitones / 12
    found = result.f0[:frames][a & b].double().log2()
    correlation = torch.corrcoef(torch.stack([wanted, found]))[0, 1].item()
    cents = 1200 * (found - wanted)
    far = cents.abs() >= HALF_OCTAVE
    return PitchAgreement(
        correlation,
        cents.square().mean().sqrt().item(),
        hits,
        far.double().mean().item(),
        cents[~far].square().mean().sqrt().item(),
        voicing,
    )


def melody(extractor: PitchExtractor, wave: Wave, sample_rate: int) -> Pitch:
    """Return the pitch of `wave` `[samples]` in steps of 10 ms."""
    return extractor(wave, sample_rate, round(sample_rate / 100))


def choose_judge(driver: str, judge: str | None = None) -> str:
    """Return the method to measure by, which is not the one that the voice sang by.

    A method agrees with its own mistakes: where it hears the wrong octave in the source, the
    voice sings the wrong octave, and it finds nothing wrong.
    """
    return judge or next(name for name in JUDGES if name != driver)


def measure_pitch(
    clips: Sequence[Clip], judge: str, semitones: float, on_progress: Callable[[float], None]
) -> list[Measure]:
    """Return how the results follow the melodies of their sources.

    Raises:
        PitchError: There is no such method, or what it needs is not installed.
    """
    extractor = load_pitch_extractor(judge)
    rows = []
    for number, clip in enumerate(clips):
        rows.append(_terms(melody(extractor, *clip.source()), melody(extractor, *clip.result())))
        on_progress((number + 1) / len(clips))
    names, places = tuple(clip.name for clip in clips), one_by_one(clips)
    table = [_sums(*row, semitones) for row in rows]
    by = f"Measured by {judge}."
    measures = []
    for key, label, better, terms, statistic, unit, digits, explanation in ROWS:
        column = Column(np.array([sums[terms] for sums in table]), statistic)
        measures.append(
            Measure(
                key,
                label,
                "pitch",
                better,
                names,
                column,
                unit=unit,
                digits=digits,
                explanation=f"{explanation} {by}" if key == ROWS[0].key else explanation,
                clips=places,
            )
        )
    return measures


def _terms(source: Pitch, result: Pitch) -> tuple[bootstrap.Sums, bootstrap.Sums, int]:
    """Return octaves above concert pitch of both where both are voiced, and voicing errors."""
    frames = min(len(source.f0), len(result.f0))
    a, b = source.voiced[:frames], result.voiced[:frames]
    octaves = [(p.f0[:frames][a & b].double() / CONCERT).log2().numpy() for p in (source, result)]
    return octaves[0], octaves[1], int((a ^ b).sum())


def _sums(
    source: bootstrap.Sums, result: bootstrap.Sums, errors: int, semitones: float
) -> dict[str, list[float]]:
    """Return what one clip contributes to each measurement."""
    cents = 1200 * (result - source) - 100 * semitones
    fine = cents[np.abs(cents) < HALF_OCTAVE]
    count = float(len(cents))
    return {
        "correlation": bootstrap.correlation_sums(source, result),
        "error": [float((cents**2).sum()), count],
        "fine": [float((fine**2).sum()), float(len(fine))],
        "octaves": [count - len(fine), count],
        "voicing": [count, float(errors)],
    }
