"""Prior, posterior and pitch predictor of the synthesizer."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sovits.config import SynthesizerConfig
from sovits.models.transformer import CausalTransformer, PriorTransformer
from sovits.models.wavenet import WaveNet
from sovits.types import F0, Embedding, Mask, Spectrogram, Voiced

COARSE_MIN, COARSE_MAX, COARSE_BINS = 50.0, 1100.0, 256  # Hz, Hz: the range of the pitch table


class Gaussian(NamedTuple):
    """Diagonal normal distribution over the latent, each `[batch, inter_channels, frames]`."""

    mean: Tensor
    log_std: Tensor


def coarse_f0(f0: F0) -> Tensor:
    """Return the row of the pitch table for each frame: 1 (50 Hz or less) to 255 (1100 Hz up)."""

    def mel(hertz: float) -> float:
        return 1127 * math.log(1 + hertz / 700)

    low, high = mel(COARSE_MIN), mel(COARSE_MAX)
    position = (1127 * torch.log1p(f0 / 700) - low) * (COARSE_BINS - 2) / (high - low) + 1
    return (position.clamp(1, COARSE_BINS - 1) + 0.5).floor().long()


def log_f0(f0: F0) -> Tensor:
    """Return pitch on the scale that the F0 decoder predicts: mel / 500."""
    return 2595 / 500 * torch.log10(1 + f0 / 700)


def from_log_f0(value: Tensor) -> F0:
    """Undo `log_f0`."""
    return 700 * (torch.pow(10, value * (500 / 2595)) - 1)


def centred_log_f0(f0: F0, voiced: Voiced, mask: Mask) -> Tensor:
    """Return `log_f0` less its mean over the voiced frames, `[batch, 1, frames]`."""
    value, weight = log_f0(f0).unsqueeze(1), voiced.to(f0.dtype).unsqueeze(1) * mask
    count = weight.sum(dim=-1, keepdim=True)
    mean = (value * weight).sum(dim=-1, keepdim=True) / count.where(count > 0, 9999)
    return (value - mean) * mask


class PriorEncoder(nn.Module):
    """What the latent should be, judged by content and pitch."""

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__()
        self.f0_emb = nn.Embedding(COARSE_BINS, config.hidden_channels)
        self.enc_ = PriorTransformer(
            config.hidden_channels,
            config.filter_channels,
            config.n_heads,
            config.n_layers,
            config.kernel_size,
            config.dropout,
        )
        self.proj = nn.Conv1d(config.hidden_channels, 2 * config.inter_channels, 1)

    def forward(self, x: Tensor, f0: F0, mask: Mask) -> Gaussian:
        """Return the prior for `x`, `[batch, hidden, frames]`."""
        x = x + self.f0_emb(coarse_f0(f0)).transpose(1, 2)
        mean, log_std = (self.proj(self.enc_(x, mask)) * mask).chunk(2, dim=1)
        return Gaussian(mean, log_std)


class PosteriorEncoder(nn.Module):
    """What the latent is, judged by the sound itself; training only."""

    def __init__(self, config: SynthesizerConfig, n_bins: int) -> None:
        super().__init__()
        self.pre = nn.Conv1d(n_bins, config.hidden_channels, 1)
        self.enc = WaveNet(
            config.hidden_channels, 5, config.posterior_layers, config.speaker_channels
        )
        self.proj = nn.Conv1d(config.hidden_channels, 2 * config.inter_channels, 1)

    def forward(self, spectrogram: Spectrogram, mask: Mask, speaker: Embedding) -> Gaussian:
        """Return the posterior for a linear spectrogram, `[batch, bins, frames]`."""
        x = self.enc(self.pre(spectrogram) * mask, mask, speaker)
        mean, log_std = (self.proj(x) * mask).chunk(2, dim=1)
        return Gaussian(mean, log_std)


class F0Decoder(nn.Module):
    """Guess the melody that a speaker would give to this content, without looking ahead."""

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__()
        hidden = config.hidden_channels
        self.prenet = nn.Conv1d(hidden, hidden, 3, padding=1)
        self.f0_prenet = nn.Conv1d(1, hidden, 3, padding=1)
        self.cond = nn.Conv1d(config.speaker_channels, hidden, 1)
        self.decoder = CausalTransformer(
            hidden,
            config.filter_channels,
            config.n_heads,
            config.n_layers,
            config.kernel_size,
            config.dropout,
        )
        self.proj = nn.Conv1d(hidden, 1, 1)

    def forward(self, x: Tensor, centred: Tensor, mask: Mask, speaker: Embedding) -> Tensor:
        """Return predicted `log_f0`, `[batch, 1, frames]`; no gradient reaches `x` or `speaker`."""
        x = x.detach() + self.cond(speaker.detach()) + self.f0_prenet(centred)
        # Masked before the convolution too, unlike in so-vits-svc: it looks one frame ahead, and
        # a padded clip must not be told apart from one that ends.
        x = self.decoder(self.prenet(x * mask) * mask, mask)
        predicted: Tensor = self.proj(x) * mask
        return predicted
