"""What can be told of a sound by looking at it: level, noise, room, hum, band, music."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sovits.audio.mel import mel_filters
from sovits.config import AudioConfig
from sovits.types import Wave

RATE = 16_000
"""Rate at which all but the band and the peaks are measured (Hz)."""
HOP = 160
"""Samples of a frame at that rate: 10 ms."""
EMPTY_DB = -80.0
"""Level of a frame up to which it is digital silence, which tells nothing of the room (dBFS)."""
SILENT_POWER = 1e-12

CLIP_SHARE = 0.98
"""Share of the highest peak from which a sample may be clipped."""
CLIP_RUN = 3
"""So many samples of the same height in a row are clipped."""
CLIP_FLAT = 1e-3
"""By how much of the peak they may differ."""

NOISE_SHARE = 0.03
"""Share of the frames that tell the background of each band."""
NOISE_WIDTH = 8
"""Frames averaged for it."""
NOISE_BIAS_DB = 4.0
"""How far below its mean the background of a band lies in its quietest frames (dB)."""

DECAY_FRAMES = 8
"""Frames over which a decay is measured: 80 ms."""
DECAY_DB = 12.0
"""How far a band falls at least for its decay to be heard (dB)."""
DECAY_SHARE = 0.75
"""Share of all decays that are slower than the one that tells the room."""

BAND_N_FFT = 2048
BAND_DB = -60.0
"""How far below the strongest part of a spectrum it ends (dB)."""

HUM_N_FFT = 1 << 14
"""About a second."""
HUM_BASES = (50.0, 60.0)
"""Frequencies of the mains (Hz)."""

TONE_N_FFT, TONE_HOP = 1024, 256
TONE_HIGHEST = 4_000.0
TONE_FRAMES = 6
"""Frames averaged: 0.1 s."""


class Clipping(NamedTuple):
    """Peaks that were cut off."""

    samples: int
    runs: int
    peak: float


def clipping(wave: Wave) -> Clipping:
    """Return how many samples of `[channels, samples]` are part of a flat peak.

    A peak of a voice is round; where at least three samples in a row are as high as the highest of
    all, it was cut off, whatever was done to the level later.
    """
    peak = float(wave.abs().max()) if wave.numel() else 0.0
    if peak < 1e-2:
        return Clipping(0, 0, peak)
    top = wave.abs() >= CLIP_SHARE * peak
    flat = F.pad((wave.diff(dim=-1).abs() <= CLIP_FLAT * peak) & top[:, 1:] & top[:, :-1], (1, 1))
    edges = flat.int().diff(dim=-1)
    begin, end = (edges == 1).nonzero(), (edges == -1).nonzero()
    lengths = end[:, 1] - begin[:, 1] + 1
    runs = lengths[lengths >= CLIP_RUN]
    return Clipping(int(runs.sum()), len(runs), peak)


def frame_power(wave: Wave, hop: int = HOP) -> Tensor:
    """Return the mean square of each whole frame of `[samples]`."""
    count = len(wave) // hop
    return wave[: count * hop].view(count, hop).square().mean(-1)


def level_db(power: Tensor) -> Tensor:
    """Return power in dB."""
    return 10 * power.clamp(min=SILENT_POWER).log10()


_BANDS = AudioConfig(sample_rate=RATE, hop_length=HOP, n_fft=512, n_mels=24)


class Bands:
    """Power of 24 mel bands every 10 ms."""

    def __init__(self) -> None:
        self.filters = mel_filters(_BANDS)[2:] * _BANDS.n_fft
        self.window = torch.hann_window(_BANDS.n_fft)

    def __call__(self, wave: Wave) -> Tensor:
        """Return `[22, frames]` of `[samples]` at 16 kHz; below 150 Hz nothing counts."""
        if len(wave) < _BANDS.n_fft:
            return torch.zeros(len(self.filters), 0)
        frames = wave.unfold(0, _BANDS.n_fft, HOP) * self.window
        power: Tensor = self.filters @ torch.fft.rfft(frames).abs().square().T
        return power


def snr_db(bands: Tensor, power: Tensor) -> float | None:
    """Return how far speech lies above the background (dB).

    The background of each band is what is left in its quietest frames; even where words follow each
    other without a pause, each band has its own.

    Args:
        bands: `[bands, frames]`.
        power: Mean square of each frame, at least as many.

    Returns:
        None if there is nothing but digital silence, or hardly a second.
    """
    frames = bands.shape[-1]
    heard = level_db(power[:frames]) > EMPTY_DB
    if int(heard.sum()) < 50:
        return None
    smooth = F.avg_pool1d(bands[None], NOISE_WIDTH, 1)[0]
    # A frame counts if nothing that it is averaged with is digital silence.
    whole = F.avg_pool1d(heard[None, None].float(), NOISE_WIDTH, 1)[0, 0] > 0.99
    if int(whole.sum()) < 30:
        whole = torch.ones_like(whole)
    noise = smooth[:, whole].quantile(NOISE_SHARE, dim=-1).sum() * 10 ** (NOISE_BIAS_DB / 10)
    total = bands[:, heard].sum(0)
    loud = total[total >= total.max() * 1e-3]
    return float(10 * ((loud.mean() + 1e-12) / (noise + 1e-12)).log10())


def decay_seconds(bands: Tensor) -> float | None:
    """Return how long sound would take to fall by 60 dB, by its own decays; None if none is heard.

    A mouth closes within a few hundredths of a second. In a room no band can fall faster than the
    room does, so among all decays the fast ones tell the room.
    """
    if bands.shape[-1] < 4 * DECAY_FRAMES:
        return None
    db = level_db(F.avg_pool1d(bands[None], 3, 1, 1)[0])
    windows = db.unfold(-1, DECAY_FRAMES, 1)
    floor = db.quantile(0.05, dim=-1, keepdim=True)
    top = db.amax(-1, keepdim=True)
    falls = windows[..., 0] - windows[..., -1]
    steady = (windows.diff(dim=-1) < 0.5).all(-1)
    heard = (windows[..., -1] > floor + 12) & (windows[..., 0] > top - 35) & (falls > 3.0)
    rates = falls[heard & steady] / ((DECAY_FRAMES - 1) * HOP / RATE)
    if len(rates) < 20:
        return None
    return float(60 / rates.quantile(DECAY_SHARE))


def spectrum_of_loud(wave: Wave) -> Tensor | None:
    """Return the power of each bin where it is strong, `[1025]`; None if the sound is too short."""
    if len(wave) < BAND_N_FFT:
        return None
    frames = wave.unfold(0, BAND_N_FFT, BAND_N_FFT // 2) * torch.hann_window(BAND_N_FFT)
    power = torch.fft.rfft(frames).abs().square()
    strong: Tensor = power.quantile(0.95, dim=0) if len(power) < 4_000 else power.amax(0)
    return strong


def bandwidth(spectrum: Tensor, sample_rate: int) -> float:
    """Return the frequency above which there is next to nothing (Hz)."""
    smooth = F.avg_pool1d(spectrum[None], 9, 1, 4)[0]
    strong = (smooth > smooth.max() * 10 ** (BAND_DB / 10)).nonzero()
    return float(strong[-1]) * sample_rate / BAND_N_FFT if len(strong) else 0.0


def hum(wave: Wave, level: float) -> tuple[float, float]:
    """Return the level of mains hum below speech (dB) and its frequency (Hz).

    Args:
        wave: `[samples]` at 16 kHz, of at least two seconds.
        level: Mean square of its speech.
    """
    if len(wave) < 2 * HUM_N_FFT or level <= 0:
        return -math.inf, HUM_BASES[0]
    window = torch.hann_window(HUM_N_FFT)
    frames = wave.unfold(0, HUM_N_FFT, HUM_N_FFT // 4) * window
    power = torch.fft.rfft(frames).abs().square() / (HUM_N_FFT * window.square().sum())
    lasting = power.quantile(0.15, dim=0)  # a voice pauses, hum does not
    scale = RATE / HUM_N_FFT
    best = (-math.inf, HUM_BASES[0])
    for base in HUM_BASES:
        found, count, lowest = 0.0, 0, False
        for harmonic in range(1, 9):
            middle = round(base * harmonic / scale)
            around = lasting[middle - 14 : middle + 15]
            peak = lasting[middle - 2 : middle + 3].sum()
            if peak > 5 * 30 * around.median():
                found, count = found + float(peak), count + 1
                lowest |= harmonic == 1
        if count >= 2 or lowest:  # no voice is as low as the mains
            best = max(best, (10 * math.log10(max(2 * found, 1e-20) / level), base))
    return best


def tonality_db(wave: Wave) -> float | None:
    """Return by how much the background differs from bin to bin (dB), its lasting colour left out.

    In the quietest tenth of a sound a stationary noise leaves hardly more than chance, about 3 dB.
    Music leaves notes, which come and go.

    Args:
        wave: `[samples]` at 16 kHz.

    Returns:
        None if there is nothing but digital silence, or hardly a second.
    """
    if len(wave) < RATE:
        return None
    frames = wave.unfold(0, TONE_N_FFT, TONE_HOP)
    top = int(TONE_HIGHEST * TONE_N_FFT / RATE)
    power = torch.fft.rfft(frames * torch.hann_window(TONE_N_FFT)).abs().square()[:, 6:top]
    power = power[level_db(frames.square().mean(-1)) > EMPTY_DB]
    if len(power) < 2 * TONE_FRAMES:
        return None
    smooth = F.avg_pool1d(power.T[None], TONE_FRAMES, 1)[0].T
    quiet = smooth[smooth.sum(-1).argsort()[: max(TONE_FRAMES, len(smooth) // 10)]]
    db = level_db(quiet)
    colour = F.avg_pool1d(db.mean(0)[None], 25, 1, 12, count_include_pad=False)[0]
    rest = db - colour
    return float((rest - rest.mean(-1, keepdim=True)).square().mean().sqrt())
