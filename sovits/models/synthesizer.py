"""The VITS synthesizer of so-vits-svc 4.0 and its fork, state-dict compatible.

Kim 2021 (VITS) with content in place of text, a pitch table, and a pitch predictor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sovits.config import AudioConfig, SynthesizerConfig
from sovits.models.convolution import fold_weight_norm
from sovits.models.decoders import harmonic
from sovits.models.decoders.harmonic import HarmonicDecoder
from sovits.models.decoders.istft import istft_decoder
from sovits.models.decoders.nsf_hifigan import NsfHifiGan
from sovits.models.decoders.source import frame_phases
from sovits.models.encoders import (
    F0Decoder,
    Gaussian,
    PosteriorEncoder,
    PriorEncoder,
    centred_log_f0,
    from_log_f0,
    log_f0,
)
from sovits.models.flow import Flow
from sovits.models.noise import NoiseSource
from sovits.models.speakers import conditioning
from sovits.types import (
    F0,
    Content,
    Embedding,
    Mask,
    Shares,
    Speaker,
    Spectrogram,
    Voiced,
    Volume,
    Wave,
)

WINDOW = 1024  # frames decoded at once


class TrainBatch(NamedTuple):
    """What one training step sees of each clip; every feature covers the same frames."""

    content: Content
    f0: F0
    voiced: Voiced
    volume: Volume
    spectrogram: Spectrogram
    speaker: Speaker
    mask: Mask
    start: Tensor
    """First frame of the segment that is decoded, int64, `[batch]`."""
    formants: Tensor
    """Factor by which the clip was played faster, and its formants moved, `[batch]`."""


class TrainOutput(NamedTuple):
    """What the losses compare."""

    wave: Wave
    """Decoded segments, `[batch, 1, samples]`."""
    bands: Tensor | None
    """Their sub-bands, of the decoders that have them."""
    prior: Gaussian
    posterior: Gaussian
    z_prior: Tensor
    """Posterior sample, mapped to the prior's side."""
    predicted_log_f0: Tensor | None
    log_f0: Tensor


