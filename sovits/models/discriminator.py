"""Judges of sound: scale and period (Kumar 2019, Kong 2020), as so-vits-svc 4.0 has; spectra."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sovits.config import DiscriminatorConfig
from sovits.errors import ConfigError
from sovits.models.convolution import NormedConv1d, NormedConv2d, NormedPlane
from sovits.types import Wave

SLOPE = 0.1

Judgement = tuple[Tensor, list[Tensor]]
"""Scores, `[batch, n]`, and the output of each layer."""


class ScaleDiscriminator(nn.Module):
    """Judge the raw wave with strided grouped convolutions."""

    def __init__(self, width: float) -> None:
        super().__init__()
        plan = [  # channels, kernel, stride, groups
            (16, 15, 1, 1),
            (64, 41, 4, 4),
            (256, 41, 4, 16),
            (1024, 41, 4, 64),
            (1024, 41, 4, 256),
            (1024, 5, 1, 1),
        ]
        self.convs = nn.ModuleList()
        before = 1
        for channels, kernel_size, stride, groups in plan:
            after = _scaled(channels, width)
            # Groups must divide both counts, whatever the width makes of them.
            narrowed = math.gcd(_scaled(groups, width), before, after) if groups > 1 else 1
            self.convs.append(NormedConv1d(before, after, kernel_size, stride, groups=narrowed))
            before = after
        self.conv_post = NormedConv1d(before, 1, 3)

    def forward(self, *waves: Wave) -> list[Judgement]:
        """Judge each of some `[batch, 1, samples]`."""
        return _judge(waves, self.convs, self.conv_post)


class PeriodDiscriminator(nn.Module):
    """Judge every `period`-th sample, so that periodic detail shows."""

    def __init__(self, period: int, width: float) -> None:
        super().__init__()
        self.period = period
        self.convs = nn.ModuleList()
        before = 1
        for i, channels in enumerate((32, 128, 512, 1024, 1024)):
            after = _scaled(channels, width)
            self.convs.append(NormedConv2d(before, after, 5, 3 if i < 4 else 1, padding=2))
            before = after
        self.conv_post = NormedConv2d(before, 1, 3, padding=1)

    def forward(self, *waves: Wave) -> list[Judgement]:
        """Judge each of some `[batch, 1, samples]`."""
        return _judge([self._columns(wave) for wave in waves], self.convs, self.conv_post)

    def _columns(self, wave: Wave) -> Tensor:
        missing = -wave.shape[-1] % self.period
        x = F.pad(wave, (0, missing), mode="reflect") if missing else wave
        return x.view(*x.shape[:2], -1, self.period)


class SpectrumDiscriminator(nn.Module):
    """Judge the complex spectrum, where a wrong phase and a missing breath show (Defossez 2022)."""

    window: Tensor

    def __init__(self, n_fft: int, width: float) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        channels = _scaled(64, width)
        self.convs = nn.ModuleList()
        before = 2
        for dilation in (1, 1, 2, 4):
            self.convs.append(NormedPlane(before, channels, dilation))
            before = channels
        self.conv_post = NormedPlane(before, 1)

    def forward(self, *waves: Wave) -> list[Judgement]:
        """Judge each of some `[batch, 1, samples]`."""
        return _judge([self._spectrum(wave) for wave in waves], self.convs, self.conv_post)

    def _spectrum(self, wave: Wave) -> Tensor:
        with torch.autocast(wave.device.type, enabled=False):
            spectrum = torch.stft(
                wave[:, 0].float(),
                self.n_fft,
                self.n_fft // 4,
                window=self.window,
                return_complex=True,
            )
            # Powers between 1 and 1/3, so that quiet bins count.
            size = spectrum.abs().clamp(min=1e-5)
            return torch.view_as_real(spectrum * size.pow(-0.6)).permute(0, 3, 2, 1)


class Discriminator(nn.Module):
    """Scale and period discriminators, and those of the spectra that the settings name."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        if config.spectral_norm:
            raise ConfigError.not_supported("model.use_spectral_norm", True, "weight normalisation")
        self.discriminators = nn.ModuleList(
            [
                *([ScaleDiscriminator(config.width)] if config.scale else []),
                *(PeriodDiscriminator(period, config.width) for period in config.periods),
                *(SpectrumDiscriminator(n_fft, config.width) for n_fft in config.spectra),
            ]
        )

    def forward(self, *waves: Wave) -> list[list[Judgement]]:
        """Judge each of some `[batch, 1, samples]`, by all that there are.

        Several waves cost less together than one after the other, as kernels are made once.
        """
        each = [discriminator(*waves) for discriminator in self.discriminators]
        return [list(judgements) for judgements in zip(*each, strict=True)]


def _scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))


def _judge(xs: Sequence[Tensor], convs: nn.ModuleList, last: nn.Module) -> list[Judgement]:
    layers: list[list[Tensor]] = [[] for _ in xs]
    for conv in (*convs, last):
        kernel = conv.kernel()
        xs = [conv(x, kernel=kernel) for x in xs]
        if conv is not last:
            xs = [F.leaky_relu(x, SLOPE) for x in xs]
        for x, kept in zip(xs, layers, strict=True):
            kept.append(x)
    return [(torch.flatten(kept[-1], 1), kept) for kept in layers]
