"""`sovits-vocoder`: from a mel spectrogram and a pitch to sound, with the light synthesizer's head.

What the mel spectrogram says of the spectrum's envelope is known before anything is learnt: the
network begins with it, and learns what the bands do not tell, which is how much of each is breath,
where an envelope lies between harmonics, and what is shorter than a frame.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sovits.audio.mel import (
    FLOOR,
    POWER_FLOOR,
    VOCODER_MEL,
    VOCODER_POWER_FLOOR,
    LogMel,
    hz_to_mel,
)
from sovits.config import AudioConfig, VocoderConfig
from sovits.convnext import Frames, Past, Stack, spread
from sovits.errors import ConfigError, RefinerError
from sovits.models.encoders import Gaussian
from sovits.models.native import CHUNK, MARGIN, PITCHES, pitch_code, prolonged, segment
from sovits.models.noise import NoiseSource
from sovits.models.shaping import NOISE_TILT_HZ, STEPS, TILT_HZ, Shaper, ShaperPast
from sovits.models.synthesizer import TrainBatch, TrainOutput
from sovits.network_file import read_network, write_network
from sovits.types import F0, Mel, Wave
from sovits.weights import ASSETS

VOCODER_FILE = ASSETS / "vocoder.safetensors"
"""The vocoder that is bundled; made by tools/pretrain/vocoder.py."""

CENTRE, SPAN = -5.0, 3.0  # of what the network reads (natural log)
BREATH = -1.0  # natural log of the share of a band that begins as noise
WIDTH_HZ, RELATIVE_WIDTH = 180.0, 0.03  # of what a partial fills in bands, with its window
LOWEST_HZ = 20.0  # pitch below which a frame has none; what there is instead is held


class VocoderPast(NamedTuple):
    """What a stream remembers; hand back what the last call returned."""

    body: list[Past]
    known: Frames
    """What bands tell of frames whose sound is still to come."""
    shaper: ShaperPast


class Vocoder(nn.Module):
    """Make a mel spectrogram audible at a pitch, `config.look_ahead` frames late.

    Args:
        config: Shape of the network.
        audio: Rates, and bands of the mel spectrogram.

    Raises:
        ConfigError: The window is not four hops.
    """

    envelope: Tensor
    width: Tensor

    def __init__(self, config: VocoderConfig, audio: AudioConfig = VOCODER_MEL) -> None:
        super().__init__()
        if audio.n_fft != 4 * audio.hop_length or audio.hop_length % 4:
            raise ConfigError.not_four_hops(audio.n_fft, audio.hop_length)
        self.config, self.audio = config, audio
        self.ahead = config.look_ahead - MARGIN
        self.mel = nn.Linear(audio.n_mels, config.width)
        self.pitch = nn.Linear(PITCHES, config.width)
        self.body = Stack(
            config.width, spread(self.ahead, config.blocks), config.kernel_size, config.expansion
        )
        self.norm = nn.LayerNorm(config.width)
        self.shaper = Shaper(config, audio)
        nn.init.zeros_(self.shaper.head.bias)
        self.reach = self.body.context + config.look_ahead
        self.log_mel = LogMel(audio, VOCODER_POWER_FLOOR)
        self.register_buffer("envelope", envelope_of_mel(config, audio), persistent=False)
        points = tilted(config.harmonic_bands, TILT_HZ, audio.sample_rate / 2)
        width = (points * RELATIVE_WIDTH).clamp(min=WIDTH_HZ)
        self.register_buffer("width", width, persistent=False)

    def fold(self) -> Vocoder:
        """Make it ready to sound: no gradients."""
        return self.eval().requires_grad_(False)

    @torch.inference_mode()
    def synthesize(
        self,
        mel: Mel,
        f0: F0,
        *,
        phase: Tensor | None = None,
        noise: NoiseSource | None = None,
    ) -> Wave:
        """Return sound, `[1, frames * hop_length]`: the whole is a stream of a few chunks.

        Args:
            mel: `[1, bands, frames]`, natural log, as `VOCODER_MEL` has it.
            f0: Hz, `[1, frames]`; where it is below 20, the last pitch before is held.
            phase: Phase of the fundamental before the first sample (cycles), float64 `[1]`; zero
                if not given.
            noise: Where noise comes from; none if not given.
        """
        ahead, hop = self.config.look_ahead, self.audio.hop_length
        if not mel.shape[-1]:
            return mel.new_zeros(1, 0)
        bands, pitch = prolonged(mel.float(), ahead), prolonged(held(f0.float()), ahead)
        past, parts = None, []
        for begin in range(0, bands.shape[-1], CHUNK):
            now = slice(begin, begin + CHUNK)
            wave, past = self.stream(
                bands[..., now],
                pitch[:, now],
                past,
                noise=noise and NoiseSource(noise.seed, noise.start + begin),
                phase=phase if begin == 0 else None,
            )
            parts.append(wave)
        return torch.cat(parts, dim=-1)[:, ahead * hop :]

    def stream(
        self,
        mel: Mel,
        f0: F0,
        past: VocoderPast | None = None,
        *,
        noise: NoiseSource | None,
        phase: Tensor | None = None,
    ) -> tuple[Wave, VocoderPast]:
        """Return the sound of as many frames as are given, `look_ahead` frames late.

        Args:
            mel: `[batch, bands, frames]`.
            f0: Hz, above 0, `[batch, frames]`.
            past: What the last call returned; None begins a stream.
            noise: Where noise comes from, from the first of these frames on; none if None.
            phase: Phase of the fundamental before the first sample (cycles), `[batch]`.
        """
        known = self._known(mel, f0)
        before = past.known if past else known.new_full((1, 1, 1), math.log(FLOOR))
        heard = torch.cat([before.expand(len(mel), self.ahead, known.shape[2]), known], dim=1)
        x, body = self.body(self._inputs(mel, f0), past and past.body)
        with torch.autocast(x.device.type, enabled=False):
            shapes = self.shaper.shapes(self.norm(x.float()), heard[:, : x.shape[1]])
            wave, shaper = self.shaper.stream(
                shapes, f0.float(), past and past.shaper, noise=noise, phase=phase
            )
        return wave, VocoderPast(body, heard[:, x.shape[1] :], shaper)

    def forward(self, batch: TrainBatch, segment_frames: int) -> TrainOutput:
        """Render a segment of each clip, from its own spectrogram."""
        # The spectrogram of training has another floor; vocoders hear more of silence.
        power = (batch.spectrogram.float().square() - POWER_FLOOR).clamp(min=0)
        mel = self.log_mel.from_linear((power + VOCODER_POWER_FLOOR).sqrt())
        x, _ = self.body(self._inputs(prolonged(mel, self.ahead), prolonged(batch.f0, self.ahead)))
        x, known, f0 = segment(
            batch.start, segment_frames, x[:, self.ahead :], self._known(mel, batch.f0), batch.f0
        )
        with torch.autocast(x.device.type, enabled=False):
            shapes = self.shaper.shapes(self.norm(x.float()), known)
            wave = self.shaper(shapes, f0.float(), torch.rand(len(f0), device=f0.device))
        hop, zero = self.audio.hop_length, x.new_zeros(())
        wave = wave[:, None, MARGIN * hop : (MARGIN + segment_frames) * hop]
        nothing = Gaussian(zero, zero)
        return TrainOutput(wave, None, nothing, nothing, zero, None, zero)

    def _inputs(self, mel: Mel, f0: F0) -> Frames:
        """Return `[batch, frames, width]`."""
        x: Tensor = self.mel((mel.transpose(1, 2) - CENTRE) / SPAN)
        inputs: Frames = x + self.pitch(pitch_code(f0.float()).to(x.dtype))
        return inputs

    def _known(self, mel: Mel, f0: F0) -> Frames:
        """Return gains that would give such bands if all were harmonics, or breath."""
        with torch.autocast(mel.device.type, enabled=False):
            gains = mel.float().transpose(1, 2) @ self.envelope
            harmonics, breath = gains.split(
                [self.config.harmonic_bands, gains.shape[-1] - self.config.harmonic_bands], -1
            )
            # Partials that are near each other share bands; others stand alone in theirs.
            pitch = f0.float().clamp(min=LOWEST_HZ)[..., None]
            level = torch.minimum(pitch, self.width).log() - 0.5 * pitch.log()
            level = level + harmonic_level(self.audio)
            return torch.cat([harmonics + level, breath + noise_level(self.audio) + BREATH], -1)


def read_vocoder(path: Path = VOCODER_FILE) -> Vocoder:
    """Return a vocoder of ours, ready to sound.

    Raises:
        RefinerError: There is none, or it is damaged.
    """
    file = read_network(path, "vocoder")
    config, audio = file.part(VocoderConfig, "config"), file.audio
    try:
        vocoder = Vocoder(config, audio)
    except ConfigError as error:
        raise RefinerError.damaged(path, "vocoder", str(error)) from error
    file.fill(vocoder)
    return vocoder.fold()


def write_vocoder(path: Path, vocoder: Vocoder, card: dict[str, Any]) -> None:
    """Write a vocoder, with large matrices in 8 bits.

    Raises:
        OutputError: The file cannot be written.
    """
    settings = {"config": asdict(vocoder.config), "audio": asdict(vocoder.audio), "card": card}
    write_network(path, "vocoder", vocoder, settings)


def held(f0: F0) -> F0:
    """Return pitch above 0 everywhere: what there is none of is that before, or the first."""
    sounding = f0 >= LOWEST_HZ
    places = torch.arange(f0.shape[-1], device=f0.device).expand_as(f0)
    last = torch.where(sounding, places, -1).cummax(-1).values
    first = sounding.int().argmax(-1, keepdim=True)
    pitch = f0.gather(-1, torch.where(last < 0, first, last))
    return torch.where(sounding.any(-1, keepdim=True), pitch, 100.0)


def envelope_of_mel(config: VocoderConfig, audio: AudioConfig) -> Tensor:
    """Return what maps log bands to an envelope's points, `[n_mels, bands of both heads]`.

    Between the middles of bands in proportion; beyond them as the outermost.
    """
    top = audio.sample_rate / 2
    parts = [
        tilted(config.harmonic_bands, TILT_HZ, top),
        tilted(config.noise_bands, NOISE_TILT_HZ, top).repeat(STEPS),
    ]
    high = hz_to_mel(audio.mel_max or top)
    low = hz_to_mel(audio.mel_min)
    mels = torch.tensor([hz_to_mel(float(hertz)) for hertz in torch.cat(parts)])
    place = (mels - low) / (high - low) * (audio.n_mels + 1) - 1
    place = place.clamp(0, audio.n_mels - 1)
    bands = torch.arange(audio.n_mels)[:, None]
    return (1 - (place - bands).abs()).clamp(min=0)


def tilted(bands: int, tilt: float, top: float) -> Tensor:
    """Return the frequencies (Hz) of an envelope's points, `[bands]`."""
    return tilt * torch.expm1(torch.linspace(0, 1, bands) * math.log1p(top / tilt))


def harmonic_level(audio: AudioConfig) -> float:
    """Return the log gain at which pulses at 1 Hz have bands of 1.

    A partial of K has the amplitude sqrt(2 / K), and n_fft / 2 times that over its bins.
    """
    return -math.log(audio.n_fft / 2 * math.sqrt(4 / audio.sample_rate))


def noise_level(audio: AudioConfig) -> float:
    """Return the log gain at which noise of unit power has bands of 1.

    Magnitudes are Rayleigh's, of a power of 3 / 8 a sample under a Hann window.
    """
    magnitude = math.sqrt(audio.n_fft * 3 / 8) * math.sqrt(math.pi) / 2
    return -math.log(magnitude * audio.n_fft / audio.sample_rate)
