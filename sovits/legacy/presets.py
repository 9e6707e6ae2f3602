"""Settings to begin a training with: the fork's three templates, and two light ones of our own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sovits.config import (
    AudioConfig,
    Config,
    DiscriminatorConfig,
    NativeConfig,
    SynthesizerConfig,
    TrainConfig,
    VoiceConfig,
)
from sovits.legacy.keys import CHANNELS

FORK_SPEAKERS = 200  # rows of the speaker table in every published initial model


def _fork(content: str, speakers: Mapping[str, int]) -> Config:
    synthesizer = SynthesizerConfig(
        content_channels=CHANNELS[content], n_speakers=max(FORK_SPEAKERS, len(speakers))
    )
    audio = AudioConfig(mel_max=22_050.0)
    return Config(VoiceConfig(audio, synthesizer, content, dict(speakers)))


def _fork_legacy(content: str, speakers: Mapping[str, int]) -> Config:
    voice = _fork(content, speakers).voice
    return Config(voice, train=TrainConfig(log_interval=200, eval_interval=800))


def _quickvc(content: str, speakers: Mapping[str, int]) -> Config:
    synthesizer = SynthesizerConfig(
        content_channels=CHANNELS[content],
        n_speakers=max(FORK_SPEAKERS, len(speakers)),
        decoder="ms-istft",
        upsample_rates=(8, 4),
        upsample_kernel_sizes=(32, 16),
    )
    audio = AudioConfig(mel_max=22_050.0)
    return Config(VoiceConfig(audio, synthesizer, content, dict(speakers)))


def _small(content: str, speakers: Mapping[str, int]) -> Config:
    synthesizer = SynthesizerConfig(
        content_channels=CHANNELS[content],
        n_speakers=max(1, len(speakers)),
        inter_channels=128,
        hidden_channels=128,
        filter_channels=384,
        n_layers=4,
        dropout=0.0,
        speaker_channels=128,
        flow_layers=3,
        posterior_layers=8,
        decoder="harmonic",
        upsample_initial_channels=256,
    )
    audio = AudioConfig(sample_rate=24_000, hop_length=256, n_fft=1024)
    train = TrainConfig(
        learning_rate=3e-4,
        segment_frames=32,
        context_frames=64,
        stft_weight=8.0,
        adversarial_from=2000,
        name_by_step=True,
    )
    return Config(
        VoiceConfig(audio, synthesizer, content, dict(speakers)),
        DiscriminatorConfig(width=0.25),
        train,
    )


def _native(content: str, speakers: Mapping[str, int]) -> Config:
    synthesizer = NativeConfig(content_channels=CHANNELS[content], n_speakers=max(1, len(speakers)))
    train = TrainConfig(
        learning_rate=1e-3,
        segment_frames=64,
        context_frames=128,
        mel_weight=15.0,
        stft_weight=8.0,
        adversarial_from=2000,
        average=0.999,
        moved=0.5,
        others=0.5 if content == "sovits-content" else 0.0,
        name_by_step=True,
    )
    return Config(
        VoiceConfig(AudioConfig(n_mels=128), synthesizer, content, dict(speakers)),
        DiscriminatorConfig(width=0.25, scale=False, spectra=(2048, 1024, 512)),
        train,
    )


PRESETS: dict[str, Callable[[str, Mapping[str, int]], Config]] = {
    "so-vits-svc-4.0v1": _fork,
    "so-vits-svc-4.0v1-legacy": _fork_legacy,
    "quickvc": _quickvc,
    "sovits-small": _small,
    "sovits-native": _native,
}
"""Settings by name, made for a content encoder and the rows of the speakers."""
