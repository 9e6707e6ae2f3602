"""Rings of samples between a sound card and a worker: one writes, one reads, nobody waits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

FADE = 240  # samples over which sound that broke off falls silent, and comes back


class InputRing:
    """What a microphone hears; a reader that is too late loses the oldest of it.

    Args:
        capacity: Samples that it holds.
        channels: Channels of what is written.
    """

    def __init__(self, capacity: int, channels: int) -> None:
        self._held = np.zeros((capacity, channels), np.float32)
        self.written = self.read = 0
        self.largest = 0
        """Samples of the largest block that was written."""

    @property
    def available(self) -> int:
        """Samples that can be read."""
        return self.written - self.read

    def write(self, block: Samples) -> None:
        """Copy `[samples, channels]`."""
        capacity, count = len(self._held), len(block)
        self.largest = max(self.largest, count)
        kept = block[-capacity:]
        at = (self.written + count - len(kept)) % capacity
        first = min(len(kept), capacity - at)
        self._held[at : at + first] = kept[:first]
        self._held[: len(kept) - first] = kept[first:]
        self.written += count

    def drop(self, count: int) -> None:
        """Leave samples out."""
        self.read += count

    def take(self, count: int) -> Samples:
        """Return the next `[samples]`, the mean of all channels; they must be available."""
        capacity = len(self._held)
        at = (self.read + np.arange(count)) % capacity
        wave: Samples = self._held[at].mean(1, dtype=np.float32)
        self.read += count
        return wave


class OutputRing:
    """What a loudspeaker plays, by a clock that goes on whether there is something to play or not.

    What comes too late is left out, so nothing is ever played later than it should be.

    Args:
        capacity: Samples that it holds.
    """

    def __init__(self, capacity: int) -> None:
        self._held = np.zeros(capacity, np.float32)
        self._ramp = np.linspace(1, 0, FADE, endpoint=False, dtype=np.float32)
        self._last = np.float32(0)
        self._resumes = True
        self.running = False
        self.written = self.read = 0
        self.missing = 0
        """Samples that were not there in time, so far."""
        self.largest = 0
        """Samples of the largest block that was asked for."""

    def begin(self, lead: int) -> None:
        """Start the clock: what is put next is played `lead` samples from now."""
        self.written, self.running = self.read + lead, True
        self._held[:] = 0

    def put(self, wave: Samples) -> int:
        """Add `[samples]`; return how many of them came too late."""
        capacity, late = len(self._held), min(max(0, self.read - self.written), len(wave))
        self.written += late
        wave = wave[late : late + capacity]
        if late:
            self._resumes = True
        if self._resumes and len(wave):
            count = min(FADE, len(wave))
            wave = wave.copy()
            wave[:count] *= 1 - self._ramp[:count]
            self._resumes = False
        at = self.written % capacity
        first = min(len(wave), capacity - at)
        self._held[at : at + first] = wave[:first]
        self._held[: len(wave) - first] = wave[first:]
        self.written += len(wave)
        return late

    def play(self, out: Samples) -> None:
        """Fill `[samples, channels]`; what is not there falls silent."""
        count, capacity = len(out), len(self._held)
        self.largest = max(self.largest, count)
        if not self.running:
            out[:] = 0
            return
        there = max(0, min(self.written - self.read, count))
        at = self.read % capacity
        first = min(there, capacity - at)
        out[:first] = self._held[at : at + first, None]
        out[first:there] = self._held[: there - first, None]
        if there < count:
            last = out[there - 1, 0] if there else self._last
            fall = self._ramp[: count - there] * last
            out[there : there + len(fall)] = fall[:, None]
            out[there + len(fall) :] = 0
            self.missing += count - there
            self._resumes = True
        self._last = out[-1, 0]
        self.read += count
