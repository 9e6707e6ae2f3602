"""Say, while somebody records, whether it is too loud, too soft, too noisy or over too soon."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from sovits.types import Wave

Advice = Literal[
    "good", "clipped", "too-loud", "too-soft", "noisy", "too-short", "cut-off", "silent"
]

CLIPPED = 0.985
"""Peak from which a sample counts as cut off (1 is full scale)."""
LOUD_DB = -3.0
"""Peak above which the next word may be cut off (dBFS)."""
SOFT_DB = -30.0
"""Level of speech below which noise comes up with it (dBFS)."""
SILENT_DB = -55.0
"""Level below which nobody has spoken (dBFS)."""
NOISE_DB = 25.0
"""Speech has to be so far above the room (dB)."""
FRAME = 0.02
"""Seconds of which a level is measured."""
EDGE = 0.15
"""Seconds of quiet that a take begins and ends with."""
SENTENCES: dict[Advice, str] = {
    "good": "Good.",
    "clipped": "Peaks were cut off: turn the gain down or move back, and read it again.",
    "too-loud": "Nearly too loud: turn the gain down a little.",
    "too-soft": "Too soft: come closer, or turn the gain up, and read it again.",
    "noisy": "The room is too loud beside you: come closer, switch off what hums, read it again.",
    "too-short": "That was too short to be all of it: read it again.",
    "cut-off": "It begins or ends in the middle of a sound: wait a moment before and after.",
    "silent": "Nothing was heard: check the microphone and its level.",
}
"""What to say."""
KEPT: frozenset[Advice] = frozenset({"good", "too-loud"})
"""Advice with which a take may be kept."""


@dataclass(frozen=True)
class Level:
    """What a meter shows."""

    level_db: float
    """Root mean square of the last frame (dBFS)."""
    peak_db: float
    """Highest peak of it (dBFS)."""
    clipped: bool


@dataclass(frozen=True)
class Verdict:
    """What is to be said of a take."""

    advice: Advice
    level_db: float
    """Of its speech (dBFS)."""
    peak_db: float
    noise_db: float
    """Of the room (dBFS)."""
    seconds: float
    """From the first to the last word."""

    @property
    def kept(self) -> bool:
        """Whether the take can be used."""
        return self.advice in KEPT

    @property
    def sentence(self) -> str:
        """Return what to say."""
        return SENTENCES[self.advice]


def meter(wave: Wave) -> Level:
    """Return what a meter shows of the last `[samples]`."""
    if not wave.numel():
        return Level(-math.inf, -math.inf, False)
    peak = float(wave.abs().max())
    return Level(_db(float(wave.square().mean().sqrt())), _db(peak), peak >= CLIPPED)


class Take:
    """What a microphone heard so far, block by block."""

    def __init__(self) -> None:
        self._blocks: list[Wave] = []

    def hear(self, block: NDArray[np.float32]) -> None:
        """Add `[samples, channels]`, of which the first channel is kept."""
        self._blocks.append(torch.tensor(block)[:, 0].clone())

    def level(self) -> Level:
        """Return what a meter shows now."""
        return meter(self._blocks[-1] if self._blocks else torch.zeros(0))

    def wave(self) -> Wave:
        """Return all of it, `[samples]`."""
        return torch.cat(self._blocks) if self._blocks else torch.zeros(0)


def bar(level: Level, width: int = 30) -> str:
    """Return a meter as text: how loud from -60 to 0 dBFS, with `!` where it is cut off.

    >>> bar(Level(-30.0, -15.0, False), 8)
    '####..| '
    """
    loud, peak = (
        min(width, max(0, round((db + 60) / 60 * width))) if math.isfinite(db) else 0
        for db in (level.level_db, level.peak_db)
    )
    text = ("#" * loud).ljust(peak, ".").ljust(width)
    mark = "!" if level.clipped else "|" if peak else " "
    return text[: min(peak, width - 1)] + mark + text[min(peak, width - 1) + 1 :]


def judge(wave: Wave, sample_rate: int, *, least_seconds: float = 0.3) -> Verdict:
    """Return what is to be said of a take, `[samples]`.

    Args:
        wave: All of it, with the quiet before and after.
        sample_rate: Its rate (Hz).
        least_seconds: How long the text takes to be read, at least.
    """
    size = max(1, round(FRAME * sample_rate))
    count = len(wave) // size
    if not count:
        return Verdict("silent", -math.inf, -math.inf, -math.inf, 0.0)
    power = wave[: count * size].view(count, size).square().mean(-1)
    db = 10 * power.clamp(min=1e-12).log10()
    peak = float(wave.abs().max())
    loud = float(db.quantile(0.9))
    noise = float(db.quantile(0.05))
    threshold = max(loud - 30, noise + 6) if loud - noise > 12 else loud - 30
    speech = (db > threshold).nonzero().flatten()
    first, last = (int(speech[0]), int(speech[-1])) if len(speech) else (0, 0)
    seconds = (last - first + 1) * FRAME
    level = 10 * math.log10(max(float(power[speech].mean()), 1e-12)) if len(speech) else loud
    edge = round(EDGE / FRAME)
    advice: Advice = "good"
    if level < SILENT_DB:
        advice = "silent"
    elif int((wave.abs() >= CLIPPED).sum()) > 1:
        advice = "clipped"
    elif level < SOFT_DB:
        advice = "too-soft"
    elif loud - noise < NOISE_DB:
        advice = "noisy"
    elif seconds < least_seconds:
        advice = "too-short"
    elif first < edge // 3 or last > count - 1 - edge // 3:
        advice = "cut-off"
    elif _db(peak) > LOUD_DB:
        advice = "too-loud"
    return Verdict(advice, level, _db(peak), noise, seconds)


def trimmed(wave: Wave, sample_rate: int, verdict: Verdict) -> Wave:
    """Return a take without the quiet before and after it, but for a short margin."""
    size = max(1, round(FRAME * sample_rate))
    count = len(wave) // size
    db = 10 * wave[: count * size].view(count, size).square().mean(-1).clamp(min=1e-12).log10()
    speech = (db > max(verdict.level_db - 35, verdict.noise_db + 6)).nonzero().flatten()
    if not len(speech):
        return wave
    margin = round(2 * EDGE * sample_rate)
    start, stop = int(speech[0]) * size - margin, (int(speech[-1]) + 1) * size + margin
    return wave[max(0, start) : stop]


def room(takes: Sequence[Wave]) -> float:
    """Return how loud a room is in which nobody speaks (dBFS)."""
    joined = torch.cat([take.flatten() for take in takes]) if takes else torch.zeros(0)
    return meter(joined).level_db


def _db(amplitude: float) -> float:
    return 20 * math.log10(amplitude) if amplitude > 0 else -math.inf
