"""Measurements as sums over clips, and how far they would vary with other clips."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Sums: TypeAlias = NDArray[np.float64]
"""What each clip contributes, `[clips, terms]`."""
Statistic: TypeAlias = Callable[[Sums], Sums]
"""Turns sums `[..., terms]` into a measurement `[...]`; NaN where there is none."""

CONFIDENCE = 0.95
RESAMPLES = 2000


class Estimate(NamedTuple):
    """A measurement, and the interval in which it would lie for 95 of 100 such sets of clips."""

    value: float
    low: float | None
    """Lower end; None if there are fewer than two clips."""
    high: float | None
    """Upper end, likewise."""
    clips: int
    """Clips measured."""


def estimate(
    sums: Sums,
    statistic: Statistic,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """Return a statistic of all clips with a percentile bootstrap interval (Efron, 1979).

    Clips are drawn with replacement, whole, as what lies within one hangs together. With fewer
    than about ten clips such intervals are too narrow.

    Args:
        sums: `[clips, terms]`; terms add up over clips.
        statistic: What to make of the sums.
        seed: Of the draws; the same for all statistics that are to be compared.
        resamples: How often to draw.
        confidence: Share of draws inside the interval.
    """
    clips = len(sums)
    value = float(statistic(sums.sum(0)))
    if clips < 2:
        return Estimate(value, None, None, clips)
    draws = np.random.default_rng(seed).multinomial(clips, np.full(clips, 1 / clips), resamples)
    found = statistic(draws.astype(np.float64) @ sums)
    found = found[np.isfinite(found)]
    if not len(found):
        return Estimate(value, None, None, clips)
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(found, [tail, 100 - tail])
    return Estimate(value, float(low), float(high), clips)


def ratio(sums: Sums) -> Sums:
    """Return the first term by the second: a mean, or a rate of errors."""
    return _divided(sums[..., 0], sums[..., 1])


def root_ratio(sums: Sums) -> Sums:
    """Return the root of the first term by the second: a root mean square."""
    return np.sqrt(ratio(sums))


def change_of_ratio(sums: Sums) -> Sums:
    """Return the first term by the second, less the third by the fourth."""
    return ratio(sums) - ratio(sums[..., 2:])


def f_score(sums: Sums) -> Sums:
    """Return F1 of hits, and of misses and false alarms together."""
    hits, errors = sums[..., 0], sums[..., 1]
    return _divided(2 * hits, 2 * hits + errors)


def correlation(sums: Sums) -> Sums:
    """Return Pearson's correlation of the count and the sums of a, b, aa, bb and ab."""
    n, a, b, aa, bb, ab = np.moveaxis(sums, -1, 0)
    of_a, of_b = n * aa - a * a, n * bb - b * b
    # What stands still has a spread of rounding errors, of either sign.
    moving = (of_a > 1e-12 * n * aa) & (of_b > 1e-12 * n * bb)
    spread = np.where(moving, of_a * of_b, 0.0)
    found = _divided(n * ab - a * b, np.sqrt(spread))
    return np.clip(found, -1.0, 1.0)


def correlation_sums(a: Sums, b: Sums) -> list[float]:
    """Return the terms that `correlation` needs of pairs of values `[n]`."""
    return [float(len(a)), *(float(x.sum()) for x in (a, b, a * a, b * b, a * b))]


def _divided(a: Sums, b: Sums) -> Sums:
    """Return a / b, and NaN where b is 0."""
    found: Sums = np.divide(a, b, out=np.full(np.shape(b), np.nan), where=b != 0)
    return found
