"""A light decoder: filter pulses and noise in the frequency domain, at frame rate.

The backbone is a Vocos (Siuzdak 2023) of ConvNeXt blocks; what it predicts is not a spectrum but
how to change that of a band-limited pulse train at the pitch, and of white noise (harmonic plus
noise, Serra 1989). So pitch is right from the first step, and training is short.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sovits.config import AudioConfig, SynthesizerConfig
from sovits.models.decoders.source import frame_phases
from sovits.models.noise import NoiseSource
from sovits.types import F0, Embedding, Wave

BLOCKS = 7
EXPANSION = 2
KERNEL = 7
FLOOR = 1e-4  # of magnitudes, before their logarithm
MAX_GAIN = 6.0  # natural log; bounds what one bin can be raised by
MAX_PARTIALS = 512


class ConvNeXt(nn.Module):
    """Depthwise convolution over time and two layers over channels (Liu 2022)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(channels, channels, KERNEL, padding=KERNEL // 2, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, EXPANSION * channels)
        self.narrow = nn.Linear(EXPANSION * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), 1 / BLOCKS))

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, channels, frames]` to the same shape."""
        y = self.norm(self.depthwise(x).transpose(1, 2))
        change: Tensor = self.narrow(F.gelu(self.widen(y))) * self.scale
        return x + change.transpose(1, 2)


class HarmonicDecoder(nn.Module):
    """Shape a pulse train and noise into speech or song."""

    window: Tensor

    def __init__(self, config: SynthesizerConfig, audio: AudioConfig) -> None:
        super().__init__()
        self.audio, width = audio, config.upsample_initial_channels
        self.conv_pre = nn.Conv1d(config.inter_channels, width, KERNEL, padding=KERNEL // 2)
        self.cond = nn.Conv1d(config.speaker_channels, width, 1)
        self.hear = nn.Conv1d(audio.n_bins, width, 1)
        self.blocks = nn.ModuleList(ConvNeXt(width) for _ in range(BLOCKS))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 3 * audio.n_bins)
        nn.init.normal_(self.head.weight, 0, 0.01)
        nn.init.constant_(self.head.bias, -2.0)
        with torch.no_grad():  # type: ignore[no-untyped-call,unused-ignore]
            self.head.bias[audio.n_bins : 2 * audio.n_bins] = 0  # phase
        self.register_buffer("window", torch.hann_window(audio.n_fft), persistent=False)

    def forward(
        self,
        z: Tensor,
        speaker: Embedding,
        f0: F0,
        *,
        phase: Tensor | None = None,
        noise: NoiseSource | None = None,
    ) -> Wave:
        """Map the latent `[batch, inter_channels, frames]` to sound `[batch, 1, samples]`."""
        with torch.autocast(z.device.type, enabled=False):
            if self.training:
                phase = torch.rand(len(f0), device=f0.device)
            pulses = self._spectrum(self.pulses(f0.float(), phase))
            loudness = pulses.abs().clamp(min=FLOOR).log()
        x = self.conv_pre(z) + self.cond(speaker) + self.hear(loudness)
        for block in self.blocks:
            x = block(x)
        with torch.autocast(z.device.type, enabled=False):
            shape = self.head(self.norm(x.transpose(1, 2).float())).transpose(1, 2)
            gain, turn, breath = shape.chunk(3, dim=1)
            spectrum = pulses * torch.polar(gain.clamp(max=MAX_GAIN).exp(), turn)
            drawn = self._noise(f0, noise)
            if drawn is not None:
                spectrum = spectrum + self._spectrum(drawn) * breath.clamp(max=MAX_GAIN).exp()
            return self._sound(spectrum).unsqueeze(1)

    def pulses(self, f0: F0, phase: Tensor | None) -> Wave:
        """Return a train of pulses of unit power, with every partial below half the rate.

        The sum of the first K cosines has the closed form sin((K + 1/2) p) / (2 sin(p / 2)) - 1/2.

        Args:
            f0: Hz, `[batch, frames]`.
            phase: Phase before the first sample (cycles), `[batch]`.

        Returns:
            `[batch, frames * hop_length]`.
        """
        rate, hop = self.audio.sample_rate, self.audio.hop_length
        begin = frame_phases(f0, rate, hop, phase)[:, :-1, None]
        steps = torch.arange(1, hop + 1, device=f0.device, dtype=torch.float64) / rate
        cycles = ((begin + f0.double()[..., None] * steps) % 1.0).float()
        partials = (rate / 2 / f0.clamp(min=1.0)).floor().clamp(1, MAX_PARTIALS)[..., None]
        angle = 2 * math.pi * (cycles - cycles.round())
        half = torch.sin(angle / 2)
        near = half.abs() < 1e-4
        train = torch.sin((partials + 0.5) * angle) / (2 * half.where(~near, 1.0)) - 0.5
        train = torch.where(near, partials.expand_as(train), train)
        return (train * (2 / partials).sqrt()).flatten(1)

    def _noise(self, f0: F0, noise: NoiseSource | None) -> Wave | None:
        if self.training:
            shape = f0.shape[0], f0.shape[1] * self.audio.hop_length
            return torch.randn(shape, device=f0.device)
        if noise is None:
            return None
        return noise.samples(f0.shape[1], self.audio.hop_length)[0].to(f0)

    def _spectrum(self, wave: Wave) -> Tensor:
        """Map `[batch, samples]` to complex `[batch, bins, frames]`, one frame a hop."""
        pad = self.audio.n_fft - self.audio.hop_length
        padded = F.pad(wave, (pad // 2, pad - pad // 2))
        frames = padded.unfold(-1, self.audio.n_fft, self.audio.hop_length) * self.window
        spectrum: Tensor = torch.fft.rfft(frames).transpose(1, 2)
        return spectrum / math.sqrt(self.audio.n_fft)

    def _sound(self, spectrum: Tensor) -> Wave:
        """Undo `_spectrum`: overlap-add, divided by the windows' power."""
        n_fft, hop, frames = self.audio.n_fft, self.audio.hop_length, spectrum.shape[-1]
        pieces = torch.fft.irfft(spectrum, n_fft, dim=1) * self.window[:, None]
        length = (frames - 1) * hop + n_fft

        def overlap(x: Tensor) -> Tensor:
            return F.fold(x, (1, length), (1, n_fft), stride=(1, hop))[:, 0, 0]

        power = overlap(self.window.square()[None, :, None].expand(1, -1, frames))
        wave = overlap(pieces) * math.sqrt(n_fft) / power.clamp(min=1e-3)
        start = (n_fft - hop) // 2
        return wave[:, start : start + frames * hop]
