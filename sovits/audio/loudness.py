"""Loudness of each frame, and of a recording."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sovits.audio.pad import reflect
from sovits.types import Volume, Wave

LEVELS_PER_SECOND = 50
"""Frames per second in which levels are measured (Hz)."""
LOUD_SECONDS, LOUD_SHARE = 0.5, 0.1
"""How much of a recording tells its level, at most: seconds, and share of it."""


def frame_rms(wave: Wave, hop_length: int) -> Volume:
    """Return the root mean square of each frame, as so-vits-svc 4.1 measures volume.

    Frame `i` covers the `hop_length` samples around sample `i * hop_length`; before its start the
    wave is mirrored.

    Args:
        wave: `[..., samples]`.
        hop_length: Samples per frame.

    Returns:
        `[..., frames]`, with `frames = samples // hop_length`.

    >>> import torch
    >>> frame_rms(torch.full((8,), -0.5), 4)
    tensor([0.5000, 0.5000])
    """
    frames = wave.shape[-1] // hop_length
    if not frames:
        return wave.new_zeros(*wave.shape[:-1], 0)
    power = reflect(wave.float().square(), hop_length // 2, 0)
    power = power[..., : frames * hop_length].reshape(*wave.shape[:-1], frames, hop_length)
    return power.mean(-1).sqrt()


def recording_level(levels_db: NDArray[np.float32]) -> float:
    """Return how loud a recording is where it is loud.

    Its loudest half second (or tenth, if that is less) is at least as loud. So its level is that
    of a voice in it, however long the pauses are; knocks and clicks are too short to count.

    Args:
        levels_db: Level of each of the `LEVELS_PER_SECOND` frames (dBFS), as `frame_levels`
            measures; at least one.

    Returns:
        Root mean square in dB below full scale.
    """
    most = round(LOUD_SECONDS * LEVELS_PER_SECOND)
    count = min(most, max(1, round(LOUD_SHARE * len(levels_db))))
    return float(np.partition(levels_db, -count)[-count])
