"""Settings that contradict each other are refused when they are made."""

from __future__ import annotations

import json

import pytest

from sovits.config import (
    AudioConfig,
    Config,
    ConvertOptions,
    SynthesizerConfig,
    TrainConfig,
    VoiceConfig,
    build,
    to_dict,
)
from sovits.errors import ConfigError


def test_a_config_survives_json() -> None:
    config = Config(VoiceConfig(speakers={"a": 1}), train=TrainConfig(seed=7))
    assert build(Config, json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: AudioConfig(n_fft=256, hop_length=512), "n_fft"),
        (lambda: AudioConfig(sample_rate=0), "audio.sample_rate"),
        (lambda: TrainConfig(context_frames=8, segment_frames=20), "context_frames"),
        (lambda: VoiceConfig(synthesizer=SynthesizerConfig(upsample_rates=(8, 8))), "64 samples"),
        (lambda: VoiceConfig(speakers={"x": 200}), "row 200"),
        (lambda: ConvertOptions(retrieval_ratio=1.5), "retrieval_ratio is 1.5"),
        (lambda: ConvertOptions(noise_scale=-1.0), "noise_scale"),
        (lambda: ConvertOptions(output_rate=7), "output_rate"),
        (lambda: build(Config, {"train": {"batch_sise": 4}}), "Did you mean batch_size"),
        (lambda: build(Config, {"train": {"batch_size": "4"}}), "train.batch_size"),
        (lambda: build(Config, {"train": {"betas": [0.5]}}), "a list of 2"),
    ],
)
def test_contradictions_are_refused_in_one_line(make: object, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        make()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_the_harmonic_decoder_fits_any_hop() -> None:
    audio = AudioConfig(sample_rate=48_000, hop_length=480, n_fft=1920)
    VoiceConfig(audio, SynthesizerConfig(decoder="harmonic"))
