"""Small filter banks: the decoders' inverse STFT and the pseudo-QMF bank (Nguyen 1994)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PQMF_TAPS, PQMF_CUTOFF, PQMF_BETA = 62, 0.15, 9.0


class InverseStft(nn.Module):
    """Inverse STFT with a periodic Hann window, centred frames, as one transposed convolution.

    It has no complex numbers, so it runs wherever a convolution does.
    """

    basis: Tensor
    power: Tensor

    def __init__(self, n_fft: int, hop_length: int) -> None:
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        bins = n_fft // 2 + 1
        steps = torch.arange(n_fft, dtype=torch.float64)
        angle = 2 * math.pi / n_fft * steps[:bins, None] * steps
        # Bins between 0 and Nyquist stand for their mirror images too.
        twice = torch.full((bins, 1), 2.0, dtype=torch.float64)
        twice[0] = twice[-1] = 1.0
        window = torch.hann_window(n_fft, dtype=torch.float64)
        real = twice * torch.cos(angle) / n_fft * window
        imaginary = -twice * torch.sin(angle) / n_fft * window
        basis = torch.cat([real, imaginary])[:, None].float()
        self.register_buffer("basis", basis, persistent=False)
        self.register_buffer("power", window.square()[None, None].float(), persistent=False)

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """Map `[batch, bins, frames]` to `[batch, 1, (frames - 1) * hop_length]`."""
        spectrum = torch.cat([magnitude * torch.cos(phase), magnitude * torch.sin(phase)], dim=1)
        wave = F.conv_transpose1d(spectrum, self.basis.to(spectrum), stride=self.hop_length)
        ones = spectrum.new_ones(1, 1, spectrum.shape[-1])
        overlap = F.conv_transpose1d(ones, self.power.to(spectrum), stride=self.hop_length)
        edge = self.n_fft // 2
        return (wave / overlap.clamp(min=1e-11))[..., edge : wave.shape[-1] - edge]


def interleave(bands: Tensor, kernel: Tensor) -> Tensor:
    """Upsample bands by zero insertion, scaled to keep their level, and filter their sum.

    Skips the multiplications by the inserted zeros.

    Args:
        bands: `[batch, bands, time]`.
        kernel: Filter of each band as a correlation, `[1, bands, taps]`, taps odd.

    Returns:
        `[batch, 1, time * bands]`.
    """
    n, half, time = bands.shape[1], kernel.shape[-1] // 2, bands.shape[-1]
    full = F.conv_transpose1d(bands * n, kernel.flip(-1).transpose(0, 1), stride=n)
    needed = half + time * n
    return F.pad(full, (0, max(0, needed - full.shape[-1])))[..., half:needed]


class Pqmf(nn.Module):
    """Pseudo-quadrature mirror filters that split sound into bands and put it together again."""

    analysis: Tensor
    synthesis: Tensor

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.bands = bands
        n = torch.arange(PQMF_TAPS + 1, dtype=torch.float64) - PQMF_TAPS / 2
        ideal = PQMF_CUTOFF * torch.sinc(PQMF_CUTOFF * n)
        window = torch.kaiser_window(
            PQMF_TAPS + 1, periodic=False, beta=PQMF_BETA, dtype=torch.float64
        )
        k = torch.arange(bands, dtype=torch.float64)[:, None]
        # Half a sample off the middle, unlike Nguyen's bank, in which joining undoes splitting:
        # so-vits-svc-fork has it so, and its mb-istft models are trained on it.
        angle = (2 * k + 1) * math.pi / (2 * bands) * (n + 0.5)
        shift = torch.where(k % 2 == 0, math.pi / 4, -math.pi / 4)
        prototype = 2 * ideal * window
        self.register_buffer(
            "analysis", (prototype * torch.cos(angle + shift))[:, None].float(), persistent=False
        )
        self.register_buffer(
            "synthesis", (prototype * torch.cos(angle - shift))[None].float(), persistent=False
        )

    def split(self, wave: Tensor) -> Tensor:
        """Map `[batch, 1, samples]` to `[batch, bands, samples // bands]`."""
        return F.conv1d(wave, self.analysis.to(wave), stride=self.bands, padding=PQMF_TAPS // 2)

    def join(self, bands: Tensor) -> Tensor:
        """Map `[batch, bands, time]` to `[batch, 1, time * bands]`."""
        return interleave(bands, self.synthesis.to(bands))
