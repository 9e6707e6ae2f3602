"""`sovits-native`: a light synthesizer that streams.

ConvNeXt blocks at frame rate (Vocos, Siuzdak 2023) tell how to shape a band-limited pulse train at
the pitch and white noise (harmonics plus noise, Serra 1989). What they tell of the harmonics is a
smooth envelope, made a minimum-phase filter, as a vocal tract is one: so pitch is exact, no bin
flutters, and formants move by moving the envelope. Noise is shaped four times as often as the
harmonics, as consonants are short.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sovits.config import AudioConfig, NativeConfig
from sovits.convnext import Frames, Past, Stack, spread
from sovits.models.encoders import Gaussian
from sovits.models.native_latent import Latent
from sovits.models.noise import NoiseSource
from sovits.models.shaping import Shaper, ShaperPast, Shapes
from sovits.models.speakers import conditioning
from sovits.models.synthesizer import TrainBatch, TrainOutput
from sovits.types import F0, Content, Shares, Speaker, Voiced, Volume, Wave

PITCHES = 32  # bumps that code the pitch
LOWEST, HIGHEST = 40.0, 2000.0  # pitch that the code covers (Hz)
QUIET = 1e-5  # RMS that counts as silence
MARGIN = 2  # frames rendered around a training segment, and cut off
CHUNK = 1024  # frames computed at once


class NativePast(NamedTuple):
    """What a stream remembers; hand back what the last call returned."""

    prior: list[Past]
    decoder: list[Past]
    shaper: ShaperPast


class NativeSynthesizer(nn.Module):
    """Sing content at a pitch in a speaker's voice, `config.look_ahead` frames late."""

    def __init__(self, config: NativeConfig, audio: AudioConfig, *, posterior: bool = True) -> None:
        super().__init__()
        self.config, self.audio = config, audio
        width = config.width
        self.emb_g = nn.Embedding(config.n_speakers, config.speaker_channels)
        self.content = nn.Linear(config.content_channels, width)
        self.pitch = nn.Linear(PITCHES + 1, width)
        self.loudness = nn.Linear(2, width)
        ahead = config.look_ahead - MARGIN
        self.prior = Stack(
            width, spread(ahead, config.prior_blocks), config.kernel_size, config.expansion
        )
        self.prior_speaker = nn.Linear(config.speaker_channels, width)
        self.latent = Latent(config, audio.n_bins, posterior=posterior) if config.latent else None
        self.decoder = Stack(
            width, (0,) * config.decoder_blocks, config.kernel_size, config.expansion
        )
        self.decoder_speaker = nn.Linear(config.speaker_channels, width)
        self.norm = nn.LayerNorm(width)
        self.shaper = Shaper(config, audio)

    def fold(self) -> NativeSynthesizer:
        """Make it ready to convert: no posterior, no gradients."""
        if self.latent is not None:
            self.latent.posterior = None
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
        deterministic: bool = False,
        noise: NoiseSource | None = None,
        phase: Tensor | None = None,
        kept: slice | None = None,
        formants: float = 1.0,
    ) -> Wave:
        """Return sound, `[1, frames * hop_length]`: the whole is a stream of a few chunks.

        Args:
            content: `[1, channels, frames]` at the voice's frame rate.
            f0: Hz, `[1, frames]`.
            voiced: `[1, frames]`, bool or 0/1.
            speaker: Row of the speaker table, int64, `[1]`; or shares of all rows, float,
                `[1, rows, 1 or frames]`.
            volume: Root mean square of each frame, `[1, frames]`.
            noise_scale: Standard deviations of the prior to draw from, of voices with a latent.
            deterministic: No noise anywhere.
            noise: Where noise comes from; seed 0 if not given.
            phase: Phase of the fundamental before the first sample (cycles), `[1]`.
            kept: Frames of which sound is returned; all if not given. The others are heard.
            formants: Factor on the frequency of what shapes the sound; above 1 is a smaller body.

        Raises:
            ValueError: There is no volume.
        """
        frames, ahead = content.shape[-1], self.config.look_ahead
        first, last, _ = (kept or slice(None)).indices(frames)
        source = None if deterministic else noise or NoiseSource()
        said, pitch, heard = (prolonged(x, ahead) for x in (content, f0, voiced))
        loudness = None if volume is None else prolonged(volume, ahead)
        who, changes = speaker, speaker.dim() == 3 and speaker.shape[-1] > 1
        if changes:  # told of the frames that come out
            who = torch.cat([speaker[..., :1].expand(-1, -1, ahead), speaker], dim=-1)
        past, parts = None, []
        for begin in range(0, frames + ahead, CHUNK):
            now = slice(begin, begin + CHUNK)
            wave, past = self.stream(
                said[..., now],
                pitch[:, now],
                heard[:, now],
                who[..., now] if changes else who,
                volume=None if loudness is None else loudness[:, now],
                past=past,
                noise_scale=0.0 if deterministic else noise_scale,
                noise=source and NoiseSource(source.seed, source.start + begin),
                phase=phase if begin == 0 else None,
                formants=formants,
            )
            parts.append(wave)
        hop = self.audio.hop_length
        wave = torch.cat(parts, dim=-1)[:, (first + ahead) * hop : (last + ahead) * hop]
        return wave.to(content.dtype)

    def stream(
        self,
        content: Content,
        f0: F0,
        voiced: Voiced,
        speaker: Speaker | Shares,
        *,
        volume: Volume | None,
        past: NativePast | None = None,
        noise_scale: float = 0.4,
        noise: NoiseSource | None = None,
        phase: Tensor | None = None,
        formants: float = 1.0,
    ) -> tuple[Wave, NativePast]:
        """Return the sound of as many frames as are given, `look_ahead` frames late.

        The first `look_ahead` frames of a stream are silence or less; a stream ends by giving it
        as many more frames. Arguments are those of `infer`, and `past`: what the last call
        returned, None to begin. `noise` starts at the first frame that is given, and shares in
        `speaker` are of the frames whose sound is returned.
        """
        g = conditioning(self.emb_g, speaker)
        x, prior = self.prior(
            self._inputs(content, f0, voiced, volume),
            past and past.prior,
            self.prior_speaker(g),
        )
        if self.latent is not None:
            drawn = None
            if noise is not None and noise_scale:
                sample = noise.latent(self.config.latent, content.shape[-1])
                drawn = sample.to(x).transpose(1, 2) * noise_scale
            x = x + self.latent.drawn(x, g, drawn)
        x, decoder = self.decoder(x, past and past.decoder, self.decoder_speaker(g))
        with torch.autocast(x.device.type, enabled=False):
            shapes = self.shaper.shapes(self.norm(x.float()))
            wave, shaper = self.shaper.stream(
                shapes, f0.float(), past and past.shaper, noise=noise, phase=phase, scale=formants
            )
        return wave, NativePast(prior, decoder, shaper)

    def forward(self, batch: TrainBatch, segment_frames: int) -> TrainOutput:
        """Render a segment of each clip."""
        ahead = self.config.look_ahead - MARGIN
        g = conditioning(self.emb_g, batch.speaker)
        given = (batch.content, batch.f0, batch.voiced, batch.volume)
        x, _ = self.prior(
            self._inputs(*(prolonged(x, ahead) for x in given)),
            shift=self.prior_speaker(g),
        )
        x = x[:, ahead:]
        zero = x.new_zeros(())
        prior = posterior = Gaussian(zero, zero)
        z_prior = zero
        if self.latent is not None:
            change, prior, posterior, z_prior = self.latent(x, g, batch.spectrogram)
            x = x + change
        x, _ = self.decoder(x, shift=self.decoder_speaker(g))
        x, f0 = segment(batch.start, segment_frames, x, batch.f0)
        with torch.autocast(x.device.type, enabled=False):
            shapes: Shapes = self.shaper.shapes(self.norm(x.float()))
            phase = torch.rand(len(f0), device=f0.device)
            wave = self.shaper(shapes, f0.float(), phase, batch.formants)
        hop = self.audio.hop_length
        wave = wave[:, None, MARGIN * hop : (MARGIN + segment_frames) * hop]
        return TrainOutput(wave, None, prior, posterior, z_prior, None, zero)

    def _inputs(self, content: Content, f0: F0, voiced: Voiced, volume: Volume | None) -> Frames:
        """Return `[batch, frames, width]`."""
        if volume is None:
            raise ValueError("This synthesizer needs the volume of each frame.")
        heard = voiced.to(content.dtype)[..., None]
        loud = volume.float().clamp(min=QUIET).log()[..., None] / 4 + 1
        x: Tensor = self.content(content.transpose(1, 2))
        code = torch.cat([pitch_code(f0.float()) * heard, heard], dim=-1)
        x = x + self.pitch(code.to(x.dtype))
        told: Frames = x + self.loudness(torch.cat([loud, loud.square()], dim=-1).to(x.dtype))
        return told


