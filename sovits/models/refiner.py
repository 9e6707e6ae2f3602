"""`sovits-refiner`: a rectified flow from a synthesizer's own mel spectrogram to what it should be.

Rectified flow (Liu 2022, Lipman 2022) moves along straight lines from one distribution to another:
`x(t) = (1 - t) z + t y`, and a network learns the mean of the velocity `y - z` where lines cross.
Here `y` is the mel spectrogram of a recording, and `z = s e + (1 - s) m` that of the same recording
as the synthesizer says it, mixed with noise `e`. So the lines begin where they begin in use, at any
strength `s`, and are short where `s` is small: a few evaluations are enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sovits.audio.mel import FLOOR, VOCODER_MEL
from sovits.config import AudioConfig, RefinerConfig, Sampler
from sovits.convnext import Frames, Stack
from sovits.errors import RefinerError
from sovits.models.native import PITCHES, QUIET, pitch_code
from sovits.models.noise import NoiseSource
from sovits.models.speakers import conditioning
from sovits.network_file import read_network, write_network
from sovits.types import F0, Content, Mel, Shares, Speaker, Volume

CENTRE, SPAN = -5.0, 3.0  # of what the network reads and writes (natural log)
LOWEST = (math.log(FLOOR) - CENTRE) / SPAN  # the same of silence
POWER, FAULT = 0.8, 0.04  # of mels so read, and of what synthesizers get wrong: their variances
WAVES = 32  # sines, and as many cosines, by which a number is told
FASTEST = 50.0  # of these (radians)
STRENGTH = 0.5  # with which is refined if nobody says
MOST_STEPS = 20  # evaluations
SAMPLERS = ("auto", "euler")


class Conditions(NamedTuple):
    """What a refiner is told of each frame besides the mel; all cover the same frames."""

    content: Content
    f0: F0
    volume: Volume
    speaker: Speaker | Shares


class Velocity(nn.Module):
    """Say where a mel spectrogram on its way goes.

    A new one says what would be right if all were normally distributed, each number by itself.

    Args:
        config: Shape of the network.
        n_mels: Bands.
    """

    def __init__(self, config: RefinerConfig, n_mels: int) -> None:
        super().__init__()
        width = config.width
        self.emb_g = nn.Embedding(config.n_speakers, config.speaker_channels)
        self.speaker = nn.Linear(config.speaker_channels, width)
        self.mel = nn.Linear(n_mels, width)
        self.content = nn.Linear(config.content_channels, width)
        self.pitch = nn.Linear(PITCHES, width)
        self.loudness = nn.Linear(2, width)
        self.when = nn.Sequential(nn.Linear(4 * WAVES, width), nn.GELU(), nn.Linear(width, width))
        ahead = (config.kernel_size // 2,) * config.blocks
        self.body = Stack(width, ahead, config.kernel_size, config.expansion)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, n_mels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def known(self, told: Conditions) -> Frames:
        """Return what frames and speaker add, which is the same in every evaluation."""
        loud = told.volume.float().clamp(min=QUIET).log()[..., None] / 4 + 1
        x: Tensor = self.content(told.content.transpose(1, 2))
        x = x + self.pitch(pitch_code(told.f0.float()).to(x.dtype))
        x = x + self.loudness(torch.cat([loud, loud.square()], dim=-1).to(x.dtype))
        known: Frames = x + self.speaker(conditioning(self.emb_g, told.speaker))
        return known

    def forward(self, x: Frames, time: Tensor, strength: Tensor, known: Frames) -> Frames:
        """Return the velocity, `[batch, frames, n_mels]`.

        Args:
            x: Where it is, `[batch, frames, n_mels]`.
            time: 0 at the beginning of the way, 1 at its end, `[batch]`.
            strength: Share of noise at the beginning, `[batch]`.
            known: What `known` returned.
        """
        when = self.when(torch.cat([waves(time), waves(strength)], dim=-1))[:, None]
        h = self.mel(x) + known
        ahead = self.body.look_ahead
        # Its outputs lag: what is heard after the end are frames of nothing.
        h, _ = self.body(F.pad(h, (0, 0, 0, ahead)), shift=when)
        rest: Frames = self.out(self.norm(h[:, ahead:]))
        return rest + gain(time, strength)[:, None, None] * x


@dataclass
class NativeRefiner:
    """A refiner of ours: the network, and what it knows of itself."""

    config: RefinerConfig
    network: Velocity
    content: str | None
    """Name of the content encoder that it was trained with."""
    speakers: dict[str, int]
    """Its row for each name."""
    audio: AudioConfig = VOCODER_MEL
    strength: float = STRENGTH
    """What to refine with if nobody says."""
    card: dict[str, Any] = field(default_factory=dict)

    @property
    def content_channels(self) -> int:
        """Channels of the content."""
        return self.config.content_channels

    @property
    def n_speakers(self) -> int:
        """Rows of the speaker table."""
        return self.config.n_speakers

    def reach(self, steps: int | None) -> int:
        """Return how many frames on each side a frame depends on, with so many evaluations."""
        return self.network.body.look_ahead * (steps or self.config.steps)

    @torch.inference_mode()
    def refine(
        self,
        mel: Mel,
        content: Content,
        f0: F0,
        volume: Volume,
        speaker: Speaker | Shares,
        *,
        strength: float | None = None,
        steps: int | None = None,
        sampler: Sampler = "auto",
        noise: NoiseSource | None = None,
        deterministic: bool = False,
    ) -> Mel:
        """Return `[1, bands, frames]`, natural log.

        Args:
            mel: `[1, bands, frames]`, natural log; what a synthesizer made.
            content: `[1, channels, frames]`.
            f0: Hz, `[1, frames]`.
            volume: `[1, frames]`.
            speaker: Row, int64 `[1]`; or shares of all rows, `[1, n_speakers, 1 or frames]`.
            strength: Share of noise that the mel is mixed with; 0 returns `mel`, and 1 draws from
                noise alone.
            steps: Evaluations of the network, 1 to 20.
            sampler: auto or euler.
            noise: Where noise comes from; frame 0 of the mel is frame `noise.start`. Seed 0 if not
                given.
            deterministic: Every noise is zero.

        Raises:
            RefinerError: There is no such sampler, or too many steps are asked for.
        """
        if sampler not in SAMPLERS:
            raise RefinerError.no_sampler(sampler, SAMPLERS)
        strength = self.strength if strength is None else strength
        steps = steps or self.config.steps
        if steps > MOST_STEPS:
            raise RefinerError.too_many_evaluations(steps, MOST_STEPS)
        if not strength or not mel.shape[-1]:
            return mel
        state = (mel.float().transpose(1, 2) - CENTRE) / SPAN
        state = (1 - strength) * state
        if not deterministic:
            drawn = (noise or NoiseSource()).latent(mel.shape[1], mel.shape[2])
            state = state + strength * drawn.transpose(1, 2).to(state)
        known = self.network.known(Conditions(content, f0, volume, speaker))
        told = torch.full((len(mel),), strength, device=mel.device)

        def velocity(x: Tensor, time: float) -> Tensor:
            found: Tensor = self.network(x, torch.full_like(told, time), told, known)
            return found.float()

        drawn = euler(velocity, state, steps)
        return (drawn.transpose(1, 2) * SPAN + CENTRE).clamp(min=math.log(FLOOR)).to(mel.dtype)


def euler(velocity: Callable[[Tensor, float], Tensor], x: Tensor, steps: int) -> Tensor:
    """Follow a velocity from time 0 to 1 in equal steps (Euler).

    Args:
        velocity: Maps a place and a time to a velocity.
        x: Where it begins.
        steps: Evaluations.
    """
    for step in range(steps):
        x = x + velocity(x, step / steps) / steps
    return x


def gain(time: Tensor, strength: Tensor) -> Tensor:
    """Return the velocity for each unit of place, on average over normal distributions, `[batch]`.

    The recording `y` has the variance `POWER`, and the synthesizer's mel is `y` and an error of
    the variance `FAULT`. The mean of `y - z` is then a multiple of `x`: their covariance over the
    variance of `x`.
    """
    left = 1 - time
    noise = (1 - strength).square() * FAULT + strength.square()
    of_y = left * (1 - strength) + time
    covariance = strength * of_y * POWER - left * noise
    return covariance / (of_y.square() * POWER + left.square() * noise)


def waves(number: Tensor) -> Tensor:
    """Return sines and cosines that tell a number between 0 and 1, `[batch, 2 * WAVES]`."""
    rates = torch.logspace(0, math.log10(FASTEST), WAVES, device=number.device)
    angle = number.float()[:, None] * rates
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def flow_loss(
    network: Velocity,
    made: Mel,
    real: Mel,
    told: Conditions,
    mask: Tensor,
    *,
    strength: Tensor,
    time: Tensor,
    noise: Tensor,
    weight: Tensor | None = None,
) -> Tensor:
    """Return the mean squared error of the velocity, over frames that are no padding.

    Args:
        network: Learns.
        made: A synthesizer's mel, `[batch, bands, frames]`, natural log.
        real: The recording's.
        told: What is known besides.
        mask: 1 where there is sound, `[batch, 1, frames]`.
        strength: Share of noise at the beginning of the way, `[batch]`.
        time: Where on the way, `[batch]`.
        noise: Standard normal, `[batch, bands, frames]`.
        weight: How much each clip counts, `[batch]`; all alike if not given.
    """
    s, t = strength[:, None, None], time[:, None, None]
    begin = s * noise + (1 - s) * (made.float() - CENTRE) / SPAN
    end = (real.float() - CENTRE) / SPAN
    place = ((1 - t) * begin + t * end).transpose(1, 2)
    found = network(place, time, strength, network.known(told)).float()
    error = (found - (end - begin).transpose(1, 2)).square().mean(-1, keepdim=True).transpose(1, 2)
    if weight is not None:
        error = error * weight[:, None, None]
    loss: Tensor = (error * mask).sum() / mask.sum()
    return loss


def read_refiner(path: Path) -> NativeRefiner:
    """Return a refiner of ours, ready to refine.

    Raises:
        RefinerError: There is none, or it is damaged.
    """
    file = read_network(path, "refiner")
    config, audio, known = file.part(RefinerConfig, "config"), file.audio, file.settings
    network = Velocity(config, audio.n_mels)
    file.fill(network)
    content, speakers = known.get("content"), known.get("speakers", {})
    strength, card = known.get("strength", STRENGTH), known.get("card", {})
    whole = isinstance(speakers, dict) and all(
        type(row) is int and 0 <= row < config.n_speakers for row in speakers.values()
    )
    if not whole or not isinstance(content, str | None) or not isinstance(card, dict):
        raise RefinerError.damaged(path, "refiner", "its speakers, content or card are wrong")
    if not isinstance(strength, float | int) or not 0 < strength <= 1:
        raise RefinerError.damaged(path, "refiner", f"its strength is {strength}")
    network.eval().requires_grad_(False)
    return NativeRefiner(config, network, content, speakers, audio, float(strength), card)


def write_refiner(path: Path, refiner: NativeRefiner) -> None:
    """Write a refiner, with large matrices in 8 bits.

    Raises:
        OutputError: The file cannot be written.
    """
    settings = {
        "config": asdict(refiner.config),
        "audio": asdict(refiner.audio),
        "content": refiner.content,
        "speakers": refiner.speakers,
        "strength": refiner.strength,
        "card": refiner.card,
    }
    write_network(path, "refiner", refiner.network, settings)
