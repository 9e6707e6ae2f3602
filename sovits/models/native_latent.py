"""A variational latent between content and sound (VITS, Kim 2021), for voices that have one.

Whether it earns its cost is measured in docs/native-model.md.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sovits.config import NativeConfig
from sovits.convnext import Frames, Stack
from sovits.models.encoders import Gaussian
from sovits.types import Spectrogram

POSTERIOR_BLOCKS, POSTERIOR_AHEAD = 4, 3
LEAST, MOST = -6.0, 2.0  # natural log of a deviation


class Coupling(nn.Module):
    """Shift half of the channels by what the other half and the speaker tell, frame by frame."""

    def __init__(self, channels: int, width: int, speaker_channels: int) -> None:
        super().__init__()
        self.told = channels // 2
        self.widen = nn.Linear(self.told + speaker_channels, width)
        self.narrow = nn.Linear(width, channels - self.told)
        nn.init.zeros_(self.narrow.weight)
        nn.init.zeros_(self.narrow.bias)

    def forward(self, z: Frames, speaker: Tensor, *, inverse: bool = False) -> Frames:
        """Map `[batch, frames, channels]` to the same, halves swapped.

        `speaker` is `[batch, 1 or frames, channels]`.
        """
        if inverse:
            z = z.roll(self.told, -1)
        kept, moved = z[..., : self.told], z[..., self.told :]
        heard = torch.cat([kept, speaker.expand(-1, z.shape[1], -1)], dim=-1)
        shift = self.narrow(F.silu(self.widen(heard)))
        z = torch.cat([kept, moved - shift if inverse else moved + shift], dim=-1)
        return z if inverse else z.roll(-self.told, -1)


class Latent(nn.Module):
    """Draw from what content tells of the sound; in training, from what the sound itself tells."""

    def __init__(self, config: NativeConfig, n_bins: int, *, posterior: bool) -> None:
        super().__init__()
        width, channels, speaker = config.width, config.latent, config.speaker_channels
        self.prior = nn.Linear(width, 2 * channels)
        self.back = nn.Linear(channels, width)
        self.flow = nn.ModuleList(
            Coupling(channels, width, speaker) for _ in range(config.flow_layers)
        )
        self.posterior = (
            nn.ModuleList(
                [
                    nn.Linear(n_bins, width),
                    Stack(width, (POSTERIOR_AHEAD,) * POSTERIOR_BLOCKS, expansion=2),
                    nn.Linear(width, 2 * channels),
                ]
            )
            if posterior
            else None
        )

    def drawn(self, x: Frames, speaker: Tensor, noise: Frames | None) -> Frames:
        """Return what is added to `[batch, frames, width]`.

        Args:
            x: What content tells.
            speaker: `[batch, 1 or frames, channels]`.
            noise: Deviations from the mean, `[batch, frames, latent]`; None is none.
        """
        mean, log_std = _split(self.prior(x))
        z = mean if noise is None else mean + noise * log_std.exp()
        for coupling in reversed(self.flow):
            z = coupling(z, speaker, inverse=True)
        added: Frames = self.back(z)
        return added

    def forward(
        self, x: Frames, speaker: Tensor, spectrogram: Spectrogram
    ) -> tuple[Frames, Gaussian, Gaussian, Tensor]:
        """Return what is added, prior, posterior and the posterior's sample on the prior's side.

        The last three are `[batch, latent, frames]`.
        """
        if self.posterior is None:
            raise ValueError("A folded synthesizer cannot be trained.")
        first, stack, last = self.posterior
        ahead = POSTERIOR_AHEAD * POSTERIOR_BLOCKS
        heard = first(spectrogram.clamp(min=1e-4).log().transpose(1, 2))
        heard, _ = stack(F.pad(heard, (0, 0, 0, ahead)))
        mean, log_std = _split(last(heard[:, ahead:]))
        z = mean + torch.randn_like(mean) * log_std.exp()
        mapped = z
        for coupling in self.flow:
            mapped = coupling(mapped, speaker)
        prior = Gaussian(*(y.transpose(1, 2) for y in _split(self.prior(x))))
        posterior = Gaussian(mean.transpose(1, 2), log_std.transpose(1, 2))
        return self.back(z), prior, posterior, mapped.transpose(1, 2)


def _split(x: Tensor) -> tuple[Tensor, Tensor]:
    mean, log_std = x.float().chunk(2, dim=-1)
    return mean, log_std.clamp(LEAST, MOST)
