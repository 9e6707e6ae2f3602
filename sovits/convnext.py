"""ConvNeXt blocks over time that compute a stream chunk by chunk as they compute it whole.

A block looks `ahead` frames into the future by answering that much later: its output lags its
input. So nothing distinguishes a stream from a file, which is a stream of one chunk and as many
frames of silence after it as the network looks ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Frames: TypeAlias = Tensor
"""Activations, `[batch, frames, channels]`: channels side by side, as matrix products read them."""

Past: TypeAlias = Tensor
"""The last inputs that later outputs still depend on, `[batch, kernel_size - 1, channels]`."""


class DepthwiseConv(nn.Module):
    """Convolve each channel with its own kernel over the past.

    Args:
        channels: Channels.
        kernel_size: Frames that one output frame sees.
    """

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, (1, kernel_size), groups=channels)
        self.context = kernel_size - 1

    def forward(self, x: Frames, past: Past | None = None) -> tuple[Frames, Frames]:
        """Return as many frames as `x` has, and `x` with the frames before it."""
        if past is None:
            past = x.new_zeros(x.shape[0], self.context, x.shape[2])
        heard = torch.cat([past, x], dim=1)
        # On a CPU, one plane of memory with channels last is several times faster than conv1d,
        # and float32 than bfloat16.
        with torch.autocast(x.device.type, enabled=False):
            plane = heard.float().transpose(1, 2).unsqueeze(2)
            return self.conv(plane).squeeze(2).transpose(1, 2), heard


class Block(nn.Module):
    """Depthwise convolution over time and two layers over channels (Liu 2022), streaming.

    Args:
        channels: Width.
        kernel_size: Frames that one output frame sees, the future ones included.
        ahead: How many of them are in the future.
        expansion: Factor on the width between the two layers.
        scale: Weight of the change that a block makes, at the start of training.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int = 7,
        ahead: int = 0,
        *,
        expansion: int = 3,
        scale: float = 0.1,
    ) -> None:
        super().__init__()
        self.ahead = ahead
        self.depthwise = DepthwiseConv(channels, kernel_size)
        self.norm = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, expansion * channels)
        self.narrow = nn.Linear(expansion * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), scale))

    def forward(
        self, x: Frames, past: Past | None = None, shift: Tensor | None = None
    ) -> tuple[Frames, Past]:
        """Return as many frames as `x` has, `ahead` late, and the past for the next call.

        Args:
            x: `[batch, frames, channels]`.
            past: What the last call returned; None begins a stream.
            shift: Added where the convolution has been, `[batch, 1 or frames, channels]`.
        """
        y, heard = self.depthwise(x, past)
        if shift is not None:
            y = y + shift
        y = self.narrow(F.gelu(self.widen(self.norm(y)), approximate="tanh")) * self.scale
        begin = self.depthwise.context - self.ahead
        return heard[:, begin : begin + x.shape[1]] + y, heard[:, x.shape[1] :]


class Stack(nn.Module):
    """Blocks one after another; what they look ahead adds up.

    Args:
        channels: Width.
        ahead: How far each block looks ahead (frames); as many blocks as entries.
        kernel_size: Kernel of each block (frames).
        expansion: Factor on the width inside a block.
    """

    def __init__(
        self, channels: int, ahead: Sequence[int], kernel_size: int = 7, expansion: int = 3
    ) -> None:
        super().__init__()
        self.look_ahead = sum(ahead)
        self.context = len(ahead) * (kernel_size - 1)
        self.blocks = nn.ModuleList(
            Block(channels, kernel_size, a, expansion=expansion, scale=1 / len(ahead))
            for a in ahead
        )

    def forward(
        self, x: Frames, past: Sequence[Past] | None = None, shift: Tensor | None = None
    ) -> tuple[Frames, list[Past]]:
        """Return as many frames as `x` has, `look_ahead` late, and the past for the next call."""
        pasts: list[Past] = []
        for number, block in enumerate(self.blocks):
            x, kept = block(x, None if past is None else past[number], shift)
            pasts.append(kept)
        return x, pasts


def spread(look_ahead: int, blocks: int) -> tuple[int, ...]:
    """Return how far each of some blocks looks ahead, for a given total: the first ones most.

    >>> spread(4, 6)
    (1, 1, 1, 1, 0, 0)
    >>> spread(3, 2)
    (2, 1)
    """
    each, more = divmod(look_ahead, blocks)
    return tuple(each + (index < more) for index in range(blocks))
