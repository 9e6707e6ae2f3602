"""NSF-HiFiGAN as a vocoder: the decoder of so-vits-svc, told all by a mel spectrogram."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sovits.config import AudioConfig, SynthesizerConfig
from sovits.models.convolution import fold_weight_norm
from sovits.models.decoders.nsf_hifigan import NsfHifiGan
from sovits.models.noise import NoiseSource
from sovits.models.synthesizer import decoder_reach
from sovits.types import F0, Mel, Wave


class NsfVocoder(nn.Module):
    """Makes mels of `audio` audible.

    Args:
        config: Shape of the decoder; its latent is the mel, and it has no speaker channels.
        audio: Rates, bands and range of the mels.
    """

    def __init__(self, config: SynthesizerConfig, audio: AudioConfig) -> None:
        super().__init__()
        self.config, self.audio = config, audio
        self.generator = NsfHifiGan(config, audio.sample_rate, audio.hop_length)
        self.reach = decoder_reach(config, audio)
        """Frames on each side that a sample depends on."""
        self.remarks: list[str] = []

    def fold(self) -> NsfVocoder:
        """Make it ready to sing: no weight normalisation."""
        fold_weight_norm(self)
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
        """Return `[1, frames * hop_length]`.

        Args:
            mel: `[1, bands, frames]`, natural log.
            f0: Hz, `[1, frames]`; frames of 0 Hz have no harmonics.
            phase: Phase of the fundamental before the first sample (cycles), float64 `[1]`; zero if
                not given.
            noise: Where noise of the source comes from; none, and harmonics from phase zero, if
                not given.
        """
        wave: Wave = self.generator(mel, None, f0, phase=phase, noise=noise)[:, 0]
        return wave
