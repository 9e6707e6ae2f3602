"""What every pitch method promises, and the way from its own grid to the caller's frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sovits.audio.loudness import LEVELS_PER_SECOND, recording_level
from sovits.audio.resample import resample
from sovits.audio.split import frame_levels
from sovits.errors import PitchError
from sovits.types import F0, Pitch, Voiced, Wave

UNVOICED_F0 = 100.0
"""Pitch of a sound in which no frame is voiced (Hz)."""
SILENCE = 1e-3
"""Peak of the sound around a frame below which it is silent, hence unvoiced (-60 dBFS)."""
LEVEL = -25.0
"""Level to which quiet recordings are raised for methods that hear level (dBFS)."""
LARGEST_GAIN = 40.0
"""How far they are raised at most, so that silence stays silent (dB)."""
LARGEST_GLIDE = 1.15
"""Ratio of neighbouring frames above which the pitch leaps, so that nothing lies between them."""


@dataclass(frozen=True)
class PitchSpec:
    """What there is to know about a pitch method before it is loaded."""

    name: str
    description: str
    needs: str = ""
    """What has to be installed or fetched besides sovits; nothing if empty."""
    lowest: float = 50.0
    """Lowest pitch it can find (Hz)."""
    highest: float = 1100.0
    """Highest pitch it can find (Hz)."""
    levelled: bool = False
    """Whether quiet recordings are made louder for it."""


class Track(NamedTuple):
    """Pitch on the grid of a method: entry `i` is centred at `start + i * step` seconds."""

    f0: Tensor
    """Hz, 0 where unvoiced, float64 `[n]`."""
    step: float
    """Seconds from one entry to the next."""
    start: float = 0.0
    """Centre of the first entry (seconds)."""

    def inside(self, seconds: float) -> Track:
        """Return the entries inside a sound that was mirrored at its ends to measure it.

        Those less than a step from an end see a voice that jumps in phase there. They are left
        out, so that the pitch beside them is held.
        """
        first = ceil(1 - self.start / self.step - 1e-6)
        stop = floor((seconds - self.start) / self.step - 1 + 1e-6) + 1
        if stop <= first:  # hardly longer than a step: its middle is all there is
            first = round((seconds / 2 - self.start) / self.step)
            stop = first + 1
        return Track(self.f0[first:stop], self.step, self.start + first * self.step)


class Block(NamedTuple):
    """A stretch of a long sound, and what it is computed from; all in frames of the sound."""

    left: int
    """First frame to compute."""
    right: int
    """Frame after the last to compute."""
    core: slice
    """Which of the computed frames to keep."""


def blocks(frames: int, length: int, context: int) -> Iterator[Block]:
    """Cut a sound so that memory is bounded, with context on both sides of every cut.

    >>> [tuple(block) for block in blocks(25, 10, 2)]
    [(0, 12, slice(0, 10, None)), (8, 22, slice(2, 12, None)), (18, 25, slice(2, 7, None))]
    """
    for start in range(0, frames, length):
        stop = min(start + length, frames)
        left = max(start - context, 0)
        yield Block(left, min(stop + context, frames), slice(start - left, stop - left))


class FindsPitch(Protocol):
    """What conversion needs of a method: it knows the level of the recording already."""

    def __call__(self, wave: Wave, sample_rate: int, hop_length: int) -> Pitch:
        """Return the pitch of each frame of a part of the recording."""


class PitchExtractor(ABC):
    """Measures the pitch of a sound; loaded by `load_pitch_extractor`.

    Attributes:
        spec: What the method is called, can find and needs.
        sample_rate: Rate that the method listens at; None if it takes any (Hz).
    """

    spec: PitchSpec
    sample_rate: int | None = None

    @torch.no_grad()
    def __call__(
        self, wave: Wave, sample_rate: int, hop_length: int, *, level: float | None = None
    ) -> Pitch:
        """Return the pitch of each frame.

        Args:
            wave: Sound, `[samples]`.
            sample_rate: Rate of `wave` (Hz).
            hop_length: Samples per frame.
            level: `recording_level` of what `wave` is a part of (dBFS); its own if None. A part
                alone may be a pause, whose noise ought to stay as quiet as it is. A few dB more
                or less change next to nothing, so a stream can give that of its last seconds.

        Returns:
            `samples // hop_length` frames, each centred on sample `(i + 1/2) * hop_length`.

        Raises:
            PitchError: `wave` has channels, or samples that are not numbers.
        """
        if wave.dim() != 1:
            raise PitchError.not_mono(tuple(wave.shape))
        if not bool(wave.isfinite().all()):
            raise PitchError.not_finite(int((~wave.isfinite()).sum()), wave.numel())
        frames = wave.numel() // hop_length
        if frames == 0:
            return Pitch(torch.zeros(0), torch.zeros(0, dtype=torch.bool))
        wave = wave.detach().float().cpu()
        if self.spec.levelled:
            if level is None:
                level = recording_level(
                    frame_levels(wave, max(sample_rate // LEVELS_PER_SECOND, 1))
                )
            wave = wave * gain(level)
        rate = self.sample_rate or sample_rate
        if rate != sample_rate:
            wave = resample(wave, sample_rate, rate)
        if not len(wave):  # one sample of 48 kHz is none of 16 kHz
            wave = torch.zeros(1)
        f0 = to_frames(self.track(wave, rate), frames, hop_length / sample_rate)
        return Pitch(
            *bridge(f0.masked_fill(silent(wave, rate, frames, hop_length / sample_rate), 0))
        )

    @abstractmethod
    def track(self, wave: Wave, sample_rate: int) -> Track:
        """Return the pitch of `wave` `[samples]`, on the CPU, on the method's own grid."""


