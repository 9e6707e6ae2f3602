"""Weight-normalised convolutions (Salimans and Kingma 2016) that can be folded into plain ones.

The parameters are called `weight_g` and `weight_v`, as in every published so-vits-svc model.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sovits.models import time_major

Memo: TypeAlias = "dict[nn.Module, Tensor]"
"""Transformed kernels, for who runs the same convolutions many times."""


class _Normed(nn.Module):
    """A kernel stored as a direction `weight_v` and a length `weight_g` along its first axis."""

    weight_g: nn.Parameter
    weight_v: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, shape: tuple[int, ...], fan_in: int, n_bias: int | None) -> None:
        super().__init__()
        self.folded = False
        bound = fan_in**-0.5
        kernel = torch.empty(shape).uniform_(-bound, bound)
        self.weight_g = nn.Parameter(_length(kernel))
        self.weight_v = nn.Parameter(kernel)
        if n_bias is None:
            self.register_parameter("bias", None)
        else:
            self.bias = nn.Parameter(torch.empty(n_bias).uniform_(-bound, bound))

    def kernel(self) -> Tensor:
        """Return the kernel that the convolution uses."""
        if self.folded:
            kernel: Tensor = self.weight
            return kernel
        if torch.is_grad_enabled() and self.weight_v.requires_grad:
            # The same to the last bit but one, forwards and backwards in a third of the time.
            return torch._weight_norm(self.weight_v, self.weight_g, 0)
        normed: Tensor = self.weight_v * (self.weight_g / _length(self.weight_v))
        return normed

    def set_kernel(self, kernel: Tensor) -> None:
        """Make `kernel` the one that the convolution uses."""
        with torch.no_grad():
            self.weight_v.copy_(kernel)
            self.weight_g.copy_(_length(kernel))

    def fold(self) -> None:
        """Replace direction and length by the kernel itself; training cannot go on from here."""
        if not self.folded:
            weight = nn.Parameter(self.kernel().detach().contiguous(), requires_grad=False)
            del self.weight_g, self.weight_v
            self.weight = weight
            self.folded = True


def _length(kernel: Tensor) -> Tensor:
    length: Tensor = kernel.flatten(1).norm(dim=1)
    return length.view(-1, *[1] * (kernel.dim() - 1))


class NormedConv1d(_Normed):
    """`nn.Conv1d` with weight normalisation."""

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel_size: int,
        stride: int = 1,
        *,
        dilation: int = 1,
        groups: int = 1,
        padding: int | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__(
            (n_out, n_in // groups, kernel_size),
            n_in // groups * kernel_size,
            n_out if bias else None,
        )
        self.stride, self.dilation, self.groups = stride, dilation, groups
        self.padding = (kernel_size - 1) * dilation // 2 if padding is None else padding

    def forward(
        self, x: Tensor, memo: Memo | None = None, *, kernel: Tensor | None = None
    ) -> Tensor:
        """Map `[batch, n_in, time]` to `[batch, n_out, time // stride]`.

        Args:
            x: What is convolved.
            memo: Transformed kernels.
            kernel: `self.kernel()`, from who needs it more than once.
        """
        kernel = self.kernel() if kernel is None else kernel
        if self.stride > 1 or self.groups > 1 or not time_major.is_time_major(x):
            return F.conv1d(
                x, kernel, self.bias, self.stride, self.padding, self.dilation, self.groups
            )
        taps = kernel.shape[2]
        if 2 * self.padding != (taps - 1) * self.dilation or not time_major.pays(x, kernel):
            return time_major.conv(x, kernel, self.bias, self.padding, self.dilation)
        memo = {} if memo is None else memo
        if self not in memo:
            memo[self] = time_major.spectra(kernel)
        return time_major.overlap_save(x, memo[self], taps, self.bias, self.dilation)


class NormedConv2d(_Normed):
    """`nn.Conv2d` over columns: kernels of `(kernel_size, 1)`, with weight normalisation."""

    def __init__(
        self, n_in: int, n_out: int, kernel_size: int, stride: int = 1, *, padding: int = 0
    ) -> None:
        super().__init__((n_out, n_in, kernel_size, 1), n_in * kernel_size, n_out)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor, *, kernel: Tensor | None = None) -> Tensor:
        """Map `[batch, n_in, time, columns]` to `[batch, n_out, time // stride, columns]`."""
        kernel = self.kernel() if kernel is None else kernel
        return F.conv2d(x, kernel, self.bias, (self.stride, 1), (self.padding, 0))


class NormedPlane(_Normed):
    """`nn.Conv2d` over frames and bins, with weight normalisation.

    It sees three frames and nine bins, and keeps the frames and every second bin.
    """

    def __init__(self, n_in: int, n_out: int, dilation: int = 1) -> None:
        super().__init__((n_out, n_in, 3, 9), n_in * 27, n_out)
        self.dilation = dilation

    def forward(self, x: Tensor, *, kernel: Tensor | None = None) -> Tensor:
        """Map `[batch, n_in, frames, bins]` to `[batch, n_out, frames, (bins + 1) // 2]`."""
        kernel = self.kernel() if kernel is None else kernel
        return F.conv2d(x, kernel, self.bias, (1, 2), (self.dilation, 4), (self.dilation, 1))


class NormedConvTranspose1d(_Normed):
    """`nn.ConvTranspose1d` that multiplies time by `stride`, with weight normalisation.

    The first axis of its kernel, along which lengths are taken, holds the input channels.
    """

    def __init__(self, n_in: int, n_out: int, kernel_size: int, stride: int) -> None:
        super().__init__((n_in, n_out, kernel_size), n_out * kernel_size, n_out)
        self.stride, self.padding = stride, (kernel_size - stride) // 2
        self.output_padding = stride + 2 * self.padding - kernel_size

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, n_in, time]` to `[batch, n_out, time * stride]`."""
        if time_major.is_time_major(x):
            return time_major.conv_transpose(x, self.kernel(), self.bias, self.stride, self.padding)
        return F.conv_transpose1d(
            x, self.kernel(), self.bias, self.stride, self.padding, max(self.output_padding, 0)
        )


def fold_weight_norm(network: nn.Module) -> None:
    """Fold every weight-normalised convolution of `network`, in place."""
    for module in network.modules():
        if isinstance(module, _Normed):
            module.fold()
