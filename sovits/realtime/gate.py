"""Silence between phrases, and sound that is never too loud."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from sovits.types import Wave

CELL_SECONDS = 0.01
"""Sound that is judged at once."""
EARLY_SECONDS = 0.05
"""How long before a sound the gate is open, so that its onset is whole."""
HOLD_SECONDS = 0.5
"""How long it stays open after one: breaths and soft tails are quieter than voices."""
HYSTERESIS = 8.0
"""Level, below that which opens it, at which it does not close yet (dB)."""
FALL_SECONDS = 0.15
"""How long it takes to close."""

CEILING = 0.95
"""Highest peak that the limiter lets through."""
LIMITER_SECONDS = 0.0015
"""How far it looks ahead."""
RECOVERY_SECONDS = 0.2
"""How long it takes to let all through again, after a peak of twice the ceiling."""


class Gate:
    """Tells how loud each sample of the output is to be, by what the input is.

    Args:
        rate: Samples per second (Hz).
        threshold_db: Level that opens it (dBFS).
        early: Samples of the future that are known when gains are asked for.
    """

    def __init__(self, rate: int, threshold_db: float, early: int) -> None:
        self.threshold_db = threshold_db
        self.cell = max(1, round(CELL_SECONDS * rate))
        self.early = max(0, min(round(EARLY_SECONDS * rate), early) // self.cell - 1)
        self.hold = round(HOLD_SECONDS / CELL_SECONDS)
        self.fall = CELL_SECONDS / FALL_SECONDS
        self._rest = torch.zeros(0)
        self._open_for = 0  # cells that it stays open
        # Gain at the end of each cell that is not used up; the first is that of cell `_first`.
        self._gains = [0.0]
        self._first = -1 - self.early
        self._given = 0

    def hear(self, wave: Wave) -> None:
        """Judge more of the input, `[samples]`."""
        wave = torch.cat([self._rest, wave])
        cells = len(wave) // self.cell
        self._rest = wave[cells * self.cell :].clone()
        power = wave[: cells * self.cell].view(cells, self.cell).square().mean(1)
        for value in power.tolist():
            level = 10 * math.log10(max(value, 1e-20))
            closing = self.threshold_db - (HYSTERESIS if self._open_for else 0.0)
            self._open_for = self.hold if level > closing else max(0, self._open_for - 1)
            last = self._gains[-1]
            self._gains.append(1.0 if self._open_for else max(0.0, last - self.fall))

    def gains(self, count: int) -> Wave:
        """Return the gain of each of the next `count` samples."""
        first, last = self._given // self.cell, (self._given + count) // self.cell
        known = self._gains[first - 1 - self._first : last + 1 - self._first]
        known += [known[-1]] * (last - first + 2 - len(known))
        edges = torch.tensor(known)
        steps = (torch.arange(self.cell) + 1) / self.cell
        ramps = torch.lerp(edges[:-1, None], edges[1:, None], steps).flatten()
        begin = self._given - first * self.cell
        self._given += count
        unused = last - 1 - self._first
        if unused > 0:
            del self._gains[:unused]
            self._first += unused
        return ramps[begin : begin + count]


class Limiter:
    """Lowers sound before its peaks, so that none is above `CEILING`; `late` samples late.

    Args:
        rate: Samples per second (Hz).
    """

    def __init__(self, rate: int) -> None:
        self.late = round(LIMITER_SECONDS * rate)
        """Samples of the future that it hears."""
        self.recovery = math.log(2) / (RECOVERY_SECONDS * rate)
        self._wave = torch.zeros(2 * self.late)
        self._skipped = self.late  # of what comes out first, which lies before the sound
        self._last = 0.0  # logarithm of the gain, at the end of what came out
        self._soft = torch.zeros(self.late)

    def push(self, wave: Wave) -> Wave:
        """Hear `[samples]`; return what is ready."""
        size = 2 * self.late + 1
        heard = torch.cat([self._wave, wave])
        if len(heard) < size:
            self._wave = heard
            return wave[:0]
        needed = (CEILING / heard.abs().clamp(min=1e-9)).clamp(max=1.0).log()
        # The least gain among a sample and those around it...
        least = -F.max_pool1d(-needed[None], size, 1)[0]
        # ... and no faster up than `recovery`: the running minimum of a line that rises.
        line = torch.arange(1, len(least) + 1, dtype=torch.float64) * self.recovery
        lowest = torch.cat([torch.tensor([self._last], dtype=torch.float64), least - line])
        gain = (lowest.cummin(0).values[1:] + line).clamp(max=0).float()
        self._last = float(gain[-1])
        # ... smoothly: a mean over what lies before stays below what each needs.
        soft = torch.cat([self._soft, gain])
        mean = F.avg_pool1d(soft[None], self.late + 1, 1)[0] if self.late else soft
        self._soft = soft[len(soft) - self.late :].clone()
        out = heard[self.late : self.late + len(least)] * mean.exp()
        self._wave = heard[len(least) :].clone()
        out, self._skipped = out[self._skipped :], max(0, self._skipped - len(out))
        return out.clamp(-CEILING, CEILING)
