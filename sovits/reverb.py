"""The room of a recording: how slowly its sounds die away, and the same for a dry voice."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sovits.audio.io import AudioReader
from sovits.audio.split import frame_levels
from sovits.types import Wave

STEP_SECONDS = 0.01
"""Frames in which levels are measured (s)."""
LOUD_DB = 20.0  # a phrase ends from at most this far below the loud parts
FALL_DB = 20.0  # and falls at least so far
RISE_DB = 3.0  # before it rises by this
SAME_DB = 6.0  # how much the level of one phrase wavers
EARLY = 4  # frames after the end of a phrase in which its own sound fades
DEPTH_DB = 30.0  # of a fall, within which its slope is measured
LEAST_FALLS = 4
SECONDS = (0.15, 3.0)
"""Shortest and longest reverberation that is imitated (s)."""
MOST_WET = 0.5
LEAST_SHARE = 0.3
"""Share of the power of the tails that must be missing before any reverberation is added."""
DELAY_SECONDS = 0.015
BLOCK_SECONDS = 10.0


class Room(NamedTuple):
    """Late reverberation."""

    seconds: float
    """Time in which it falls by 60 dB (s)."""
    wet: float
    """Its level beside the dry sound (factor of amplitude)."""


def missing_room(original: AudioReader, dry: AudioReader) -> Room | None:
    """Return what reverberation `dry` lacks to die away as `original` does; None if none.

    The slope is measured where phrases of the original end; the level is what is missing there.

    Args:
        original: Voice in its room.
        dry: The same phrases, of the same length and level.
    """
    levels = [
        frame_levels(sound, max(1, round(STEP_SECONDS * sound.sample_rate)))
        for sound in (original, dry)
    ]
    count = min(map(len, levels))
    heard, found = (np.asarray(level[:count], np.float64) for level in levels)
    falls = _falls(heard)
    if len(falls) < LEAST_FALLS:
        return None
    seconds = float(-60 * STEP_SECONDS / np.median([_slope(heard[a:b]) for a, b in falls]))
    if seconds < SECONDS[0]:
        return None
    seconds = min(seconds, SECONDS[1])
    tail = np.concatenate([np.arange(start, stop) for start, stop in falls])
    power, there = 10 ** (heard / 10), 10 ** (found / 10)
    decay = 10 ** (-6 * STEP_SECONDS / seconds * np.arange(round(seconds / STEP_SECONDS)))
    reverberant = np.convolve(there, decay / decay.sum())[:count]
    lacking = float(np.median(power[tail] - there[tail]))
    if lacking < LEAST_SHARE * float(np.median(power[tail])):
        return None
    wet = math.sqrt(lacking / max(float(np.median(reverberant[tail])), 1e-12))
    return Room(seconds, min(wet, MOST_WET))


def reverberate(
    sound: AudioReader, room: Room | None, write: Callable[[Wave], None], *, gain: float = 1.0
) -> None:
    """Hand out `sound` times `gain`, in `room`, in bounded memory and of the same length.

    The room is noise that dies away, another one for each channel, so it is as wide as a real one.
    """
    block = max(1, round(BLOCK_SECONDS * sound.sample_rate))
    if room is None:
        for start in range(0, sound.frames, block):
            write(gain * sound.read(start, block))
        return
    response = _response(room, sound.sample_rate, sound.channels)
    tail = torch.zeros(sound.channels, response.shape[-1] - 1)
    for start in range(0, sound.frames, block):
        wave = gain * sound.read(start, block)
        size = wave.shape[-1] + response.shape[-1] - 1
        wet = torch.fft.irfft(torch.fft.rfft(wave, size) * torch.fft.rfft(response, size), size)
        wet[:, : tail.shape[-1]] += tail
        tail = wet[:, wave.shape[-1] :]
        write(wave + wet[:, : wave.shape[-1]])


def _falls(levels: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return the stretches of frames in which the room is heard alone after a loud phrase."""
    loud = np.percentile(levels, 95) - LOUD_DB
    falls: list[tuple[int, int]] = []
    t = 0
    while t < len(levels) - 1:
        if levels[t] < loud or levels[t + 1] >= levels[t]:
            t += 1
            continue
        stop, lowest = t + 1, levels[t]
        while stop < len(levels) and levels[stop] < lowest + RISE_DB:
            lowest = min(lowest, levels[stop])
            stop += 1
            if lowest < levels[t] - DEPTH_DB:
                break
        # The phrase itself ends where it was last about as loud as at first.
        end = t + int(np.flatnonzero(levels[t:stop] > levels[t] - SAME_DB)[-1])
        if levels[t] - lowest >= FALL_DB and stop - end > EARLY + 1:
            falls.append((end + EARLY, stop))
        t = stop
    return falls


def _slope(levels: NDArray[np.float64]) -> float:
    """Return how fast levels fall (dB per frame), as a straight line through them."""
    return float(min(np.polyfit(np.arange(len(levels)), levels, 1)[0], -1e-3))


def _response(room: Room, sample_rate: int, channels: int) -> Wave:
    """Return the impulse response `[channels, samples]` of the room alone, of power `wet` ** 2."""
    samples = max(2, round(room.seconds * sample_rate))
    noise = torch.randn(channels, samples, generator=torch.Generator().manual_seed(0))
    fall = 10 ** (-3 * torch.arange(samples) / (room.seconds * sample_rate))
    response = noise * fall
    response = room.wet * response / response.square().sum(-1, keepdim=True).sqrt()
    return torch.nn.functional.pad(response, (round(DELAY_SECONDS * sample_rate), 0))
