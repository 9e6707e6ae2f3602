"""Read a sound between its samples, with a delay that is short and known."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sovits.types import Wave

CROSSINGS = 32  # of zero, on each side of what a sample is computed from
BETA = 9.0  # of the Kaiser window: 90 dB
BAND = 0.92  # of the lower of two rates' halves that is kept, before the filter begins to fall
PHASES = 512  # places between two samples that the table holds


class Sinc:
    """Windowed sinc functions (Smith and Gossett, 1984), ready to read with.

    Args:
        cutoff: Highest frequency that is kept, as a share of half the rate; at most 1.
    """

    def __init__(self, cutoff: float = 1.0) -> None:
        self.reach = math.ceil(CROSSINGS / cutoff)
        """Samples to each side that one sample between them depends on."""
        phase = torch.arange(PHASES + 1, dtype=torch.float64)[:, None] / PHASES
        distance = torch.arange(1 - self.reach, self.reach + 1, dtype=torch.float64) - phase
        window = torch.i0(BETA * (1 - (distance / self.reach).square()).clamp(min=0).sqrt())
        curve = cutoff * torch.sinc(cutoff * distance) * window
        # What is constant stays so, to the last bit.
        self.table = (curve / curve.sum(1, keepdim=True)).float()

    def read(self, wave: Wave, whole: Tensor, share: Tensor) -> Wave:
        """Return `wave` `[samples]` at `whole + share`, `[n]`.

        Args:
            wave: Samples; all within `reach` of each place must be there.
            whole: Sample at or before each place, int64.
            share: How far the place is on its way to the next one, from 0 to below 1.
        """
        place = share * PHASES
        row = place.floor()
        low, high = self.table[row.long()], self.table[row.long() + 1]
        weights = torch.lerp(low, high, (place - row).float()[:, None])
        around = wave.unfold(0, 2 * self.reach, 1)[whole - self.reach + 1]
        return (around * weights).sum(1)


class LiveResampler:
    """Change the rate of a wave that comes in blocks; sample 0 stays where it is.

    However the wave is cut, the same comes out. Half as long as what files are resampled with, so
    the highest tenth of the band is fainter. One object is one stream.

    Args:
        from_rate: Sample rate of what is pushed (Hz).
        to_rate: Sample rate of what comes out (Hz).
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        common = math.gcd(from_rate, to_rate)
        self.up, self.down = to_rate // common, from_rate // common
        self.sinc = None
        self.reach = 0
        """Samples of the future, at `from_rate`, that what comes out depends on."""
        if from_rate != to_rate:
            self.sinc = Sinc(min(1.0, to_rate / from_rate) * BAND)
            self.reach = self.sinc.reach
        self._begin = -self.reach  # of the buffer, in the sound
        self._buffer = torch.zeros(self.reach)
        self._given = 0

    def push(self, wave: Wave) -> Wave:
        """Hear `wave` `[samples]`; return what is ready, which may be nothing.

        After `n` samples at least `(n - reach) * to_rate / from_rate` are given.
        """
        if self.sinc is None:
            return wave
        self._buffer = torch.cat([self._buffer, wave])
        heard = self._begin + len(self._buffer)
        last = max(self._given, -(-(heard - self.reach) * self.up // self.down))
        place = torch.arange(self._given, last) * self.down
        whole = place // self.up
        share = (place - whole * self.up).double() / self.up
        out = self.sinc.read(self._buffer, whole - self._begin, share)
        self._given = last
        unused = last * self.down // self.up - self.reach + 1 - self._begin
        if unused > 0:
            self._buffer, self._begin = self._buffer[unused:].clone(), self._begin + unused
        return out


class Varispeed:
    """Play a wave a little faster or slower, as one clock runs faster than another.

    One object is one stream; it is `reach` samples late.
    """

    def __init__(self) -> None:
        self.sinc = Sinc()
        self.reach = self.sinc.reach
        self._buffer = torch.zeros(self.reach)
        self._place = float(self.reach)  # of the next sample, in the buffer

    def push(self, wave: Wave, speed: float) -> Wave:
        """Return `wave` `[samples]` played `speed` times as fast, as far as it is known."""
        self._buffer = torch.cat([self._buffer, wave])
        count = max(0, math.ceil((len(self._buffer) - self.reach - self._place) / speed))
        places = self._place + torch.arange(count, dtype=torch.float64) * speed
        whole = places.floor()
        out = self.sinc.read(self._buffer, whole.long(), places - whole)
        self._place += count * speed
        unused = int(self._place) - self.reach
        if unused > 0:
            self._buffer, self._place = self._buffer[unused:].clone(), self._place - unused
        return out
