"""The upsampling trunk that all four decoders share (HiFi-GAN, Kong 2020)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from sovits.config import SynthesizerConfig
from sovits.models.convolution import NormedConv1d, NormedConvTranspose1d

SLOPE = 0.1  # of the leaky ReLUs inside; the one before the last convolution has LAST_SLOPE
LAST_SLOPE = 0.01


def _small_start(convs: nn.ModuleList) -> nn.ModuleList:
    """Draw kernels from N(0, 0.01), so that blocks start near the identity."""
    for conv in convs:
        if isinstance(conv, NormedConv1d):
            kernel = conv.kernel().detach()
            conv.set_kernel(kernel.new_empty(kernel.shape).normal_(0, 0.01))
    return convs


class PairedBlock(nn.Module):
    """Residual pairs of a dilated and a plain convolution."""

    def __init__(self, channels: int, kernel_size: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs1 = _small_start(
            nn.ModuleList(
                NormedConv1d(channels, channels, kernel_size, dilation=d) for d in dilations
            )
        )
        self.convs2 = _small_start(
            nn.ModuleList(NormedConv1d(channels, channels, kernel_size) for _ in dilations)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, channels, time]` to the same shape."""
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            x = x + plain(F.leaky_relu(dilated(F.leaky_relu(x, SLOPE)), SLOPE))
        return x


class SingleBlock(nn.Module):
    """Residual dilated convolutions, two of them."""

    def __init__(self, channels: int, kernel_size: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs = _small_start(
            nn.ModuleList(
                NormedConv1d(channels, channels, kernel_size, dilation=d) for d in dilations[:2]
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, channels, time]` to the same shape."""
        for conv in self.convs:
            x = x + conv(F.leaky_relu(x, SLOPE))
        return x


class Upsampler(nn.Module):
    """First convolution, upsampling stages and their residual blocks.

    Subclasses add a last convolution and what follows it; their state dicts keep the flat names
    `conv_pre`, `ups`, `resblocks`.
    """

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__()
        width = config.upsample_initial_channels
        self.conv_pre = NormedConv1d(config.inter_channels, width, 7)
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        block = PairedBlock if config.resblock == "1" else SingleBlock
        self.widths: list[int] = []
        for i, (rate, kernel_size) in enumerate(
            zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True)
        ):
            before, after = width // 2**i, width // 2 ** (i + 1)
            self.ups.append(NormedConvTranspose1d(before, after, kernel_size, rate))
            for size, dilations in zip(
                config.resblock_kernel_sizes, config.resblock_dilations, strict=True
            ):
                self.resblocks.append(block(after, size, dilations))
            self.widths.append(after)
        self.n_parallel = len(config.resblock_kernel_sizes)

    def blocks(self, stage: int, x: Tensor) -> Tensor:
        """Return the mean of the parallel residual blocks of one stage."""
        first = stage * self.n_parallel
        total = self.resblocks[first](x)
        for block in self.resblocks[first + 1 : first + self.n_parallel]:
            total = total + block(x)
        return total / self.n_parallel  # type: ignore[no-any-return]
