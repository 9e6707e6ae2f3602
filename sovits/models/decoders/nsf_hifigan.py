"""HiFi-GAN driven by a harmonic source."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sovits.config import SynthesizerConfig
from sovits.models.convolution import NormedConv1d
from sovits.models.decoders.source import HarmonicSource
from sovits.models.decoders.upsampler import LAST_SLOPE, SLOPE, Upsampler
from sovits.models.noise import NoiseSource
from sovits.types import F0, Embedding, Wave


class NsfHifiGan(Upsampler):
    """Upsample the latent to sound, adding the harmonic source at each rate on the way."""

    def __init__(self, config: SynthesizerConfig, sample_rate: int, hop_length: int) -> None:
        super().__init__(config)
        self.m_source = HarmonicSource(sample_rate, hop_length)
        # Vocoders, which are told all by the mel, have no speaker.
        self.cond = (
            nn.Conv1d(config.speaker_channels, config.upsample_initial_channels, 1)
            if config.speaker_channels
            else None
        )
        self.noise_convs = nn.ModuleList()
        for i, width in enumerate(self.widths):
            stride = math.prod(config.upsample_rates[i + 1 :])
            self.noise_convs.append(
                nn.Conv1d(1, width, 1)
                if i == len(self.widths) - 1
                else nn.Conv1d(1, width, 2 * stride, stride, padding=(stride + 1) // 2)
            )
        self.conv_post = NormedConv1d(self.widths[-1], 1, 7)

    def forward(
        self,
        z: Tensor,
        speaker: Embedding | None,
        f0: F0,
        *,
        phase: Tensor | None = None,
        noise: NoiseSource | None = None,
    ) -> Wave:
        """Map the latent `[batch, inter_channels, frames]` to sound `[batch, 1, samples]`."""
        with torch.autocast(z.device.type, enabled=False):
            source = self.m_source(
                f0.float().to(self.m_source.l_linear.weight.dtype),
                phase,
                noise,
                training=self.training,
            )
        x = self.conv_pre(z)
        if self.cond is not None:
            x = x + self.cond(speaker)
        for index in range(len(self.ups)):
            x = self.stage(index, x, source)
        return torch.tanh(self.conv_post(F.leaky_relu(x, LAST_SLOPE)))

    def enter(self, index: int, x: Tensor, source: Tensor | None) -> Tensor:
        """Return what the residual blocks of a stage are given: the trunk and the source."""
        up: Tensor = self.ups[index](F.leaky_relu(x, SLOPE)) + self.noise_convs[index](source)
        return up
