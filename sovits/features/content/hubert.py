"""HuBERT of the base kind (Hsu et al., 2021), the network of ContentVec and HuBERT-soft."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sovits.errors import WeightsError
from sovits.features.content.hubert_layouts import to_native
from sovits.types import Content, Wave
from sovits.weights import load_into

KERNELS = (10, 3, 3, 3, 3, 2, 2)
STRIDES = (5, 2, 2, 2, 2, 2, 2)
HOP = 320
"""Samples from one frame to the next: the product of the strides."""
FIELD = 400
"""Samples that one frame of the convolutions sees."""
AT_ONCE = 64
"""Frames that the convolutions compute at once."""


class Layer(nn.Module):
    """Transformer layer with normalisation after each half."""

    def __init__(self, width: int, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, inner)
        self.down = nn.Linear(inner, width)
        self.mlp_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return `[batch, frames, width]` for the same."""
        batch, frames, _ = x.shape
        qkv = self.qkv(x).view(batch, frames, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v)
        x = self.attention_norm(x + self.out(attended.transpose(1, 2).flatten(2)))
        out: Tensor = self.mlp_norm(x + self.down(F.gelu(self.up(x))))
        return out


class HubertEncoder(nn.Module):
    """HuBERT up to one of its layers, with a projection after it if the content has one.

    The first convolution is normalised over the whole window that is heard, as in training.

    Args:
        width: Channels of the transformer.
        inner: Channels inside its feed-forward halves.
        layers: Transformer layers before the content is taken.
        heads: Attention heads.
        conv_channels: Channels of the convolutions.
        positional: Channels in one group, and taps, of the positional convolution.
        projected: Channels of the projection; none if 0.
    """

    def __init__(
        self,
        *,
        width: int,
        inner: int,
        layers: int,
        heads: int,
        conv_channels: int,
        positional: tuple[int, int],
        projected: int = 0,
    ) -> None:
        super().__init__()
        per_group, taps = positional
        self.convs = nn.ModuleList(
            nn.Conv1d(conv_channels if index else 1, conv_channels, kernel, stride, bias=False)
            for index, (kernel, stride) in enumerate(zip(KERNELS, STRIDES, strict=True))
        )
        self.group_norm = nn.GroupNorm(conv_channels, conv_channels)
        self.input_norm = nn.LayerNorm(conv_channels)
        self.input_proj = nn.Linear(conv_channels, width)
        self.positional = nn.Conv1d(
            width, width, taps, padding=taps // 2, groups=width // per_group
        )
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(Layer(width, inner, heads) for _ in range(layers))
        self.projection = nn.Linear(width, projected) if projected else nn.Identity()

    def forward(self, wave: Wave) -> Content:
        """Return `[batch, channels, (samples - 80) // 320]` for `[batch, samples]`."""
        x = torch.stack([self._convolve(one) for one in wave])
        x = self.input_proj(self.input_norm(x))
        # An even number of taps gives one frame too many.
        shift = self.positional(x.transpose(1, 2))[..., : x.shape[1]]
        x = self.norm(x + F.gelu(shift).transpose(1, 2))
        for layer in self.layers:
            x = layer(x)
        content: Content = self.projection(x).transpose(1, 2)
        return content

    def _convolve(self, wave: Wave) -> Tensor:
        """Return what the convolutions make of `[samples]`, `[frames, conv_channels]`.

        Their strides are all but their kernels, so that with channels side by side in memory
        they are matrix products. A few frames at a time stay in the processor's caches.
        """
        frames = (len(wave) - FIELD) // HOP + 1
        first, shift = self._normalised_kernel(wave.unfold(0, KERNELS[0], STRIDES[0]))
        rest = [kernel.transpose(1, 2).flatten(1) for kernel in self.convs.parameters()][1:]
        parts = []
        for start in range(0, frames, AT_ONCE):
            stop = min(start + AT_ONCE, frames)
            heard = wave[start * HOP : (stop - 1) * HOP + FIELD]
            x = F.gelu(F.linear(heard.unfold(0, KERNELS[0], STRIDES[0]), first, shift))
            for kernel in rest:
                x = F.gelu(_halve(x, kernel))
            parts.append(x)
        return torch.cat(parts)

    def _normalised_kernel(self, heard: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first kernel and bias after which the group norm has nothing left to do.

        Mean and variance of each channel over time follow from those of the sound, so that the
        channels need not be computed for them.

        Args:
            heard: What the kernel sees at each of its steps, `[steps, taps]`.
        """
        kernel, norm = next(self.convs.parameters())[:, 0].double(), self.group_norm
        mean = heard.double().mean(0)
        apart = heard.double() - mean
        variance = ((kernel @ (apart.T @ apart / len(heard))) * kernel).sum(1)
        scale = norm.weight.double() / (variance + norm.eps).sqrt()
        shift = norm.bias.double() - scale * (kernel @ mean)
        return (scale[:, None] * kernel).to(heard.dtype), shift.to(heard.dtype)


def _halve(x: Tensor, kernel: Tensor) -> Tensor:
    """Convolve `[time, channels]` with a kernel of two or three taps, in steps of two.

    Args:
        x: What to convolve.
        kernel: `[n_out, taps * channels]`.
    """
    channels = x.shape[1]
    steps = (len(x) - kernel.shape[1] // channels) // 2 + 1
    y = F.linear(x[: 2 * steps].view(steps, 2 * channels), kernel[:, : 2 * channels])
    if kernel.shape[1] == 2 * channels:
        return y
    return torch.addmm(y, x[2 : 2 * steps + 1 : 2], kernel[:, 2 * channels :].T)


class HubertContent:
    """HuBERT that hears any stretch of a wave.

    Args:
        encoder: Network.
        pad: Silent samples added to either end of the wave.
    """

    def __init__(self, encoder: HubertEncoder, pad: int = 0) -> None:
        self.encoder, self.pad = encoder, pad

    def count(self, samples: int) -> int:
        """Return how many frames `samples` make: those whose field they fill."""
        return max(0, (samples + 2 * self.pad - FIELD + HOP) // HOP)

    def listen(self, wave: Wave) -> Callable[[int, int], Tensor]:
        """Return a function that gives the samples that some frames see."""
        frames = self.count(wave.shape[0])

        def hear(first: int, stop: int) -> Tensor:
            begin, end = first * HOP - self.pad, (stop - 1) * HOP + FIELD - self.pad
            # The tail makes no frame, but counts in the statistics of the normalisation.
            end = wave.shape[0] + self.pad if stop == frames else end
            heard = wave[max(begin, 0) : end].float()
            return F.pad(heard, (max(-begin, 0), max(end - wave.shape[0], 0)))[None]

        return hear

    def __call__(self, heard: Tensor) -> Content:
        """Return `[1, channels, frames]`."""
        content: Content = self.encoder(heard)
        return content


def load_hubert(
    path: Path,
    channels: int,
    device: torch.device,
    *,
    layers: int = 12,
    projected: bool = False,
    pad: int = 0,
    head_width: int = 64,
    instead: str | None = None,
) -> HubertContent:
    """Read HuBERT in the layout of Hugging Face, fairseq (converted) or bshall.

    Args:
        path: File to read.
        channels: Channels of the content.
        device: Where it computes.
        layers: Transformer layers before the content is taken.
        projected: Whether the file's projection comes after them.
        pad: Silent samples added to either end of the wave.
        head_width: Channels of one attention head.
        instead: What to use if the file could only be read by running code from it.

    Raises:
        WeightsError: The file cannot be read, or is no such HuBERT.
    """
    tensors = to_native(path, instead=instead)
    kept = {
        name: tensor
        for name, tensor in tensors.items()
        if not (name.startswith("layers.") and int(name.split(".")[1]) >= layers)
        and (projected or not name.startswith("projection."))
    }
    network = "a HuBERT encoder"
    try:
        width, conv_channels = kept["input_proj.weight"].shape
        inner = kept["layers.0.up.weight"].shape[0]
        _, per_group, taps = kept["positional.weight"].shape
        made = kept["projection.weight"].shape[0] if projected else width
    except KeyError as missing:
        raise WeightsError.wrong_layout(path, network, f"{missing.args[0]} is not in it") from None
    except ValueError:
        raise WeightsError.wrong_layout(path, network, "a shape in it is wrong") from None
    if made != channels:
        raise WeightsError.wrong_layout(
            path, f"{network} with {channels} channels", f"it has {made} channels"
        )
    with torch.device("meta"):
        encoder = HubertEncoder(
            width=width,
            inner=inner,
            layers=layers,
            heads=max(1, width // head_width),
            conv_channels=conv_channels,
            positional=(per_group, taps),
            projected=channels if projected else 0,
        )
    load_into(encoder, kept, path)
    return HubertContent(encoder.to(device), pad)