def gain(level: float) -> float:
    """Return by what factor a recording is made louder, given its level (dBFS).

    >>> [round(gain(level), 1) for level in (-10.0, -25.0, -45.0, -65.0, -100.0)]
    [1.0, 1.0, 10.0, 100.0, 100.0]
    """
    return float(10 ** (min(max(LEVEL - level, 0.0), LARGEST_GAIN) / 20))


def silent(wave: Wave, sample_rate: int, frames: int, frame_seconds: float) -> Tensor:
    """Return whether there is next to no sound within 16 ms of each frame's centre.

    Networks and correlations look at shapes, and find some pitch in the noise of a quiet room.

    Args:
        wave: Sound, `[samples]`.
        sample_rate: Its rate (Hz).
        frames: How many frames to judge.
        frame_seconds: Duration of one frame.

    Returns:
        Bool `[frames]`.
    """
    cell = max(sample_rate // 250, 1)  # 4 ms
    padded = F.pad(wave.abs(), (0, -len(wave) % cell))
    peaks = F.max_pool1d(padded.view(1, -1, cell).amax(-1), 9, 1, 4)[0]
    centres = (torch.arange(frames) + 0.5) * frame_seconds * sample_rate / cell
    return peaks[centres.long().clamp(max=len(peaks) - 1)] < SILENCE


def to_frames(track: Track, frames: int, frame_seconds: float) -> Tensor:
    """Read a track at the centres of frames.

    A frame is voiced if the nearest entry of the track is. Its pitch is interpolated, except
    across an unvoiced entry or a leap, where it is that of the nearest entry.

    Args:
        track: Pitch on a method's own grid.
        frames: How many frames to return.
        frame_seconds: Duration of one frame.

    Returns:
        Hz, 0 where unvoiced, float64 `[frames]`.
    """
    if len(track.f0) == 0:
        return torch.zeros(frames, dtype=torch.float64)
    centres = (torch.arange(frames, dtype=torch.float64) + 0.5) * frame_seconds
    place = ((centres - track.start) / track.step).clamp(0, len(track.f0) - 1)
    left = place.floor().long()
    right = (left + 1).clamp(max=len(track.f0) - 1)
    f0 = track.f0.double()
    low, high, share = f0[left], f0[right], place - left
    nearest = torch.where(share < 0.5, low, high)
    smaller, larger = torch.minimum(low, high), torch.maximum(low, high)
    glides = (smaller > 0) & (larger < smaller * LARGEST_GLIDE)
    return torch.where(glides, low + share * (high - low), nearest)


def bridge(f0: Tensor) -> tuple[F0, Voiced]:
    """Fill unvoiced frames with a straight line (in Hz) between their voiced neighbours.

    Before the first and after the last voiced frame the pitch is held; where there is none at
    all it is `UNVOICED_F0`.

    >>> f0, voiced = bridge(torch.tensor([0.0, 100.0, 0.0, 200.0]))
    >>> f0.tolist(), voiced.tolist()
    ([100.0, 100.0, 150.0, 200.0], [False, True, False, True])
    """
    values = f0.double().numpy()
    voiced = np.isfinite(values) & (values > 0)
    if not voiced.any():
        return torch.full((len(values),), UNVOICED_F0), torch.zeros(len(values), dtype=torch.bool)
    places = np.flatnonzero(voiced)
    filled = np.interp(np.arange(len(values)), places, values[places])
    return torch.from_numpy(filled).float(), torch.from_numpy(voiced)
