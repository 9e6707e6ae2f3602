"""How long converting takes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from sovits.evaluate import bootstrap
from sovits.evaluate.results import Column, Measure


@dataclass
class Timing:
    """What one conversion took."""

    name: str
    """Of the recording."""
    sound: float = 0.0
    """Length of the recording (s)."""
    processor: float = 0.0
    """Time of all threads of this process together (s)."""
    wall: float = 0.0
    """Time that went by (s)."""


@contextmanager
def clocked(name: str, sound: float) -> Iterator[Timing]:
    """Time what happens inside, for `sound` seconds of a recording."""
    timing = Timing(name, sound)
    processor, wall = time.process_time(), time.perf_counter()
    yield timing
    timing.processor = time.process_time() - processor
    timing.wall = time.perf_counter() - wall


def measure_speed(timings: Sequence[Timing]) -> list[Measure]:
    """Return the seconds of computing for each second of sound, reading and writing included."""
    names = tuple(timing.name for timing in timings)
    sound = np.array([timing.sound for timing in timings])

    def rate(key: str, label: str, seconds: list[float], explanation: str) -> Measure:
        column = Column(np.stack([np.array(seconds), sound], 1), bootstrap.ratio)
        return Measure(key, label, "speed", "lower", names, column, explanation=explanation)

    return [
        rate(
            "rtf_processor",
            "CPU-seconds per second",
            [timing.processor for timing in timings],
            "Of all threads together, with reading and writing, without loading the voice.",
        ),
        rate(
            "rtf_wall",
            "Seconds per second",
            [timing.wall for timing in timings],
            "Below 1 it is faster than the sound lasts.",
        ),
    ]
