"""Invertible map between posterior and prior (Dinh 2017; mean-only couplings as in VITS)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sovits.config import SynthesizerConfig
from sovits.models.wavenet import WaveNet
from sovits.types import Embedding, Mask

COUPLINGS = 4


class Coupling(nn.Module):
    """Shift one half of the channels by a function of the other; starts as the identity."""

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__()
        half = config.inter_channels // 2
        self.pre = nn.Conv1d(half, config.hidden_channels, 1)
        self.enc = WaveNet(config.hidden_channels, 5, config.flow_layers, config.speaker_channels)
        self.post = nn.Conv1d(config.hidden_channels, half, 1)
        nn.init.zeros_(self.post.weight)
        nn.init.zeros_(self.post.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, mask: Mask, speaker: Embedding, *, inverse: bool) -> Tensor:
        """Map `[batch, inter_channels, frames]` to the same shape, or back."""
        kept, moved = x.chunk(2, dim=1)
        shift = self.post(self.enc(self.pre(kept) * mask, mask, speaker)) * mask
        moved = (moved - shift) * mask if inverse else shift + moved * mask
        return torch.cat([kept, moved], dim=1)


class Flip(nn.Module):
    """Reverse the channels, so that the next coupling shifts the other half."""

    def forward(self, x: Tensor, mask: Mask, speaker: Embedding, *, inverse: bool) -> Tensor:
        """Map `[batch, inter_channels, frames]` to the same shape; its own inverse."""
        del mask, speaker, inverse
        return x.flip(1)


class Flow(nn.Module):
    """Couplings and flips in turn."""

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__()
        self.flows = nn.ModuleList(
            step for _ in range(COUPLINGS) for step in (Coupling(config), Flip())
        )

    def forward(
        self, z: Tensor, mask: Mask, speaker: Embedding, *, inverse: bool = False
    ) -> Tensor:
        """Map posterior latents to prior latents, or back if `inverse`."""
        for step in reversed(self.flows) if inverse else self.flows:
            z = step(z, mask, speaker, inverse=inverse)
        return z
