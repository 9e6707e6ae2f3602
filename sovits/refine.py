"""What a synthesizer has sung is drawn again by a refiner and sung by a vocoder, bit by bit.

The sound becomes a mel spectrogram, a refiner adds noise to it and takes it out again, and a
vocoder makes it audible. Any refiner goes with any vocoder of the same mel.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from sovits.config import AudioConfig, Sampler
from sovits.models.noise import NoiseSource
from sovits.types import F0, Content, Mel, Volume, Wave


class Refiner(Protocol):
    """A network that draws a mel spectrogram anew, near to one that it is given."""

    audio: AudioConfig
    """Rates, bands and range of its mels."""
    content: str | None
    """Name of the content encoder that it was trained with, if that is known."""
    content_channels: int
    """Channels of that content."""
    speakers: dict[str, int]
    """Its row for each name; nothing if it knows no names."""
    n_speakers: int
    """Rows of its speaker table; 1 if it has none."""
    strength: float
    """What to refine with if nobody says, in (0, 1]."""

    def reach(self, steps: int | None) -> int:
        """Return how many frames on each side a frame depends on, with so many evaluations."""

    def refine(
        self,
        mel: Mel,
        content: Content,
        f0: F0,
        volume: Volume,
        speaker: Tensor,
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
            speaker: Row, int64 `[1]`; or shares of all speakers, `[1, n_speakers, frames]`.
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

    audio: AudioConfig
    """Rates, bands and range of the mels that it takes."""
    reach: int
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
