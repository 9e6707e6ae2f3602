"""Convolutions for inference on the CPU, with time as the slow axis of memory.

The channels of one sample lie side by side, so that matrix products read them as they are. Tensors
keep the shape `[1, channels, time]`; only their strides differ, and a convolution follows those of
what it is given.
"""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 32  # samples of one block of `overlap_save`
MIN_TAPS, MIN_CHANNELS, MIN_TIME = 7, 64, 1024  # from which `overlap_save` is faster (measured)


def time_major(x: Tensor) -> Tensor:
    """Return `[1, channels, time]` with the same numbers, channels side by side in memory."""
    return x.transpose(1, 2).contiguous().transpose(1, 2)


def is_time_major(x: Tensor) -> bool:
    """Return whether a convolution of this module may take `x`, of `[batch, channels, time]`."""
    batch, channels, time = x.shape
    return (
        batch == 1
        and channels > 1 < time
        and x.stride()[1:] == (1, channels)
        and x.device.type == "cpu"
        and not torch.is_grad_enabled()
    )


def conv(x: Tensor, kernel: Tensor, bias: Tensor | None, padding: int, dilation: int) -> Tensor:
    """Do what `conv1d` does, time-major."""
    plane = kernel.unsqueeze(2).contiguous(memory_format=torch.channels_last)
    y = F.conv2d(x.unsqueeze(2), plane, bias, padding=(0, padding), dilation=(1, dilation))
    return y.squeeze(2)


def conv_transpose(
    x: Tensor, kernel: Tensor, bias: Tensor | None, stride: int, padding: int
) -> Tensor:
    """Do what `conv_transpose1d` does, time-major, for an output of `time * stride`.

    What every input sample adds to the output is one matrix product; the parts are shifted by
    the stride and summed.
    """
    n_in, n_out, taps = kernel.shape
    time, hops = x.shape[2], -(-taps // stride)
    spread = F.pad(kernel.permute(0, 2, 1), (0, 0, 0, hops * stride - taps))
    parts = (x[0].t() @ spread.reshape(n_in, -1)).view(time, hops, stride * n_out)
    out = parts.new_zeros(time + hops - 1, stride * n_out)
    for hop in range(hops):
        out[hop : hop + time] += parts[:, hop]
    kept = out.view(-1, n_out)[padding : padding + time * stride]
    return (kept if bias is None else kept + bias).t().unsqueeze(0)


@cache
def _transforms(taps: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return matrices B, G, A for which A ((B x) * (G w)) correlates a block with a kernel.

    x has `BLOCK` samples, w has `taps`, and what comes out are the `BLOCK - taps + 1` sums for
    which the kernel lies inside the block. B and G are discrete Fourier transforms, A an inverse
    one. A product of complex numbers takes three of real numbers (Gauss), so that each bin
    between zero and Nyquist has three rows.
    """
    angle = 2 * math.pi / BLOCK * torch.arange(BLOCK, dtype=torch.float64)
    ends = [torch.cos(bin_ * angle) for bin_ in (0, BLOCK // 2)]
    b, g, a = list(ends), list(ends), [end / BLOCK for end in ends]
    for bin_ in range(1, BLOCK // 2):
        real, imaginary = torch.cos(bin_ * angle), torch.sin(bin_ * angle)
        b += [real - imaginary, real, -imaginary]
        g += [real, imaginary - real, real + imaginary]
        a += [row * 2 / BLOCK for row in (real - imaginary, -imaginary, -real)]
    return (
        torch.stack(b).to(dtype),
        torch.stack(g)[:, :taps].to(dtype),
        torch.stack(a)[:, : BLOCK - taps + 1].t().contiguous().to(dtype),
    )


def pays(x: Tensor, kernel: Tensor) -> bool:
    """Return whether `overlap_save` is faster than `conv`, and the numbers are fine enough."""
    return (
        min(kernel.shape[:2]) >= MIN_CHANNELS
        and kernel.shape[2] >= MIN_TAPS
        and x.shape[2] >= MIN_TIME
        and x.dtype == kernel.dtype != torch.bfloat16
        and not torch.is_autocast_enabled("cpu")
    )


def spectra(kernel: Tensor) -> Tensor:
    """Return `kernel` `[n_out, n_in, taps]` as `overlap_save` needs it, `[rows, n_in, n_out]`."""
    n_out, n_in, taps = kernel.shape
    _, g, _ = _transforms(taps, kernel.dtype)
    return (g @ kernel.permute(2, 1, 0).reshape(taps, -1)).view(-1, n_in, n_out)


def overlap_save(
    x: Tensor, kernel: Tensor, taps: int, bias: Tensor | None, dilation: int
) -> Tensor:
    """Do what `conv1d` with padding to the same length does, in the frequency domain.

    Overlapping blocks are transformed, multiplied bin by bin with the transformed kernel, and
    transformed back (Stockham 1966). Long kernels of many channels take a quarter of the
    multiplications, and each of the steps is a matrix product. In float32 it is as exact as the
    direct sum.

    Args:
        x: `[1, n_in, time]`, time-major.
        kernel: What `spectra` made of it.
        taps: Taps of the kernel, an odd number.
        bias: `[n_out]`.
        dilation: Samples from one tap to the next. Blocks take every `dilation`-th sample.

    Returns:
        `[1, n_out, time]`, time-major.
    """
    rows, n_in, n_out = kernel.shape
    time = x.shape[2]
    b, _, a = _transforms(taps, x.dtype)
    step = BLOCK - taps + 1
    blocks = -(-time // (step * dilation))
    before = (taps - 1) * dilation // 2
    length = (blocks * step + taps - 1) * dilation
    padded = F.pad(x[0].t(), (0, 0, before, length - before - time))
    heard = x.new_empty(dilation, blocks, rows, n_in)
    for phase in range(dilation):
        strides = (step * dilation * n_in, dilation * n_in, 1)
        cut = padded.as_strided((blocks, BLOCK, n_in), strides, phase * n_in)
        torch.bmm(b.expand(blocks, -1, -1), cut, out=heard[phase])
    mixed = torch.bmm(heard.flatten(0, 1).transpose(0, 1), kernel).transpose(0, 1)
    back = a.expand(dilation * blocks, -1, -1)
    y = torch.bmm(back, mixed) if bias is None else torch.baddbmm(bias, back, mixed)
    in_order = y.view(dilation, blocks * step, n_out).transpose(0, 1).reshape(-1, n_out)
    return in_order[:time].t().unsqueeze(0)
