"""Reading a pitch from the probabilities of 360 steps of 20 cents (CREPE, RMVPE, FCPE)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

BINS = 360
CENTS_PER_BIN = 20.0
LOWEST_CENTS = 1997.3794084376191
"""Cents above 10 Hz of the lowest bin, 31.7 Hz."""
REACH = 11
"""Bins that the pitch may glide from one frame to the next."""
LEAP = 1e-3
"""Probability of a leap to anywhere, so that an octave sung without a glide is not smoothed."""
AROUND = 4
"""Bins to each side of the best one that say where between the bins the pitch is."""


def bin_to_hz(bins: Tensor) -> Tensor:
    """Return Hz of bins, which need not be whole numbers.

    >>> round(bin_to_hz(torch.tensor(0.0)).item(), 2)
    31.7
    """
    return 10 * torch.exp2((bins.double() * CENTS_PER_BIN + LOWEST_CENTS) / 1200)


def local_average(chances: Tensor, centres: Tensor) -> Tensor:
    """Return the mean bin around `centres`, weighted by its probability.

    Args:
        chances: `[frames, bins]`.
        centres: Bins, `[frames]`.

    Returns:
        Bins, float64 `[frames]`.
    """
    around = torch.arange(2 * AROUND + 1) + centres[:, None]
    weights = F.pad(chances, (AROUND, AROUND)).double().gather(1, around) + 1e-12
    return (weights * (around - AROUND)).sum(1) / weights.sum(1)


def best_path(chances: Tensor) -> Tensor:
    """Return the likeliest course of bins (Viterbi, 1967).

    From one frame to the next a step is the likelier the shorter it is, up to `REACH` bins; a
    leap to any bin has the probability `LEAP`.

    Args:
        chances: `[frames, bins]`, need not sum to 1.

    Returns:
        Bins, int64 `[frames]`.
    """
    scores = chances.double().clamp(min=1e-5).log().numpy()
    frames, bins = scores.shape
    steps = np.arange(-REACH, REACH + 1)
    chance = (REACH + 1.0 - np.abs(steps)) / (REACH + 1) ** 2 * (1 - LEAP)
    step_costs, leap_cost = np.log(chance), np.log(LEAP / bins)
    origins = np.empty((frames, bins), dtype=np.int16)
    padded = np.full(bins + 2 * REACH, -np.inf)
    glides = np.lib.stride_tricks.sliding_window_view(padded, 2 * REACH + 1)
    every = np.arange(bins)
    total = scores[0]
    for frame in range(1, frames):
        padded[REACH:-REACH] = total
        reached = glides + step_costs
        nearest = reached.argmax(1)
        total = reached[every, nearest]
        best = int(padded.argmax()) - REACH
        leap = padded[best + REACH] + leap_cost
        leaps = total < leap
        origins[frame] = np.where(leaps, best, every + nearest - REACH)
        total = np.where(leaps, leap, total) + scores[frame]
    path = np.empty(frames, dtype=np.int64)
    path[-1] = total.argmax()
    for frame in range(frames - 1, 0, -1):
        path[frame - 1] = origins[frame, path[frame]]
    return torch.from_numpy(path)
