"""Gated residual convolutions conditioned on the speaker (van den Oord 2016, as in WaveGlow)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sovits.models.convolution import NormedConv1d
from sovits.types import Embedding, Mask


class WaveNet(nn.Module):
    """Stack of non-causal gated layers; returns the sum of their skip outputs."""

    def __init__(self, hidden: int, kernel_size: int, n_layers: int, speaker_channels: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.cond_layer = NormedConv1d(speaker_channels, 2 * hidden * n_layers, 1)
        self.in_layers = nn.ModuleList(
            NormedConv1d(hidden, 2 * hidden, kernel_size) for _ in range(n_layers)
        )
        self.res_skip_layers = nn.ModuleList(
            NormedConv1d(hidden, 2 * hidden if i < n_layers - 1 else hidden, 1)
            for i in range(n_layers)
        )

    def forward(self, x: Tensor, mask: Mask, speaker: Embedding) -> Tensor:
        """Map `[batch, hidden, frames]` to the same shape."""
        out = torch.zeros_like(x)
        shifts = self.cond_layer(speaker).split(2 * self.hidden, dim=1)
        last = len(self.in_layers) - 1
        for i, (layer, res_skip) in enumerate(
            zip(self.in_layers, self.res_skip_layers, strict=True)
        ):
            filtered, gate = (layer(x) + shifts[i]).chunk(2, dim=1)
            y = res_skip(torch.tanh(filtered) * torch.sigmoid(gate))
            if i == last:
                out = out + y
            else:
                residual, skip = y.chunk(2, dim=1)
                x = (x + residual) * mask
                out = out + skip
        return out * mask