def pitch_code(f0: F0) -> Tensor:
    """Return how near the pitch is to each of `PITCHES` notes, `[..., frames, PITCHES]`."""
    span = math.log2(HIGHEST / LOWEST)
    place = (f0.clamp(LOWEST, HIGHEST) / LOWEST).log2() / span * (PITCHES - 1)
    notes = torch.arange(PITCHES, device=f0.device)
    return torch.exp(-0.5 * (place[..., None] - notes).square())


def segment(start: Tensor, frames: int, *inputs: Tensor) -> list[Tensor]:
    """Return the frames of a segment of each clip, and `MARGIN` more on either side.

    Args:
        start: First frame, int64, `[batch]`.
        frames: Length.
        inputs: `[batch, frames, ...]`; their ends are repeated.
    """
    steps = torch.arange(-MARGIN, frames + MARGIN, device=start.device)
    index = (start[:, None] + steps).clamp(0, inputs[0].shape[1] - 1)
    picked = []
    for x in inputs:
        place = index.view(*index.shape, *[1] * (x.dim() - 2))
        picked.append(x.gather(1, place.expand(*index.shape, *x.shape[2:])))
    return picked


def prolonged(x: Tensor, frames: int) -> Tensor:
    """Return `x` with its last frame repeated."""
    return torch.cat([x, x[..., -1:].expand(*x.shape[:-1], frames)], dim=-1)
