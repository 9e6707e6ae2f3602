"""What live conversions are fed, block by block, and what is measured of them; numpy alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

RATE, PHRASE, PAUSE, PHRASES = 44_100, 1.2, 1.0, 2
LOUD = 0.02  # of the highest peak, from which a phrase has begun


def clip() -> Any:
    """Return phrases of a buzzing glide, between pauses, `[samples]`."""
    t = np.arange(round(PHRASE * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(160 * 2 ** (0.4 * np.sin(3 * t))) / RATE
    phrase = 0.15 * sum(np.sin(k * phase) / k for k in range(1, 20))
    silence = np.zeros(round(PAUSE * RATE))
    return np.concatenate([silence, *[phrase, silence] * PHRASES]).astype(np.float32)


def onsets(wave: Any) -> list[int]:
    """Return where sound begins after at least 0.3 s of silence, in samples."""
    loud = np.flatnonzero(np.abs(wave) > LOUD * np.abs(wave).max())
    if not len(loud):
        return []
    return [int(loud[0]), *loud[1:][np.diff(loud) > 0.3 * RATE].tolist()]


def feed(push: Callable[[Any], Any], block: float, warm_up: int = 2) -> dict[str, float]:
    """Return what it costs to push the clip, and how late phrases begin in what comes back.

    Args:
        push: Maps a block `[samples]` to the next block of the output.
        block: Seconds in a block.
        warm_up: Silent blocks that are not measured.
    """
    wave, size = clip(), round(block * RATE)
    silent = np.zeros(size, np.float32)
    for _ in range(warm_up):
        push(silent)
    wave = np.concatenate([wave, np.zeros(-len(wave) % size, np.float32)])
    times, made = [], []
    for begin in range(0, len(wave), size):
        begun = time.process_time()
        made.append(np.asarray(push(wave[begin : begin + size])))
        times.append(time.process_time() - begun)
    # What is late comes after the end; a block of silence costs what it costs.
    rest = [np.asarray(push(silent)) for _ in range(round(8 / block))]
    heard, played = onsets(wave), onsets(np.concatenate([*made, *rest]))
    ordered = sorted(times)
    late = [there - here for here, there in zip(heard, played, strict=False)]
    return {
        "cpu": sum(times) / (len(wave) / RATE),
        "p50_ms": 1000 * ordered[len(ordered) // 2],
        "p99_ms": 1000 * ordered[int(0.99 * (len(ordered) - 1))],
        "misses": sum(one > block for one in times),
        "blocks": len(times),
        "late_ms": 1000 * sorted(late)[len(late) // 2] / RATE if late else -1.0,
        "apart_ms": 1000 * (max(late) - min(late)) / RATE if late else -1.0,
    }
