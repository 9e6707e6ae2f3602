"""The two ends of a conversion: to the voice's rate, and from there to the result's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import torch

from sovits.audio.io import AudioReader
from sovits.audio.resample import StreamResampler
from sovits.errors import AudioError
from sovits.types import Wave

BLOCK_SECONDS = 10.0  # read at once


@dataclass
class WaveSound:
    """A sound in memory."""

    wave: Wave
    sample_rate: int
    channels: int = field(init=False)
    frames: int = field(init=False)

    def __post_init__(self) -> None:
        if not bool(self.wave.isfinite().all()):
            raise AudioError.wave_not_finite(int((~self.wave.isfinite()).sum()))
        self.channels, self.frames = self.wave.shape

    def read(self, start: int, count: int) -> Wave:
        """Return `[channels, count]` from sample `start`."""
        return self.wave[:, start : start + count]


Sound: TypeAlias = AudioReader | WaveSound
"""A sound that can be read in stretches."""


class Listener:
    """Reads a sound once, from front to back, at the voice's rate.

    Args:
        sound: What is converted.
        rate: Rate of the voice (Hz).
        total: Samples of the sound at that rate.
        mix: Makes what is converted of `[channels, samples]`.
        streams: Channels that `mix` returns.
    """

    def __init__(
        self, sound: Sound, rate: int, total: int, mix: Callable[[Wave], Wave], streams: int
    ) -> None:
        self.sound, self.total, self.mix, self.streams = sound, total, mix, streams
        self.resampler = StreamResampler(sound.sample_rate, rate, streams)
        self.block = max(1, round(BLOCK_SECONDS * sound.sample_rate))
        self.position = 0  # in the sound
        self.start = 0  # of the buffer, in samples at the voice's rate
        self.buffer = torch.zeros(streams, 0)

    def hear(self, begin: int, end: int) -> Wave:
        """Return `[streams, end - begin]`; beyond the sound there is silence."""
        needed, kept = min(end, self.total), max(begin, 0)
        while self.start + self.buffer.shape[-1] < needed and self.position < self.sound.frames:
            wave = self.sound.read(self.position, self.block)
            self.position += wave.shape[-1]
            last = self.position >= self.sound.frames
            ready = self.resampler.push(self.mix(wave), last=last)
            self.buffer = torch.cat([self.buffer, ready], dim=-1)
            self._forget(kept)
        found = self.buffer[:, kept - self.start : needed - self.start]
        after = end - begin - (kept - begin) - found.shape[-1]
        return torch.nn.functional.pad(found, (kept - begin, after))

    def _forget(self, position: int) -> None:
        """Drop what lies before `position`."""
        count = min(max(position - self.start, 0), self.buffer.shape[-1])
        if count:
            self.buffer = self.buffer[:, count:].clone()
            self.start += count


class Output:
    """Takes sound at the voice's rate to the result's, to the sample, and restores the side.

    Args:
        rates: Of the voice and of the result (Hz).
        streams: Channels of what comes.
        total: Samples of the result.
        write: Given `[channels, samples]` as it is ready.
        side: Where the side comes from, if it is kept.
    """

    def __init__(
        self,
        rates: tuple[int, int],
        streams: int,
        total: int,
        write: Callable[[Wave], None],
        side: Side | None = None,
    ) -> None:
        self.total, self.write, self.side, self.done = total, write, side, 0
        self.streams = streams
        self.resampler = StreamResampler(*rates, streams)

    def push(self, wave: Wave) -> None:
        """Take `[streams, samples]`."""
        self._pass_on(self.resampler.push(wave))

    def finish(self) -> None:
        """Hand out what is left; the total is exact."""
        self._pass_on(self.resampler.push(torch.zeros(self.streams, 0), last=True))
        if self.done < self.total:
            self._pass_on(torch.zeros(self.streams, self.total - self.done))

    def _pass_on(self, wave: Wave) -> None:
        wave = wave[:, : self.total - self.done]
        if not wave.shape[-1]:
            return
        self.done += wave.shape[-1]
        if self.side is not None:
            side = self.side.take(wave.shape[-1])
            wave = torch.cat([wave + side, wave - side])
        self.write(wave)


class Side:
    """Half the difference of left and right, at the result's rate (Hz)."""

    def __init__(self, sound: Sound, rate: int) -> None:
        self.sound, self.position = sound, 0
        self.resampler = StreamResampler(sound.sample_rate, rate, 1)
        self.block = max(1, round(BLOCK_SECONDS * sound.sample_rate))
        self.buffer = torch.zeros(1, 0)

    def take(self, samples: int) -> Wave:
        """Return the next `[1, samples]`."""
        while self.buffer.shape[-1] < samples and self.position < self.sound.frames:
            wave = self.sound.read(self.position, self.block)
            self.position += wave.shape[-1]
            side = (wave[:1] - wave[1:]) / 2
            last = self.position >= self.sound.frames
            self.buffer = torch.cat([self.buffer, self.resampler.push(side, last=last)], dim=-1)
        taken, self.buffer = self.buffer[:, :samples], self.buffer[:, samples:].clone()
        return torch.nn.functional.pad(taken, (0, samples - taken.shape[-1]))