class Synthesizer(nn.Module):
    """Sing content at a pitch in a speaker's voice."""

    def __init__(
        self, config: SynthesizerConfig, audio: AudioConfig, *, posterior: bool = True
    ) -> None:
        super().__init__()
        self.config, self.audio = config, audio
        hidden = config.hidden_channels
        self.emb_g = nn.Embedding(config.n_speakers, config.speaker_channels)
        self.pre = nn.Conv1d(config.content_channels, hidden, 5, padding=2)
        self.enc_p = PriorEncoder(config)
        self.dec = _decoder(config, audio)
        self.enc_q = PosteriorEncoder(config, audio.n_bins) if posterior else None
        self.flow = Flow(config)
        self.f0_decoder = F0Decoder(config) if config.predicts_f0 else None
        self.emb_uv = nn.Embedding(2, hidden)
        self.emb_vol = nn.Linear(1, hidden) if config.volume else None
        self.reach = decoder_reach(config, audio)

    def fold(self) -> Synthesizer:
        """Make it ready to convert: no posterior, no weight normalisation, no dropout."""
        self.enc_q = None
        fold_weight_norm(self)
        return self.eval().requires_grad_(False)

    @torch.inference_mode()
    def infer(
        self,
        content: Content,
        f0: F0,
        voiced: Voiced,
        speaker: Speaker | Shares,
        *,
        volume: Volume | None = None,
        noise_scale: float = 0.4,
        predict_f0: bool = False,
        deterministic: bool = False,
        noise: NoiseSource | None = None,
        phase: Tensor | None = None,
        kept: slice | None = None,
        formants: float = 1.0,
    ) -> Wave:
        """Return sound, `[1, frames * hop_length]`.

        Args:
            content: `[1, channels, frames]` at the voice's frame rate.
            f0: Hz, `[1, frames]`.
            voiced: `[1, frames]`, bool or 0/1.
            speaker: Row of the speaker table, int64, `[1]`; or shares of all rows, float,
                `[1, rows, 1 or frames]`.
            volume: `[1, frames]`; needed by voices that hear loudness.
            noise_scale: Standard deviations of the prior to draw from; 0 takes its mean.
            predict_f0: Let the F0 decoder choose the melody.
            deterministic: No noise anywhere, and every harmonic starts at phase zero.
            noise: Where noise comes from; seed 0 if not given.
            phase: Phase of the fundamental before the first sample (cycles), `[1]`.
            kept: Frames of which sound is returned; all if not given. The others are heard.
            formants: Factor on the frequency of what shapes the sound; this network has only 1.

        Raises:
            ValueError: Loudness or the F0 decoder is needed but absent, or formants are to move.
        """
        if formants != 1.0:
            raise ValueError("This synthesizer cannot move formants.")
        training, self.training = self.training, False
        if training:
            self.eval()
        drawn = None if deterministic else noise or NoiseSource()
        frames = content.shape[-1]
        mask = content.new_ones(1, 1, frames)
        g = conditioning(self.emb_g, speaker).transpose(1, 2)
        x = self._prenet(content, voiced, volume, mask)
        if predict_f0:
            f0 = self.predict_f0(x, f0, voiced, mask, g)
        prior = self.enc_p(x, f0, mask)
        z = prior.mean
        if drawn is not None and noise_scale:
            sample = drawn.latent(self.config.inter_channels, frames).to(z)
            z = z + sample * prior.log_std.exp() * noise_scale
        z = self.flow(z, mask, g, inverse=True)
        first, last, _ = (kept or slice(None)).indices(frames)
        wave = self._decode_stretch(z, g, f0, phase, drawn, first, last)
        if training:
            self.train()
        return wave.to(content.dtype)

    @torch.inference_mode()
    def melody(
        self,
        content: Content,
        f0: F0,
        voiced: Voiced,
        speaker: Speaker | Shares,
        *,
        volume: Volume | None = None,
    ) -> F0:
        """Return the pitch that `infer` sings with `predict_f0`, `[1, frames]` in Hz.

        Arguments are those of `infer`.

        Raises:
            ValueError: Loudness or the F0 decoder is needed but absent.
        """
        mask = content.new_ones(1, 1, content.shape[-1])
        x = self._prenet(content, voiced, volume, mask)
        g = conditioning(self.emb_g, speaker).transpose(1, 2)
        return self.predict_f0(x, f0, voiced, mask, g)

    def predict_f0(self, x: Tensor, f0: F0, voiced: Voiced, mask: Mask, speaker: Embedding) -> F0:
        """Return the melody that the voice would give to `x`, `[batch, frames]` in Hz."""
        if self.f0_decoder is None:
            raise ValueError("This synthesizer has no F0 decoder.")
        centred = centred_log_f0(f0, voiced, mask)
        with torch.autocast(x.device.type, enabled=False):
            value = self.f0_decoder(x.to(f0.dtype), centred, mask, speaker)
            return from_log_f0(value).squeeze(1).clamp(min=1.0)

    def forward(self, batch: TrainBatch, segment_frames: int) -> TrainOutput:
        """Encode, sample the posterior, and decode a segment of each clip."""
        if self.enc_q is None:
            raise ValueError("A folded synthesizer cannot be trained.")
        mask, g = batch.mask, self.emb_g(batch.speaker).unsqueeze(-1)
        x = self._prenet(batch.content, batch.voiced, batch.volume, mask)
        target = log_f0(batch.f0).unsqueeze(1)
        predicted = None
        if self.f0_decoder is not None:
            # Stretching the melody's excursions keeps the predictor from copying it.
            stretch = torch.empty(len(x), 1, 1, device=x.device).uniform_(0.8, 1.2)
            centred = centred_log_f0(batch.f0, batch.voiced, mask) * stretch
            predicted = self.f0_decoder(x, centred, mask, g)
        prior = self.enc_p(x, batch.f0, mask)
        posterior = self.enc_q(batch.spectrogram, mask, g)
        noise = torch.randn_like(posterior.mean)
        z = (posterior.mean + noise * posterior.log_std.exp()) * mask
        z_prior = self.flow(z, mask, g)
        segment = slice_frames(z, batch.start, segment_frames)
        f0 = slice_frames(batch.f0.unsqueeze(1), batch.start, segment_frames).squeeze(1)
        wave, bands = self._decode(segment, g, f0, None, None)
        return TrainOutput(wave, bands, prior, posterior, z_prior, predicted, target)

    def _prenet(
        self, content: Content, voiced: Voiced, volume: Volume | None, mask: Mask
    ) -> Tensor:
        x: Tensor = self.pre(content) * mask + self.emb_uv(voiced.long()).transpose(1, 2)
        if self.emb_vol is not None:
            if volume is None:
                raise ValueError("This synthesizer needs the volume of each frame.")
            x = x + self.emb_vol(volume.unsqueeze(-1)).transpose(1, 2)
        return x

    def _decode_stretch(
        self,
        z: Tensor,
        speaker: Embedding,
        f0: F0,
        phase: Tensor | None,
        noise: NoiseSource | None,
        first: int,
        last: int,
    ) -> Wave:
        """Return the sound of frames `first` to before `last`, `[batch, samples]`."""
        hop = self.audio.hop_length
        phases = frame_phases(f0, self.audio.sample_rate, hop, phase)
        parts = []
        for start, stop, begin, end in windows(first, last, z.shape[-1], self.reach):
            drawn = None if noise is None else NoiseSource(noise.seed, noise.start + start)
            g = speaker[..., start:stop] if speaker.shape[-1] > 1 else speaker
            wave, _ = self._decode(
                z[..., start:stop], g, f0[:, start:stop], phases[:, start], drawn
            )
            parts.append(wave[:, 0, (begin - start) * hop : (end - start) * hop])
        return torch.cat(parts, dim=-1)

    def _decode(
        self,
        z: Tensor,
        speaker: Embedding,
        f0: F0,
        phase: Tensor | None,
        noise: NoiseSource | None,
    ) -> tuple[Wave, Tensor | None]:
        if isinstance(self.dec, NsfHifiGan | HarmonicDecoder):
            return self.dec(z, speaker, f0, phase=phase, noise=noise), None
        wave, bands = self.dec(z)
        return wave, bands


