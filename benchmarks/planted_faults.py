"""Faults that are planted in clean recordings, so that it is known what a doctor has to find."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sovits.audio.resample import resample

ROOM_SECONDS = 0.6, 1.0
"""Time in which the planted rooms fall by 60 dB."""
DIRECT_DB = 2.0
"""Level of the direct sound above that of the room (dB)."""
NOISE_DB, MUSIC_DB, HUM_DB = 12.0, 8.0, 30.0
"""Level of the voice above what is planted (dB)."""
LOW_HZ = 3_800.0
CLIPPED_SHARE = 0.98
"""Share of the samples that are left below the level at which peaks are cut."""


def level(wave: Tensor) -> float:
    """Return the root mean square of what is no pause in `[samples]`."""
    loud = wave[wave.abs() > 0.01 * wave.abs().max()]
    return float(loud.square().mean().sqrt())


def clipped(wave: Tensor, _rate: int, _seed: int) -> Tensor:
    """Return `[samples]` with its peaks cut off."""
    order = wave.abs().sort().values
    limit = order[int(CLIPPED_SHARE * len(order))]
    return wave.clamp(-limit, limit) * (0.7 / limit)


def noisy(wave: Tensor, rate: int, seed: int) -> Tensor:
    """Return `[samples]` in white noise (even seeds) or pink noise."""
    noise = torch.randn(len(wave), generator=torch.Generator().manual_seed(seed))
    if seed % 2:
        spectrum = torch.fft.rfft(noise)
        bins = torch.arange(len(spectrum)).clamp(min=20 * len(wave) // rate)
        noise = torch.fft.irfft(spectrum / bins.sqrt(), len(wave))
    return wave + noise * (level(wave) / level(noise) * 10 ** (-NOISE_DB / 20))


def reverberant(wave: Tensor, rate: int, seed: int) -> Tensor:
    """Return `[samples]` in a room: noise that decays, behind the direct sound."""
    seconds = ROOM_SECONDS[seed % 2]
    t = torch.arange(round(seconds * rate)) / rate
    noise = torch.randn(len(t), generator=torch.Generator().manual_seed(seed))
    room = noise * torch.exp(-math.log(1000) * t / seconds)
    room[: round(0.003 * rate)] = 0
    room *= 10 ** (-DIRECT_DB / 20) / room.square().sum().sqrt()
    room[0] = 1
    return convolved(wave, room)


def convolved(wave: Tensor, response: Tensor) -> Tensor:
    """Return `[samples]` through a response, cut to their length."""
    size = 1 << (len(wave) + len(response)).bit_length()
    spectrum = torch.fft.rfft(wave, size) * torch.fft.rfft(response, size)
    return torch.fft.irfft(spectrum, size)[: len(wave)]


def low_passed(wave: Tensor, rate: int, _seed: int) -> Tensor:
    """Return `[samples]` with nothing above 3.8 kHz."""
    spectrum = torch.fft.rfft(wave)
    spectrum[round(LOW_HZ * len(wave) / rate) :] *= 1e-5
    return torch.fft.irfft(spectrum, len(wave))


def humming(wave: Tensor, rate: int, seed: int) -> Tensor:
    """Return `[samples]` with hum of 50 Hz (even seeds) or 60 Hz and its harmonics."""
    t = torch.arange(len(wave), dtype=torch.float64) / rate
    base = 60.0 if seed % 2 else 50.0
    hum = torch.zeros(len(wave), dtype=torch.float64)
    for harmonic in range(1, 6):
        hum += torch.sin(2 * math.pi * base * harmonic * t + harmonic) / harmonic
    return wave + hum.float() * (level(wave) / level(hum.float()) * 10 ** (-HUM_DB / 20))


def with_music(music: Sequence[tuple[Tensor, int]]) -> Callable[[Tensor, int, int], Tensor]:
    """Return what puts music behind `[samples]`: of `music`, or of our own if there is none."""

    def planted(wave: Tensor, rate: int, seed: int) -> Tensor:
        if music:
            piece, own = music[seed % len(music)]
            begin = (11 * own * (1 + seed)) % max(1, len(piece) - len(wave) * own // rate - own)
            behind = resample(piece[begin : begin + len(wave) * own // rate + own], own, rate)
            behind = behind[: len(wave)]
        else:
            behind = chords(len(wave), rate, seed)
        return wave + behind * (level(wave) / level(behind) * 10 ** (-MUSIC_DB / 20))

    return planted


def chords(samples: int, rate: int, seed: int) -> Tensor:
    """Return music of our own, `[samples]`: a chord of three plucked strings every half second."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.arange(rate) / rate
    made = torch.zeros(samples + rate)
    for begin in range(0, samples, rate // 2):
        root = 48 + int(torch.randint(0, 12, (1,), generator=generator))
        for note in (root, root + 4, root + 7, root + 12):
            hz = 440 * 2 ** ((note - 69) / 12)
            for harmonic in range(1, 7):
                tone = torch.sin(2 * math.pi * hz * harmonic * t) / harmonic
                made[begin : begin + rate] += tone * torch.exp(-3 * t)
    return made[:samples]
