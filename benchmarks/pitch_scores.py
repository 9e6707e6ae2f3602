"""How a pitch that was found is judged: counts that add up over sounds, and what they come to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from known_pitch import Samples, Truth
from numpy.typing import NDArray

from sovits.evaluate import bootstrap
from sovits.evaluate.bootstrap import Estimate, Sums, estimate

RIGHT = 50.0
"""Greatest error of a pitch that is right (cents)."""
GROSS = 1200 * np.log2(1.2)
"""Greatest error of a pitch that is roughly right (cents)."""
OCTAVE = 100.0
"""How near to a wrong octave an error is one of the octave (cents)."""

# What is counted in one sound, besides a histogram of errors.
JUDGED, VOICED, FOUND, HITS, CLOSE, OCTAVES, FAR, SQUARES, STILL = range(9)
EDGES = np.concatenate([np.arange(0, 100, 0.5), [np.inf]])
"""Of the histogram of errors (cents)."""


class Score(NamedTuple):
    """A measurement of a method."""

    name: str
    statistic: bootstrap.Statistic
    digits: int


def right(truth: Truth, f0: Samples, voiced: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return whether each frame has the right voicing and, if voiced, the right pitch."""
    near = np.abs(1200 * np.log2(f0 / truth.f0)) <= RIGHT
    return np.where(truth.voiced, voiced & near, ~voiced)


def count(truth: Truth, f0: Samples, voiced: NDArray[np.bool_]) -> Sums:
    """Return what one sound adds to every score.

    Args:
        truth: What there is to find.
        f0: What was found, Hz `[frames]`.
        voiced: Where it was found `[frames]`.
    """
    judged = truth.judged
    hits = judged & truth.voiced & voiced
    cents = 1200 * np.log2(f0[hits] / truth.f0[hits])
    error = np.abs(cents)
    octaves = np.round(cents / 1200)
    fine = error[error <= GROSS]
    sums = np.zeros(STILL + 1)
    sums[JUDGED] = judged.sum()
    sums[VOICED] = (judged & truth.voiced).sum()
    sums[FOUND] = (judged & voiced).sum()
    sums[HITS] = hits.sum()
    sums[CLOSE] = (error <= RIGHT).sum()
    sums[OCTAVES] = ((octaves != 0) & (np.abs(cents - 1200 * octaves) <= OCTAVE)).sum()
    sums[FAR] = (error > GROSS).sum()
    sums[SQUARES] = (fine**2).sum()
    sums[STILL] = (judged & ~truth.voiced & ~voiced).sum()
    return np.concatenate([sums, np.histogram(error, EDGES)[0]])


def share(above: Sequence[int], below: Sequence[int]) -> bootstrap.Statistic:
    """Return the statistic of the sum of some counts, by the sum of others, in percent."""

    def statistic(sums: Sums) -> Sums:
        parts = [sums[..., list(terms)].sum(-1) for terms in (above, below)]
        return 100 * bootstrap.ratio(np.stack(parts, -1))

    return statistic


def f_score(sums: Sums) -> Sums:
    """Return F1 of voicing in percent."""
    total = (sums[..., VOICED] + sums[..., FOUND]) / 2
    return 100 * bootstrap.ratio(np.stack([sums[..., HITS], total], -1))


def spread(sums: Sums) -> Sums:
    """Return the root mean square of the errors that are not gross (cents)."""
    number = sums[..., HITS] - sums[..., FAR]
    return bootstrap.root_ratio(np.stack([sums[..., SQUARES], number], -1))


def median(sums: Sums) -> Sums:
    """Return the median error (cents), from the histogram."""
    heights = sums[..., STILL + 1 :].cumsum(-1)
    half = heights[..., -1:] / 2
    place = (heights < half).sum(-1)
    below = np.concatenate([np.zeros_like(half), heights], -1)
    low, high = (np.take_along_axis(below, (place + k)[..., None], -1)[..., 0] for k in (0, 1))
    inside = bootstrap.ratio(np.stack([half[..., 0] - low, high - low], -1))
    return EDGES[place] + 0.5 * inside


OVERALL = Score("overall", share([CLOSE, STILL], [JUDGED]), 1)
ACCURACY = Score("within 50 c", share([CLOSE], [HITS]), 1)
SCORES = (
    OVERALL,
    ACCURACY,
    Score("octave", share([OCTAVES], [HITS]), 2),
    Score("gross", share([FAR], [HITS]), 2),
    Score("median, c", median, 1),
    Score("RMS, c", spread, 1),
    Score("precision", share([HITS], [FOUND]), 1),
    Score("recall", share([HITS], [VOICED]), 1),
    Score("F1", f_score, 1),
)


def difference(sums: Sums, reference: Sums, score: Score) -> Estimate:
    """Return by how much a method is better than another, clip by clip."""
    terms = sums.shape[-1]
    return estimate(
        np.concatenate([sums, reference], -1),
        lambda both: score.statistic(both[..., :terms]) - score.statistic(both[..., terms:]),
    )


def shown(found: Estimate, digits: int, sign: str = "") -> str:
    """Return a measurement and its interval."""
    ends = "" if found.low is None else f" ({found.low:.{digits}f} to {found.high:.{digits}f})"
    return f"{found.value:{sign}.{digits}f}{ends}"
