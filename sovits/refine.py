"""What refiners and vocoders have in common, and which of them go together.

Any refiner goes with any vocoder of the same mel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from sovits.config import AudioConfig, Sampler, VoiceConfig
from sovits.errors import RefinerError
from sovits.mixing import Mix
from sovits.models.noise import NoiseSource
from sovits.types import F0, Content, Mel, Shares, Speaker, Volume, Wave


class Refiner(Protocol):
    """A network that draws a mel spectrogram anew, near to one that it is given."""

    @property
    def audio(self) -> AudioConfig:
        """Rates, bands and range of its mels."""

    @property
    def content(self) -> str | None:
        """Name of the content encoder that it was trained with, if that is known."""

    @property
    def content_channels(self) -> int:
        """Channels of that content."""

    @property
    def speakers(self) -> dict[str, int]:
        """Its row for each name; nothing if it knows no names."""

    @property
    def n_speakers(self) -> int:
        """Rows of its speaker table; 1 if it has none."""

    @property
    def strength(self) -> float:
        """What to refine with if nobody says, in (0, 1]."""

    def reach(self, steps: int | None) -> int:
        """Return how many frames on each side a frame depends on, with so many evaluations."""

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
            mel: `[1, bands, frames]`, natural log.
            content: `[1, channels, frames]`.
            f0: Hz, `[1, frames]`.
            volume: `[1, frames]`.
            speaker: Row, int64 `[1]`; or shares of all rows, `[1, n_speakers, 1 or frames]`.
            strength: Share of noise that the mel is mixed with, `s * noise + (1 - s) * mel` but
                for a common factor; 0 returns `mel`, and 1 draws from noise alone.
            steps: Evaluations of the network.
            sampler: One of those that this network has.
            noise: Where noise comes from; frame 0 of the mel is frame `noise.start`. Seed 0 if not
                given.
            deterministic: Every noise is zero.
        """


class MelVocoder(Protocol):
    """A network that makes a mel spectrogram audible."""

    @property
    def audio(self) -> AudioConfig:
        """Rates, bands and range of the mels that it takes."""

    @property
    def reach(self) -> int:
        """Frames on each side that a sample depends on."""

    def synthesize(
        self,
        mel: Mel,
        f0: F0,
        *,
        phase: Tensor | None = None,
        noise: NoiseSource | None = None,
    ) -> Wave:
        """Return `[1, frames * hop_length]`.

        Args:
            mel: `[1, bands, frames]`, natural log.
            f0: Hz, `[1, frames]`.
            phase: Phase of the fundamental before the first sample (cycles), float64 `[1]`; zero if
                not given.
            noise: Where noise of the source comes from; no noise if not given.
        """


@dataclass(frozen=True)
class Refining:
    """What refines the sound of one voice, and as whom of the refiner's speakers."""

    refiner: Refiner
    vocoder: MelVocoder
    mix: Mix
    """Who sings, with the refiner's rows."""
    device: torch.device
    """Where both networks compute."""

    @property
    def remarks(self) -> list[str]:
        """What was settled while reading them, and under which licence they are."""
        both = (self.refiner, self.vocoder)
        return [remark for network in both for remark in getattr(network, "remarks", [])]

    def who(self, first: int, frames: int) -> Speaker | Shares:
        """Return who sings some frames: a row of the refiner's table, or shares of all rows."""
        if self.mix.alone is not None:
            return torch.tensor([self.mix.alone], device=self.device)
        rate = self.refiner.audio.frame_rate
        return self.mix.frames(self.refiner.n_speakers, first, frames, rate).to(self.device)


def fit_together(
    refiner: Refiner,
    vocoder: MelVocoder,
    voice: VoiceConfig,
    mix: Mix,
    device: torch.device | str = "cpu",
) -> Refining:
    """Return a refiner and a vocoder as one, if they were made for each other and for a voice.

    Args:
        refiner: Draws.
        vocoder: Sings what it draws.
        voice: What the voice knows of itself.
        mix: Who sings, with the voice's rows.
        device: Where both networks compute.

    Raises:
        RefinerError: The refiner has another rate, encoder or speakers than the voice, or the
            vocoder another mel than the refiner.
    """
    network, ours, theirs = voice.synthesizer, voice.audio, refiner.audio
    for what, found, expected in (
        ("a sample rate of", theirs.sample_rate, ours.sample_rate),
        ("a hop (samples) of", theirs.hop_length, ours.hop_length),
        ("content channels:", refiner.content_channels, network.content_channels),
        ("the content encoder", refiner.content or voice.content, voice.content),
    ):
        if found != expected:
            raise RefinerError.other(what, found, "the voice", expected)
    for what in ("sample_rate", "hop_length", "n_fft", "n_mels", "mel_min", "mel_max"):
        takes, draws = getattr(vocoder.audio, what), getattr(theirs, what)
        if takes != draws:
            raise RefinerError.other_vocoder(what, takes, draws)
    rows = tuple(
        _row(refiner, voice, name, row) for name, row in zip(mix.names, mix.rows, strict=True)
    )
    return Refining(refiner, vocoder, replace(mix, rows=rows), torch.device(device))


def _row(refiner: Refiner, voice: VoiceConfig, asked: str | None, row: int) -> int:
    """Return the refiner's row of a speaker: by name if it knows names, else the same."""
    names = [name for name, index in voice.speakers.items() if index == row] or [str(row)]
    known = [name for name in (asked, *names) if name in refiner.speakers]
    if known:
        return refiner.speakers[known[0]]
    count = len(voice.speakers) or voice.synthesizer.n_speakers
    if refiner.n_speakers != count or row >= count:
        raise RefinerError.other_speakers(refiner.n_speakers, names[0], count)
    return row
