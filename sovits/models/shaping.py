"""Shape pulses and noise in the frequency domain, as a stream: overlap-add with a past."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sovits.config import AudioConfig, NativeConfig, VocoderConfig
from sovits.convnext import Frames
from sovits.models.decoders.source import frame_phases
from sovits.models.noise import NoiseSource
from sovits.types import F0, Wave

LAG = 2  # frames by which shapes come after the pulses that they shape
STEPS = 4  # noise is shaped so many times a frame
TILT_HZ, NOISE_TILT_HZ = 400.0, 1500.0  # below these, bands are evenly spaced; above, in ratio
MAX_GAIN, MIN_GAIN = 5.0, -14.0  # natural log of what a bin can be changed by
SILENCE = -16.0  # natural log of the gain above what a moved envelope covers
OVERLAP = 1.5  # what squared Hann windows at a quarter of their length add up to
MAX_PARTIALS = 1024


class Shapes(NamedTuple):
    """What the network tells of each frame, natural logarithms of gains."""

    harmonics: Tensor
    """`[batch, frames, harmonic_bands]`."""
    noise: Tensor
    """`[batch, frames, STEPS, noise_bands]`."""


class ShaperPast(NamedTuple):
    """What a stream of sound remembers."""

    pulses: Tensor
    """Samples that later frames overlap, `[batch, samples]`."""
    noise: Tensor
    """The same of the noise."""
    tail: Tensor
    """Sound that later frames add to, `[batch, samples]`."""
    phase: Tensor
    """Phase of the fundamental after the last sample (cycles), float64, `[batch]`."""
    f0: F0
    """Pitch that has been heard, but whose pulses are still to be made, `[batch, frames]`."""


class Shaper(nn.Module):
    """Turn activations into sound.

    Raises:
        ConfigError: By `AudioConfig`, if the window is not four hops.
    """

    window: Tensor
    noise_window: Tensor

    def __init__(self, config: NativeConfig | VocoderConfig, audio: AudioConfig) -> None:
        super().__init__()
        self.config, self.audio = config, audio
        bands, noise_bands = config.harmonic_bands, config.noise_bands
        self.head = nn.Linear(config.width, bands + STEPS * noise_bands)
        nn.init.normal_(self.head.weight, 0, 0.01)
        nn.init.constant_(self.head.bias, -3.0)
        self.noise_fft = audio.hop_length
        self.register_buffer("window", torch.hann_window(audio.n_fft), persistent=False)
        self.register_buffer("noise_window", torch.hann_window(self.noise_fft), persistent=False)

    def shapes(self, x: Frames, around: Tensor | None = None) -> Shapes:
        """Map `[batch, frames, width]` to gains.

        Args:
            x: Activations.
            around: Added to what the network tells, `[batch, frames, bands of both]`.
        """
        told = self.head(x) if around is None else self.head(x) + around
        out = told.clamp(MIN_GAIN, MAX_GAIN)
        harmonics, noise = out.split(
            [self.config.harmonic_bands, out.shape[-1] - self.config.harmonic_bands], -1
        )
        return Shapes(harmonics, noise.unflatten(-1, (STEPS, self.config.noise_bands)))

    def forward(
        self, shapes: Shapes, f0: F0, phase: Tensor | None = None, scale: Tensor | None = None
    ) -> Wave:
        """Return `[batch, frames * hop_length]` at once, with noise of torch's generator.

        The outer `LAG` frames lack what lies beyond them.

        Args:
            shapes: Gains of each frame.
            f0: Hz, `[batch, frames]`.
            phase: Phase before the first sample (cycles), `[batch]`.
            scale: Factor on the frequency of all gains, `[batch]`.
        """
        hop, frames = self.audio.hop_length, f0.shape[1]
        side = (self.audio.n_fft - hop) // 2
        begin = frame_phases(f0, self.audio.sample_rate, hop, phase)[:, :-1]
        pulses = F.pad(self.pulses(f0, begin), (side, side))
        noise_side = (self.noise_fft - hop // STEPS) // 2
        noise = torch.randn(len(f0), frames * hop + 2 * noise_side, device=f0.device)
        parts = self._shaped(shapes, pulses, noise, scale)
        return (
            overlapped(parts[0], hop)[:, side : side + frames * hop]
            + overlapped(parts[1], hop // STEPS)[:, noise_side : noise_side + frames * hop]
        )

    def stream(
        self,
        shapes: Shapes,
        f0: F0,
        past: ShaperPast | None,
        *,
        noise: NoiseSource | None,
        phase: Tensor | None = None,
        scale: float = 1.0,
    ) -> tuple[Wave, ShaperPast]:
        """Return as much sound as there are frames, `2 * LAG` frames after their pitch.

        Args:
            shapes: Gains, of frames `look_ahead - LAG` before those of `f0`.
            f0: Hz, `[batch, frames]`.
            past: What the last call returned; None begins a stream.
            noise: Where noise comes from, from the first frame of `f0` on; no noise if None.
            phase: Phase before the first sample of a stream (cycles), `[batch]`.
            scale: Factor on the frequency of all gains.
        """
        hop, batch, frames = self.audio.hop_length, len(f0), f0.shape[1]
        side = (self.audio.n_fft - hop) // 2
        kept = LAG * hop + side  # samples before a frame that the frame shaped with it begins at
        wait = self.config.look_ahead - 2 * LAG  # how much later shapes come than pulses need them
        if past is None:
            nothing = f0.new_zeros(batch, kept)
            start = torch.zeros(batch, dtype=torch.float64, device=f0.device)
            if phase is not None:
                start = start + phase
            # Pulses begin so many frames before the stream does.
            start = start - f0[:, 0].double() * (wait * hop / self.audio.sample_rate)
            held = f0[:, :1].expand(-1, wait)
            past = ShaperPast(nothing, nothing, nothing, start, held)
        heard = torch.cat([past.f0, f0], dim=1)
        now, held = heard[:, :frames], heard[:, frames:]
        phases = frame_phases(now, self.audio.sample_rate, hop, past.phase)
        pulses = torch.cat([past.pulses, self.pulses(now, phases[:, :-1])], dim=1)
        drawn = f0.new_zeros(batch, frames * hop)
        if noise is not None:
            source = NoiseSource(noise.seed, noise.start - wait)
            drawn = source.samples(frames, hop)[0].to(f0).expand(batch, -1)
        noises = torch.cat([past.noise, drawn], dim=1)
        noise_side = (self.noise_fft - hop // STEPS) // 2
        begin = side - noise_side
        parts = self._filtered(
            shapes,
            pulses[:, : frames * hop + 2 * side],
            noises[:, begin : begin + frames * hop + 2 * noise_side],
            scale,
        )
        sound = F.pad(past.tail, (0, frames * hop))
        harmonic = overlapped(parts[0], hop)
        at = 2 * LAG * hop - kept  # where the first of these frames begins in `sound`
        sound[:, at : at + harmonic.shape[1]] += harmonic
        breath = overlapped(parts[1], hop // STEPS)
        sound[:, at + begin : at + begin + breath.shape[1]] += breath
        out, tail = sound[:, : frames * hop], sound[:, frames * hop :]
        rest = pulses[:, frames * hop :], noises[:, frames * hop :]
        return out, ShaperPast(*rest, tail, phases[:, -1], held)

    def pulses(self, f0: F0, begin: Tensor) -> Wave:
        """Return a pulse train of unit power with every harmonic below half the rate.

        The sum of the first K cosines has the closed form sin((K + 1/2) p) / (2 sin(p / 2)) - 1/2.

        Args:
            f0: Hz, `[batch, frames]`.
            begin: Phase before each frame (cycles), float64, the same shape.

        Returns:
            `[batch, frames * hop_length]`.
        """
        rate, hop = self.audio.sample_rate, self.audio.hop_length
        if not self.config.harmonics:
            return f0.new_zeros(len(f0), f0.shape[1] * hop)
        steps = torch.arange(1, hop + 1, device=f0.device, dtype=torch.float64) / rate
        cycles = (begin[..., None] + f0.double()[..., None] * steps) % 1.0
        partials = (rate / 2 / f0.clamp(min=1.0)).floor().clamp(1, MAX_PARTIALS)[..., None]
        angle = 2 * math.pi * (cycles - cycles.round()).float()
        half = torch.sin(angle / 2)
        near = half.abs() < 1e-4
        train = torch.sin((partials + 0.5) * angle) / (2 * half.where(~near, 1.0)) - 0.5
        train = torch.where(near, partials.expand_as(train), train)
        return (train * (2 / partials).sqrt()).flatten(1)

    def _shaped(
        self, shapes: Shapes, pulses: Wave, noise: Wave, scale: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return windowed pieces of harmonics and of noise, `[batch, frames, n_fft]` each."""
        n_fft, hop, size = self.audio.n_fft, self.audio.hop_length, self.noise_fft
        rate, device = self.audio.sample_rate, self.window.device
        spread, beyond = bins_of(n_fft, rate, self.config.harmonic_bands, TILT_HZ, scale, device)
        gain = shapes.harmonics @ spread + beyond
        spectrum = torch.fft.rfft(pulses.unfold(1, n_fft, hop) * self.window)
        harmonic = torch.fft.irfft(spectrum * minimum_phase(gain), n_fft) * self.window
        spread, beyond = bins_of(size, rate, self.config.noise_bands, NOISE_TILT_HZ, scale, device)
        breath = (shapes.noise.flatten(1, 2) @ spread + beyond).exp()
        pieces = noise.unfold(1, size, hop // STEPS) * self.noise_window
        breathed = torch.fft.irfft(torch.fft.rfft(pieces) * breath, size) * self.noise_window
        return harmonic / OVERLAP, breathed / OVERLAP

    def _filtered(
        self, shapes: Shapes, pulses: Wave, noise: Wave, scale: float
    ) -> tuple[Tensor, Tensor]:
        """Return what `_shaped` does, for one scale and without gradients, at half the cost.

        All is linear from the gains of bands to the logarithm of a minimum-phase gain, so two
        Fourier transforms of each frame are one matrix, made once.
        """
        n_fft, hop, size = self.audio.n_fft, self.audio.hop_length, self.noise_fft
        rate, device = self.audio.sample_rate, self.window.device
        to_bins = _matrices(n_fft, rate, self.config.harmonic_bands, TILT_HZ, scale, device)
        magnitude = (shapes.harmonics @ to_bins.magnitude + to_bins.beyond).exp()
        phase = shapes.harmonics @ to_bins.phase + to_bins.phase_beyond
        spectrum = torch.fft.rfft(pulses.unfold(1, n_fft, hop) * self.window)
        filtered = spectrum * torch.polar(magnitude, phase)
        harmonic = torch.fft.irfft(filtered, n_fft) * (self.window / OVERLAP)
        to_bins = _matrices(size, rate, self.config.noise_bands, NOISE_TILT_HZ, scale, device)
        breath = (shapes.noise.flatten(1, 2) @ to_bins.magnitude + to_bins.beyond).exp()
        pieces = noise.unfold(1, size, hop // STEPS) * self.noise_window
        filtered = torch.fft.rfft(pieces) * breath
        return harmonic, torch.fft.irfft(filtered, size) * (self.noise_window / OVERLAP)


class Matrices(NamedTuple):
    """What maps gains of bands to those of bins (natural logarithms), and is then added."""

    magnitude: Tensor
    """`[bands, bins]`."""
    beyond: Tensor
    """`[bins]`."""
    phase: Tensor
    """The same for the least phase that goes with the magnitude (rad)."""
    phase_beyond: Tensor


@lru_cache(maxsize=16)
def _matrices(
    n_fft: int, rate: int, bands: int, tilt: float, scale: float, device: torch.device
) -> Matrices:
    """Return them; a stream of small chunks asks for the same ones all the time."""
    with torch.inference_mode(False), torch.no_grad():
        factor = None if scale == 1.0 else torch.full((1,), scale, device=device)
        spread, beyond = bins_of(n_fft, rate, bands, tilt, factor, device)
        spread, beyond = spread.reshape(bands, -1), beyond.flatten()
        phases = (_log_minimum_phase(gain).imag for gain in (spread, beyond))
        return Matrices(spread, beyond, *phases)


def bins_of(
    n_fft: int, rate: int, bands: int, tilt: float, scale: Tensor | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return what maps gains of bands to gains of bins, and what is added to these.

    A moved envelope ends below half the rate: above its end there is silence.

    Returns:
        `[bands, bins]` and `[bins]`; with a scale `[batch, bands, bins]` and `[batch, 1, bins]`.
    """
    top = rate / 2
    hertz = torch.arange(n_fft // 2 + 1, device=device) * rate / n_fft
    if scale is not None:
        hertz = hertz / scale[:, None, None]
    place = (1 + hertz / tilt).log() / math.log(1 + top / tilt) * (bands - 1)
    grid = torch.arange(bands, device=device)[:, None]
    spread = (1 - (place.clamp(max=bands - 1) - grid).abs()).clamp(min=0)
    # A little slack, for what lies at the end but for rounding.
    return spread, (hertz > top * 1.0001) * SILENCE


def minimum_phase(gain: Tensor) -> Tensor:
    """Return the complex gain whose phase is the least that its magnitude allows.

    By folding the cepstrum (Oppenheim and Schafer, 1975).

    Args:
        gain: Natural log of magnitude, `[..., n_fft // 2 + 1]`.
    """
    return _log_minimum_phase(gain).exp()


def _log_minimum_phase(gain: Tensor) -> Tensor:
    """Return the complex logarithm of what `minimum_phase` returns: linear in `gain`."""
    n_fft = 2 * (gain.shape[-1] - 1)
    cepstrum = torch.fft.irfft(gain, n_fft)
    fold = gain.new_zeros(n_fft)
    fold[0] = fold[n_fft // 2] = 1
    fold[1 : n_fft // 2] = 2
    logarithm: Tensor = torch.fft.rfft(cepstrum * fold)
    return logarithm


def overlapped(pieces: Tensor, hop_length: int) -> Wave:
    """Add up overlapping pieces `[batch, frames, length]`, each a hop after the one before.

    The length is a whole number of hops.
    """
    batch, frames, length = pieces.shape
    overlaps = length // hop_length
    hops = pieces.unflatten(2, (overlaps, hop_length))
    wave = pieces.new_zeros(batch, frames + overlaps - 1, hop_length)
    for late in range(overlaps):
        wave[:, late : late + frames] += hops[:, :, late]
    return wave.flatten(1)
