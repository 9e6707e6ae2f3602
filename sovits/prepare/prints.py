"""Find the same sound in two files, at another level or in another format too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from sovits.prepare.measures import level_db
from sovits.types import Wave

N_FFT, HOP = 1024, 512
REACH = 24
"""Frames within which a peak is paired with later ones."""
PAIRS = 3
"""Later peaks that each is paired with."""
RANGE_DB = 50.0
"""How far below the strongest cell a peak may lie (dB)."""
COMMON = 24
"""A pair of peaks that is in more files than this tells nothing."""
LEAST = 12
"""Pairs of peaks that two files must share."""


class Prints(NamedTuple):
    """Pairs of spectral peaks of a sound."""

    hashes: NDArray[np.int64]
    """Frequencies and distance of each pair, in one number."""
    times: NDArray[np.int64]
    """Frame of its first peak."""


class Match(NamedTuple):
    """The same sound in two files."""

    first: int
    second: int
    share: float
    """How much of the shorter one is in the other."""


NOTHING = Prints(np.zeros(0, np.int64), np.zeros(0, np.int64))


def prints(wave: Wave, first_frame: int = 0) -> Prints:
    """Return pairs of peaks in `[samples]` at 16 kHz, counted from `first_frame`."""
    if len(wave) < 2 * N_FFT:
        return NOTHING
    frames = wave.unfold(0, N_FFT, HOP) * torch.hann_window(N_FFT)
    db = level_db(torch.fft.rfft(frames).abs().square().T)[6:400]
    highest = F.max_pool2d(db[None], (25, 9), 1, (12, 4))[0]
    peaks = ((db == highest) & (db > db.max() - RANGE_DB)).T.nonzero().numpy()  # by time
    if len(peaks) < 2:
        return NOTHING
    time, band = peaks[:, 0], peaks[:, 1]
    hashes, times = [], []
    for ahead in range(1, PAIRS + 1):
        gap = time[ahead:] - time[:-ahead]
        near = (gap > 0) & (gap <= REACH)
        hashes.append(((band[:-ahead] * 512 + band[ahead:]) * 32 + gap)[near])
        times.append(time[:-ahead][near] + first_frame)
    return Prints(np.concatenate(hashes), np.concatenate(times))


def joined(parts: Sequence[Prints]) -> Prints:
    """Return the pairs of all stretches of one file."""
    return Prints(*(np.concatenate(values) for values in zip(NOTHING, *parts, strict=True)))


def matches(files: Sequence[Prints], share: float) -> list[Match]:
    """Return which files hold the same sound, for at least `share` of the shorter one."""
    hashes = np.concatenate([NOTHING.hashes, *(file.hashes for file in files)])
    times = np.concatenate([NOTHING.times, *(file.times for file in files)])
    owner = np.repeat(np.arange(len(files)), [len(file.hashes) for file in files])
    order = np.argsort(hashes, kind="stable")
    hashes, times, owner = hashes[order], times[order], owner[order]
    begins = np.flatnonzero(np.diff(hashes, prepend=-1))
    sizes = np.diff(np.append(begins, len(hashes)))
    found = []
    for ahead in range(1, COMMON):  # each print with those after it in its group
        rest = sizes > ahead
        starts, lengths = begins[rest & (sizes <= COMMON)], sizes[rest & (sizes <= COMMON)] - ahead
        if not len(starts):
            break
        at = np.repeat(starts, lengths) + _ranges(lengths)
        a, b, apart = owner[at], owner[at + ahead], times[at + ahead] - times[at]
        other = a != b
        found.append(np.stack([a[other], b[other], apart[other]], 1))
    if not found:
        return []
    pairs, counts = np.unique(np.concatenate(found), axis=0, return_counts=True)
    best: dict[tuple[int, int], int] = {}
    for (a, b, _), count in zip(
        pairs[counts >= LEAST].tolist(), counts[counts >= LEAST], strict=True
    ):
        best[a, b] = max(best.get((a, b), 0), int(count))
    shortest = [max(1, len(file.hashes)) for file in files]
    return [
        Match(a, b, min(1.0, count / min(shortest[a], shortest[b])))
        for (a, b), count in sorted(best.items())
        if count >= share * min(shortest[a], shortest[b])
    ]


def _ranges(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 0 to `length - 1` for each length, one after the other."""
    ends = np.cumsum(lengths)
    counted: NDArray[np.int64] = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
    return counted
