"""Linear and mel spectrograms with one frame for every hop."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sovits.audio.pad import reflect
from sovits.config import AudioConfig
from sovits.types import Mel, Spectrogram, Wave

FLOOR = 1e-5  # magnitude below which a mel band counts as silent
POWER_FLOOR = 1e-6  # keeps the root differentiable at silence; trained voices expect this value
VOCODER_MEL = AudioConfig(n_mels=128, mel_min=40.0, mel_max=16_000.0)
"""The mel spectrogram that vocoders hear and refiners make."""
VOCODER_POWER_FLOOR = 1e-9

# Slaney's scale (Auditory Toolbox, 1998): linear up to the knee, logarithmic above it.
HZ_PER_MEL = 200 / 3
KNEE_HZ = 1000.0
KNEE_MEL = KNEE_HZ / HZ_PER_MEL
LOG_STEP = math.log(6.4) / 27


def linear_spectrogram(
    wave: Wave,
    audio: AudioConfig,
    window: Tensor | None = None,
    power_floor: float = POWER_FLOOR,
) -> Spectrogram:
    """Return the magnitude of each bin and frame.

    Frame `i` is centred on sample `(i + 1/2) * hop_length`. At its ends the wave is mirrored, again
    and again if it is shorter than half a window, so every wave of one hop or more has a spectrum.

    Args:
        wave: `[..., samples]`.
        audio: Rates and window.
        window: `[n_fft]`, a Hann window if not given.
        power_floor: Added to the power of each bin.

    Returns:
        `[..., bins, frames]`, with `frames = samples // hop_length`.
    """
    samples = wave.shape[-1]
    if samples < audio.hop_length:
        return wave.new_zeros(*wave.shape[:-1], audio.n_bins, 0, dtype=torch.float32)
    if window is None:
        window = torch.hann_window(audio.n_fft, device=wave.device)
    pad = audio.n_fft - audio.hop_length
    padded = reflect(wave.float(), pad // 2, pad - pad // 2)
    spectrum = torch.stft(
        padded.reshape(-1, padded.shape[-1]),
        audio.n_fft,
        audio.hop_length,
        window=window,
        center=False,
        return_complex=True,
    )
    magnitude = (torch.view_as_real(spectrum).square().sum(-1) + power_floor).sqrt()
    return magnitude.reshape(*wave.shape[:-1], audio.n_bins, -1)


def hz_to_mel(hz: float) -> float:
    """Return `hz` on Slaney's mel scale."""
    if hz < KNEE_HZ:
        return hz / HZ_PER_MEL
    return KNEE_MEL + math.log(hz / KNEE_HZ) / LOG_STEP


def mel_to_hz(mel: Tensor) -> Tensor:
    """Return values of Slaney's mel scale in Hz."""
    above = KNEE_HZ * torch.exp(LOG_STEP * (mel - KNEE_MEL))
    return torch.where(mel < KNEE_MEL, mel * HZ_PER_MEL, above)


def mel_filters(audio: AudioConfig) -> Tensor:
    """Return `[n_mels, bins]` triangles that sum bins into mel bands, each of area 1 in Hz."""
    top = audio.sample_rate / 2 if audio.mel_max is None else audio.mel_max
    mels = torch.linspace(
        hz_to_mel(audio.mel_min), hz_to_mel(top), audio.n_mels + 2, dtype=torch.float64
    )
    edges = mel_to_hz(mels)
    bins = torch.arange(audio.n_bins, dtype=torch.float64) * audio.sample_rate / audio.n_fft
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = torch.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
    return (triangles.clamp(min=0) * 2 / (high - low)).float()


class LogMel(nn.Module):
    """Natural-log mel spectrogram, always in float32.

    `LogMel(VOCODER_MEL, VOCODER_POWER_FLOOR)` is that of vocoders and refiners.

    >>> log_mel = LogMel(AudioConfig(sample_rate=16_000, hop_length=160, n_fft=640, n_mels=40))
    >>> list(log_mel(torch.zeros(2, 1600)).shape)
    [2, 40, 10]
    """

    window: Tensor
    filters: Tensor

    def __init__(self, audio: AudioConfig, power_floor: float = POWER_FLOOR) -> None:
        super().__init__()
        self.audio, self.power_floor = audio, power_floor
        self.register_buffer("window", torch.hann_window(audio.n_fft), persistent=False)
        self.register_buffer("filters", mel_filters(audio), persistent=False)

    def forward(self, wave: Wave) -> Mel:
        """Return `[..., n_mels, frames]` of `wave` `[..., samples]`."""
        return self.from_linear(linear_spectrogram(wave, self.audio, self.window, self.power_floor))

    def from_linear(self, spectrogram: Spectrogram) -> Mel:
        """Return `[..., n_mels, frames]` of a linear spectrogram `[..., bins, frames]`."""
        with torch.autocast(spectrogram.device.type, enabled=False):
            mel: Mel = self.filters @ spectrogram.float()
            return mel.clamp(min=FLOOR).log()