def _decoder(config: SynthesizerConfig, audio: AudioConfig) -> nn.Module:
    if config.decoder == "hifi-gan":
        return NsfHifiGan(config, audio.sample_rate, audio.hop_length)
    if config.decoder == "harmonic":
        return HarmonicDecoder(config, audio)
    return istft_decoder(config)


def decoder_reach(config: SynthesizerConfig, audio: AudioConfig) -> int:
    """Return how many frames on each side one decoded sample depends on, or a few more."""
    if config.decoder == "harmonic":
        convolutions = (harmonic.BLOCKS + 1) * (harmonic.KERNEL // 2)
        return convolutions + math.ceil(audio.n_fft / audio.hop_length)
    total, rate = 3.0, 1  # of the first convolution
    for factor, taps in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
        total += taps / factor / rate
        rate *= factor
        blocks = zip(config.resblock_kernel_sizes, config.resblock_dilations, strict=True)
        total += max((size - 1) / 2 * (sum(steps) + len(steps)) for size, steps in blocks) / rate
    # What follows the last stage: a convolution, a short inverse STFT, and filters of 63 taps.
    total += (3 + config.istft_n_fft / config.istft_hop_length) / rate + 63 / audio.hop_length
    return math.ceil(total) + 1


def usual_length(frames: int) -> int:
    """Return the next of the few lengths that networks should meet.

    For each new length the CPU's convolutions keep tens of MB, and never give them back.

    >>> [usual_length(frames) for frames in (1, 64, 65, 513, 1025)]
    [64, 64, 128, 640, 1152]
    """
    step = WINDOW // 8 if frames > WINDOW // 2 else WINDOW // 16
    return -(-frames // step) * step


def windows(first: int, last: int, frames: int, reach: int) -> Iterator[tuple[int, int, int, int]]:
    """Cut frames into windows to decode, with what their sound depends on.

    Their lengths are usual ones, unless all frames together are fewer.

    Yields:
        Where a window starts and stops, and the first and last frame of which it gives the sound.

    >>> list(windows(40, 90, 192, 16))
    [(24, 152, 40, 90)]
    """
    longest = max(WINDOW, 4 * reach)
    while first < last:
        start, wanted = max(0, first - reach), min(last + reach, frames)
        length = min(usual_length(min(wanted - start, longest)), frames)
        stop = min(start + length, frames)
        start = stop - length
        end = last if stop >= wanted else stop - reach
        yield start, stop, first, end
        first = end


def slice_frames(x: Tensor, start: Tensor, frames: int) -> Tensor:
    """Return `frames` steps of each item of `[batch, channels, time]` from its own start on."""
    index = start[:, None] + torch.arange(frames, device=x.device)
    return x.gather(2, index.unsqueeze(1).expand(-1, x.shape[1], -1))
