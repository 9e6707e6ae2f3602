"""What training minimises (VITS, Kim 2021; HiFi-GAN, Kong 2020)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sovits.models.discriminator import Judgement
from sovits.models.encoders import Gaussian
from sovits.types import Mask

FULL_BAND = ((2048, 512, 2048), (1024, 256, 1024), (512, 128, 512))
"""Window, hop and window length (samples) of the full-band STFT loss."""

Total = Callable[[Tensor], Tensor]
"""Adds up what several processes have of a sum that a ratio is made of."""


def alone(x: Tensor) -> Tensor:
    """Return the sum of a process that has no others."""
    return x


def divergence(
    z_prior: Tensor, posterior: Gaussian, prior: Gaussian, mask: Mask, total: Total = alone
) -> Tensor:
    """Return the KL divergence of posterior and prior, summed over channels, per frame."""
    value = prior.log_std - posterior.log_std - 0.5
    value = value + 0.5 * (z_prior - prior.mean).square() * torch.exp(-2 * prior.log_std)
    return per_frame(value, mask, total)


def per_frame(value: Tensor, mask: Mask, total: Total = alone) -> Tensor:
    """Return the sum of `value` over channels, averaged over the frames that are no padding."""
    return total((value * mask).sum()) / total(mask.sum())


def feature_distance(real: Sequence[Judgement], fake: Sequence[Judgement]) -> Tensor:
    """Return how far the discriminators' layers are apart, summed over layers."""
    return torch.stack(
        [
            (a.detach().float() - b.float()).abs().mean()
            for (_, real_layers), (_, fake_layers) in zip(real, fake, strict=True)
            for a, b in zip(real_layers, fake_layers, strict=True)
        ]
    ).sum()


def generator_adversarial(fake: Sequence[Judgement]) -> Tensor:
    """Return how far from 1 the discriminators score what the generator made (LS-GAN)."""
    return torch.stack([(1 - score.float()).square().mean() for score, _ in fake]).sum()


def discriminator_adversarial(real: Sequence[Judgement], fake: Sequence[Judgement]) -> Tensor:
    """Return how far from 1 real sound is scored, and from 0 made sound (LS-GAN)."""
    return torch.stack(
        [(1 - score.float()).square().mean() for score, _ in real]
        + [score.float().square().mean() for score, _ in fake]
    ).sum()


def stft_distance(
    real: Tensor,
    fake: Tensor,
    resolutions: Sequence[tuple[int, int, int]],
    total: Total = alone,
) -> Tensor:
    """Return spectral convergence plus log-magnitude distance of bands (Yamamoto 2020).

    Args:
        real: `[batch, bands, time]`.
        fake: The same shape.
        resolutions: Window, hop and window length (samples) of each comparison.
        total: Adds up sums of several processes.
    """
    distance = real.new_zeros(())
    for n_fft, hop_length, length in resolutions:
        a = _magnitude(real.flatten(0, 1), n_fft, hop_length, length)
        b = _magnitude(fake.flatten(0, 1), n_fft, hop_length, length)
        far = total((a - b).square().sum()) / total(a.square().sum())
        # The root of 0 has no slope.
        distance = distance + far.clamp(min=1e-14).sqrt() + (a.log() - b.log()).abs().mean()
    return distance / len(resolutions)


def _magnitude(wave: Tensor, n_fft: int, hop_length: int, length: int) -> Tensor:
    window = torch.hann_window(length, device=wave.device)
    spectrum = torch.stft(wave, n_fft, hop_length, length, window, return_complex=True)
    return spectrum.abs().square().clamp(min=1e-7).sqrt()
