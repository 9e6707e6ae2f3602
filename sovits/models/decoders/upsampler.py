"""The upsampling trunk that all four decoders share (HiFi-GAN, Kong 2020)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sovits.config import SynthesizerConfig
from sovits.models.convolution import Memo, NormedConv1d, NormedConvTranspose1d
from sovits.models.time_major import time_major

SLOPE = 0.1  # of the leaky ReLUs inside; the one before the last convolution has LAST_SLOPE
LAST_SLOPE = 0.01
TILE = 8192  # samples of a stage's output that are computed at once on the CPU


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
        # Samples on each side that one of its output depends on.
        self.reach = kernel_size // 2 * (sum(dilations) + len(dilations))

    def forward(self, x: Tensor, memo: Memo | None = None) -> Tensor:
        """Map `[batch, channels, time]` to the same shape."""
        over = not torch.is_grad_enabled()
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            y = dilated(F.leaky_relu(x, SLOPE), memo)
            y = plain(F.leaky_relu(y, SLOPE, inplace=over), memo)
            x = y.add_(x) if over and y.dtype == x.dtype else x + y
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
        self.reach = kernel_size // 2 * sum(dilations[:2])

    def forward(self, x: Tensor, memo: Memo | None = None) -> Tensor:
        """Map `[batch, channels, time]` to the same shape."""
        for conv in self.convs:
            x = x + conv(F.leaky_relu(x, SLOPE), memo)
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
        self.rates, self.widths = config.upsample_rates, list[int]()
        self.margins: list[int] = []  # samples on each side that one of a stage's input reaches
        for i, (rate, kernel_size) in enumerate(
            zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True)
        ):
            before, after = width // 2**i, width // 2 ** (i + 1)
            self.ups.append(NormedConvTranspose1d(before, after, kernel_size, rate))
            blocks = [
                block(after, size, dilations)
                for size, dilations in zip(
                    config.resblock_kernel_sizes, config.resblock_dilations, strict=True
                )
            ]
            self.resblocks.extend(blocks)
            self.widths.append(after)
            reach = max(block.reach for block in blocks) + kernel_size
            self.margins.append(-(-reach // rate))
        self.n_parallel = len(config.resblock_kernel_sizes)

    def stage(self, index: int, x: Tensor, source: Tensor | None = None) -> Tensor:
        """Upsample once, and run the residual blocks at the new rate.

        On the CPU, stretches that fit its caches are computed one after another, each with as
        much around it as it depends on, so that the result is that of the whole.

        Args:
            index: Which stage.
            x: `[batch, channels, time]`.
            source: Excitation at the final rate, `[batch, 1, samples]`, for decoders that have it.
        """
        batch, _, time = x.shape
        if batch > 1 or x.device.type != "cpu" or torch.is_grad_enabled():
            return self.blocks(index, self.enter(index, x, source))
        rate, width, margin = self.rates[index], self.widths[index], self.margins[index]
        step = max(TILE // rate, margin)
        samples = 0 if source is None else source.shape[-1] // time
        out = x.new_empty(batch, time * rate, width).transpose(1, 2)
        memo: Memo = {}
        for start in range(0, time, step):
            stop = min(start + step, time)
            left, right = max(start - margin, 0), min(stop + margin, time)
            near = None if source is None else source[..., left * samples : right * samples]
            y = self.blocks(index, self.enter(index, time_major(x[..., left:right]), near), memo)
            kept = slice((start - left) * rate, (stop - left) * rate)
            out[..., start * rate : stop * rate] = y[..., kept]
        return out

    def enter(self, index: int, x: Tensor, source: Tensor | None) -> Tensor:
        """Return what the residual blocks of a stage are given."""
        del source
        up: Tensor = self.ups[index](F.leaky_relu(x, SLOPE))
        return up

    def blocks(self, stage: int, x: Tensor, memo: Memo | None = None) -> Tensor:
        """Return the mean of the parallel residual blocks of one stage."""
        first = stage * self.n_parallel
        total = self.resblocks[first](x, memo)
        for block in self.resblocks[first + 1 : first + self.n_parallel]:
            total = total + block(x, memo)
        return total / self.n_parallel  # type: ignore[no-any-return]
