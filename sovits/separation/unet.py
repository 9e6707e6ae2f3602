"""The network of Spleeter: a U-Net that finds one stem in a spectrogram (Jansson et al., 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = (16, 32, 64, 128, 256, 512)
"""Channels after each halving, as the published weights have them."""


class Scale(nn.Module):
    """Scales and shifts each channel: what is left of a batch normalisation after training."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))
        self.offset = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` `[batch, channels, frames, bins]`, scaled and shifted."""
        return torch.addcmul(self.offset[:, None, None], x, self.gain[:, None, None])


class Down(nn.Module):
    """Half as many frames and bins, of more channels."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 5, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Return `[batch, after, frames / 2, bins / 2]`."""
        # The published network was trained where an odd rest of padding goes to the end.
        found: Tensor = self.conv(F.pad(x, (1, 2, 1, 2)))
        return found


class Up(nn.Module):
    """Twice as many frames and bins, of fewer channels."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(before, after, 5, stride=2, padding=1)
        self.scale = Scale(after)

    def forward(self, x: Tensor) -> Tensor:
        """Return `[batch, after, 2 * frames, 2 * bins]`."""
        found: Tensor = self.scale(self.conv(x)[..., :-1, :-1].relu_())
        return found


class UNet(nn.Module):
    """Magnitudes of a mix become those of one stem.

    Args:
        channels: Channels after each halving.
    """

    def __init__(self, channels: tuple[int, ...] = CHANNELS) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            Down(a, b) for a, b in zip((2, *channels[:-1]), channels, strict=True)
        )
        self.scale = nn.ModuleList(Scale(n) for n in channels[:-1])
        back = channels[-2::-1]
        joined = (channels[-1], *(2 * n for n in back))
        self.up = nn.ModuleList(Up(a, b) for a, b in zip(joined, (*back, 1), strict=True))
        self.mask = nn.Conv2d(1, 2, 4, dilation=2, padding=3)

    @property
    def step(self) -> int:
        """Frames and bins of an input must be multiples of this."""
        return 1 << len(self.down)

    def forward(self, magnitude: Tensor) -> Tensor:
        """Return the stem's magnitudes.

        Args:
            magnitude: `[batch, 2, frames, bins]`, both multiples of `step`.

        Returns:
            Of the same shape, nowhere larger than `magnitude`.
        """
        skips: list[Tensor] = []
        x = magnitude
        for down, scale in zip(self.down, [*self.scale, None], strict=True):
            x = down(x)
            skips.append(x)
            if scale is not None:
                x = F.leaky_relu_(scale(x), 0.2)
        x = self.up[0](skips.pop())
        for up in list(self.up)[1:]:
            x = up(torch.cat([skips.pop(), x], dim=1))
        found: Tensor = self.mask(x).sigmoid_() * magnitude
        return found
