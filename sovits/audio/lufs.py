"""Loudness and true peak of a programme (ITU-R BS.1770-4), of any length in bounded memory."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from sovits.audio.resample import StreamResampler, resample
from sovits.types import Wave

BLOCK_SECONDS, STEP = 0.4, 4
"""Length of what is measured at once (s), and how many of them begin within one length."""
ABSOLUTE_GATE = -70.0  # blocks below are not counted (LUFS)
RELATIVE_GATE = -10.0  # nor are those so far below the mean of the others (LU)
OFFSET = -0.691  # of a power of 1 (LUFS)
OVERSAMPLING = 4  # points in which the standard looks between samples
TAIL_SECONDS = 0.5  # after which nothing is left of what K-weighting remembers

Coefficients = tuple[tuple[float, float, float], tuple[float, float, float]]


class Loudness:
    """Measures how loud a programme is as a whole, and how high it peaks.

    Push all of it, in blocks of any length; then read `lufs` and `peak_db`. One object is one
    programme.

    Args:
        sample_rate: Rate of the programme (Hz).
        channels: Channels of every block; all count alike.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self.sample_rate = sample_rate
        self.hop = max(1, round(sample_rate * BLOCK_SECONDS / STEP))
        self._filter = torch.from_numpy(k_weighting(sample_rate)).double()
        self._past = torch.zeros(channels, len(self._filter) - 1)
        self._rest = torch.zeros(channels, 0)
        self._powers: list[NDArray[np.float64]] = []
        self._peaks = StreamResampler(sample_rate, OVERSAMPLING * sample_rate, channels)
        self._peak = 0.0

    def push(self, wave: Wave) -> None:
        """Hear `wave` `[channels, samples]`."""
        if not wave.shape[-1]:
            return
        self._look(self._peaks.push(wave))
        heard = torch.cat([self._past, wave], dim=-1)
        self._past = heard[:, wave.shape[-1] :].clone()
        size = heard.shape[-1] + len(self._filter) - 1
        product = torch.fft.rfft(heard.double(), size) * torch.fft.rfft(self._filter, size)
        weighted = torch.fft.irfft(product, size)[:, len(self._filter) - 1 : heard.shape[-1]]
        weighted = torch.cat([self._rest, weighted], dim=-1)
        count = weighted.shape[-1] // self.hop
        tiles = weighted[:, : count * self.hop].reshape(len(weighted), count, self.hop)
        self._powers.append(tiles.square().mean(-1).sum(0).numpy())
        self._rest = weighted[:, count * self.hop :]

    @property
    def lufs(self) -> float:
        """Integrated loudness so far (LUFS); -inf where all is silent or too short to tell."""
        steps = np.concatenate([np.zeros(0), *self._powers])
        if len(steps) < STEP:
            return -math.inf
        blocks = np.convolve(steps, np.full(STEP, 1 / STEP), mode="valid")
        blocks = blocks[_level(blocks) > ABSOLUTE_GATE]
        if not len(blocks):
            return -math.inf
        gate = float(_level(blocks.mean(keepdims=True))[0]) + RELATIVE_GATE
        return float(_level(blocks[_level(blocks) > gate].mean(keepdims=True))[0])

    @property
    def peak_db(self) -> float:
        """Highest true peak of the whole programme (dBTP); nothing may be pushed afterwards."""
        self._look(self._peaks.push(self._past[:, :0], last=True))
        return 20 * math.log10(self._peak) if self._peak > 0 else -math.inf

    def _look(self, wave: Wave) -> None:
        if wave.numel():
            self._peak = max(self._peak, float(wave.abs().max()))


def true_peaks(wave: Wave, sample_rate: int) -> Wave:
    """Return the highest true peak `[samples]` beside each sample of `[channels, samples]`."""
    fine = resample(wave, sample_rate, OVERSAMPLING * sample_rate).abs().amax(0)
    peaks = fine.reshape(-1, OVERSAMPLING).amax(-1)
    # What lies between two samples belongs to both.
    return torch.maximum(peaks, torch.nn.functional.pad(peaks[:-1], (1, 0)))


def k_weighting(sample_rate: int) -> NDArray[np.float64]:
    """Return the impulse response of K-weighting: a shelf for the head, then a high-pass."""
    impulse = np.zeros(round(TAIL_SECONDS * sample_rate))
    impulse[0] = 1.0
    for (b0, b1, b2), (a0, a1, a2) in (_shelf(sample_rate), _high_pass(sample_rate)):
        x1 = x2 = y1 = y2 = 0.0
        response = np.empty_like(impulse)
        for i, x in enumerate(impulse.tolist()):
            y = (b0 * x + b1 * x1 + b2 * x2 - a1 * y1 - a2 * y2) / a0
            x1, x2, y1, y2 = x, x1, y, y1
            response[i] = y
        impulse = response
    return impulse


def _shelf(sample_rate: int) -> Coefficients:
    """Return numerator and denominator of the first stage, for any rate.

    The standard gives coefficients at 48 kHz; these are of the analogue filter they stand for.
    """
    hertz, gain_db, q = 1681.974450955533, 3.999843853973347, 0.7071752369554196
    k = math.tan(math.pi * min(hertz, 0.49 * sample_rate) / sample_rate)
    high = 10 ** (gain_db / 20)
    band = high**0.4996667741545416
    first = high + band * k / q + k * k, 2 * (k * k - high), high - band * k / q + k * k
    return first, (1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k)


def _high_pass(sample_rate: int) -> Coefficients:
    """Return numerator and denominator of the second stage, for any rate."""
    hertz, q = 38.13547087602444, 0.5003270373238773
    k = math.tan(math.pi * hertz / sample_rate)
    scale = 1 + k / q + k * k
    return (scale, -2 * scale, scale), (scale, 2 * (k * k - 1), 1 - k / q + k * k)


def _level(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return powers as LUFS."""
    level: NDArray[np.float64] = OFFSET + 10 * np.log10(np.maximum(power, 1e-30))
    return level
