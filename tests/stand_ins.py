"""Encoders, pitch methods and synthesizers that are simple enough to know what comes out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor

from sovits.config import AudioConfig, SynthesizerConfig, VoiceConfig
from sovits.features.content import ContentEncoder
from sovits.models.decoders.source import frame_phases
from sovits.models.noise import NoiseSource
from sovits.retrieval import Index
from sovits.types import Content, Pitch, Wave

CHANNELS = 4
AUDIO = AudioConfig(sample_rate=24_000, hop_length=256, n_fft=1024)


class NearbySound:
    """Content that depends on the 20 ms of its own frame only."""

    spec = SimpleNamespace(sample_rate=16_000, hop_length=320, channels=CHANNELS)

    def encode(self, wave: Wave) -> Content:
        """Return `[channels, samples // 320]`: the loudness of quarters of each frame."""
        frames = wave[: wave.shape[-1] // 320 * 320].reshape(-1, CHANNELS, 80)
        return 10 * frames.square().mean(-1).sqrt().t()


def steady(frequency: float = 220.0) -> Callable[..., Any]:
    """Return a loader of a method that finds the same pitch everywhere."""

    def method(
        wave: Wave, sample_rate: int, hop_length: int, *, level: float | None = None
    ) -> Pitch:
        frames = wave.shape[-1] // hop_length
        return Pitch(torch.full((frames,), frequency), torch.ones(frames, dtype=torch.bool))

    return lambda name, device: method


@dataclass
class Sung:
    """What a synthesizer was asked to sing."""

    content: Tensor
    f0: Tensor
    voiced: Tensor
    speaker: int
    noise_scale: float
    volume: Tensor | None
    seed: int
    first: int
    phase: Tensor
    formants: float


@dataclass
class Whistle:
    """Sings a sine at the pitch, as loud as the content; remembers what it was asked."""

    audio: AudioConfig
    loudness: Callable[[Content], Tensor] = lambda content: torch.ones(1, content.shape[-1])
    asked: list[Sung] = field(default_factory=list)

    def infer(
        self,
        content: Content,
        f0: Tensor,
        voiced: Tensor,
        speaker: Tensor,
        *,
        volume: Tensor | None,
        noise_scale: float,
        noise: NoiseSource,
        phase: Tensor,
        kept: slice,
        formants: float,
    ) -> Wave:
        """Return `[1, frames * hop_length]`."""
        self.asked.append(
            Sung(
                content,
                f0,
                voiced,
                int(speaker),
                noise_scale,
                volume,
                noise.seed,
                noise.start,
                phase,
                formants,
            )
        )
        rate, hop = self.audio.sample_rate, self.audio.hop_length
        begin = frame_phases(f0, rate, hop, phase)[:, :-1, None]
        steps = torch.arange(1, hop + 1, dtype=torch.float64) / rate
        cycles = (begin + f0.double()[..., None] * steps).flatten(1)
        level = self.loudness(content).repeat_interleave(hop, dim=1)
        sung = (0.5 * level * torch.sin(2 * math.pi * cycles)).float()
        return sung[:, kept.start * hop : kept.stop * hop]


@dataclass
class Singer:
    """A voice made of stand-ins."""

    synthesizer: Any
    config: VoiceConfig
    bank: Index | None = None
    encoder: Any = field(default_factory=NearbySound)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def row(self, speaker: str | None) -> int:
        """Return the row of a speaker."""
        return int(speaker or 0)

    def f0_range(self, speaker: str | None) -> tuple[float, float] | None:
        """Return nothing: it whistles everything."""
        return None

    def content_encoder(self) -> ContentEncoder:
        """Return the stand-in."""
        return cast(ContentEncoder, self.encoder)

    def index(self, path: Path, speaker: str | None) -> Index:
        """Return the bank."""
        assert self.bank is not None
        return self.bank


def whistler(audio: AudioConfig = AUDIO, **settings: Any) -> Singer:
    """Return a voice that whistles."""
    config = SynthesizerConfig(
        content_channels=CHANNELS,
        n_speakers=5,
        upsample_rates=(audio.hop_length,),
        upsample_kernel_sizes=(2 * audio.hop_length,),
        **settings,
    )
    return Singer(Whistle(audio), VoiceConfig(audio, config, "nearby sound"))


def tone(
    seconds: float, rate: int, frequency: float = 220.0, level: float = 0.3, phase: float = 0.0
) -> Wave:
    """Return a sine `[samples]`."""
    time = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return (level * torch.sin(2 * math.pi * (frequency * time + phase))).float()
