"""Decoders that end in an inverse STFT (Kaneko 2022; multi-stream and multi-band, Kawamura 2023).

Pitch and speaker reach the sound through the latent alone.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sovits.config import SynthesizerConfig
from sovits.models.convolution import NormedConv1d
from sovits.models.decoders.filterbank import InverseStft, Pqmf, interleave
from sovits.models.decoders.upsampler import LAST_SLOPE, Upsampler
from sovits.types import Wave

STREAM_TAPS = 63


class _SpectralUpsampler(Upsampler):
    """Upsample the latent to the frames of a short inverse STFT, of one or several bands."""

    def __init__(self, config: SynthesizerConfig, bands: int) -> None:
        super().__init__(config)
        self.n_spectral_bands, self.bins = bands, config.istft_n_fft // 2 + 1
        self.inverse = InverseStft(config.istft_n_fft, config.istft_hop_length)

    def last(self) -> NormedConv1d:
        """Return the last convolution, which each decoder names after its kind."""
        raise NotImplementedError

    def head(self, width: int) -> NormedConv1d:
        """Make the last convolution: magnitude and phase of each bin of each band."""
        return NormedConv1d(width, self.n_spectral_bands * 2 * self.bins, 7)

    def bands(self, z: Tensor) -> Tensor:
        """Map the latent to sound, `[batch, bands, time]`."""
        x = self.conv_pre(z)
        for index in range(len(self.ups)):
            x = self.stage(index, x)
        x = self.last()(F.pad(F.leaky_relu(x, LAST_SLOPE), (1, 0), mode="reflect"))
        with torch.autocast(x.device.type, enabled=False):
            x = x if x.dtype == torch.float64 else x.float()
            spectra = x.unflatten(1, (self.n_spectral_bands, -1)).flatten(0, 1)
            magnitude, turn = spectra.split(self.bins, dim=1)
            wave: Tensor = self.inverse(magnitude.exp(), math.pi * turn.sin())
        bands: Tensor = wave.unflatten(0, (-1, self.n_spectral_bands))
        return bands.squeeze(2)


class IstftDecoder(_SpectralUpsampler):
    """One full-band inverse STFT."""

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__(config, 1)
        self.conv_post = self.head(self.widths[-1])

    def last(self) -> NormedConv1d:
        """Return `conv_post`."""
        return self.conv_post

    def forward(self, z: Tensor) -> tuple[Wave, None]:
        """Map the latent `[batch, inter_channels, frames]` to sound, `[batch, 1, samples]`."""
        return self.bands(z), None


class MultiStreamDecoder(_SpectralUpsampler):
    """Sub-bands joined by learned filters."""

    updown_filter: Tensor

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__(config, config.subbands)
        self.subband_conv_post = self.head(self.widths[-1])
        # Kept because published models hold it: where zero insertion puts each band's samples.
        filters = torch.zeros(config.subbands, config.subbands, config.subbands)
        filters[range(config.subbands), range(config.subbands), 0] = 1.0
        self.register_buffer("updown_filter", filters)
        self.multistream_conv_post = NormedConv1d(config.subbands, 1, STREAM_TAPS, bias=False)

    def last(self) -> NormedConv1d:
        """Return `subband_conv_post`."""
        return self.subband_conv_post

    def forward(self, z: Tensor) -> tuple[Wave, Tensor]:
        """Map the latent to sound `[batch, 1, samples]`, and to its bands."""
        bands = self.bands(z)
        return interleave(bands, self.multistream_conv_post.kernel().to(bands)), bands


class MultiBandDecoder(_SpectralUpsampler):
    """Sub-bands joined by fixed pseudo-quadrature mirror filters."""

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__(config, config.subbands)
        self.subband_conv_post = self.head(self.widths[-1])
        self.pqmf = Pqmf(config.subbands)

    def last(self) -> NormedConv1d:
        """Return `subband_conv_post`."""
        return self.subband_conv_post

    def forward(self, z: Tensor) -> tuple[Wave, Tensor]:
        """Map the latent to sound `[batch, 1, samples]`, and to its bands."""
        bands = self.bands(z)
        return self.pqmf.join(bands), bands


def istft_decoder(config: SynthesizerConfig) -> nn.Module:
    """Return the decoder that `config.decoder` names."""
    kinds = {
        "istft": IstftDecoder,
        "ms-istft": MultiStreamDecoder,
        "mb-istft": MultiBandDecoder,
    }
    return kinds[config.decoder](config)
