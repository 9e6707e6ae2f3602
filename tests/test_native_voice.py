"""Voices of the light architecture are saved, loaded and converted with, and bounded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from made_voices import light, refused, sound_of, synthesizer_config, voice, write_legacy
from safetensors.torch import save_file
from stand_ins import steady, tone

from sovits.config import AudioConfig, Config, ConvertOptions, VoiceConfig, build, to_dict
from sovits.errors import ConfigError, VoiceError
from sovits.features.content import ContentEncoder
from sovits.legacy.checkpoint import read_state
from sovits.legacy.settings import config_to_json
from sovits.voice import FORMAT, Voice, load_voice, save_voice

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "with a latent": {"latent": 4},
    "with a flow": {"latent": 6, "flow_layers": 2},
    "of noise": {"harmonics": False, "look_ahead": 6},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_light_voice_survives_its_file(kind: str, tmp_path: Path) -> None:
    config = light(**KINDS[kind])
    made, path = voice(config), tmp_path / "voice.safetensors"
    save_voice(path, made, dtype=torch.float32)
    again = load_voice(path)
    assert again.config == config
    assert again.remarks == []
    assert not any("posterior" in name for name in again.synthesizer.state_dict())
    torch.testing.assert_close(
        sound_of(again.synthesizer), sound_of(made.synthesizer), rtol=0, atol=0
    )


def trained(config: VoiceConfig, **train: Any) -> dict[str, Any]:
    """Return the `config.json` of a training."""
    whole = Config(config)
    return config_to_json(replace(whole, train=replace(whole.train, **train)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_of_a_light_voice_is_read_with_its_settings(kind: str, tmp_path: Path) -> None:
    config = light(**KINDS[kind])
    made = voice(config)
    state = dict(made.synthesizer.state_dict())
    state["latent.posterior.0.weight"] = torch.zeros(2, 2)  # training's own; nobody is told
    read = load_voice(write_legacy(tmp_path, state, trained(config)))
    assert (read.config, read.remarks) == (config, [])
    torch.testing.assert_close(
        sound_of(read.synthesizer), sound_of(made.synthesizer), rtol=0, atol=0
    )


def test_the_average_of_a_checkpoint_is_what_is_read(tmp_path: Path) -> None:
    config = light()
    latest, average = voice(config, 1).synthesizer, voice(config, 2).synthesizer
    path = write_legacy(tmp_path, dict(latest.state_dict()), trained(config))
    content = torch.load(path, weights_only=True)
    torch.save(content | {"average": dict(average.state_dict())}, path)
    heard = sound_of(load_voice(path).synthesizer)
    torch.testing.assert_close(heard, sound_of(average), rtol=0, atol=0)
    assert not torch.allclose(heard, sound_of(latest))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 9}, "width"),
        ({"prior_blocks": 3}, "prior_blocks"),
        ({"kernel_size": 5}, "kernel_size"),
        ({"latent": 2}, "latent"),
        ({"content_channels": 11}, "content_channels"),
    ],
)
def test_a_checkpoint_of_another_shape_than_its_settings_is_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    state = dict(voice(light()).synthesizer.state_dict())
    refused(write_legacy(tmp_path, state, trained(light(**change))), message)


def test_settings_of_the_other_architecture_are_refused(tmp_path: Path) -> None:
    old = VoiceConfig(AudioConfig(), synthesizer_config())
    ours, theirs = (dict(voice(config).synthesizer.state_dict()) for config in (light(), old))
    refused(write_legacy(tmp_path / "a", ours, trained(old)), "architecture is sovits-native|arch")
    refused(write_legacy(tmp_path / "b", theirs, trained(light())), "architecture")
    assert "shaper.head.weight" in read_state(tmp_path / "a" / "G_800.pth")


def test_more_speakers_than_the_settings_say_are_remarked_on(tmp_path: Path) -> None:
    config = light()
    fewer = replace(
        config, synthesizer=replace(config.synthesizer, n_speakers=2), speakers={"alice": 0}
    )
    state = dict(voice(config).synthesizer.state_dict())
    read = load_voice(write_legacy(tmp_path, state, trained(fewer)))
    assert read.config.synthesizer.n_speakers == 3
    assert any("n_speakers is 3" in remark for remark in read.remarks)


def header(**changes: Any) -> dict[str, str]:
    """Return the metadata of a light voice with settings of its network changed."""
    config: Any = json.loads(json.dumps(to_dict(light())))
    config["synthesizer"] |= changes
    return {"sovits": json.dumps({"format": FORMAT, "config": config, "card": {}})}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "sovits-native-2"}, "There is no setting voice.synthesizer.architecture"),
        ({"inter_channels": 4}, "There is no setting voice.synthesizer.inter_channels"),
        ({"volume": True}, "There is no setting voice.synthesizer.volume"),
        ({"moves_formants": True}, "There is no setting voice.synthesizer.moves_formants"),
        ({"width": 0}, "width is 0"),
        ({"width": 10**7}, "synthesizer.width is 10000000, but must be between 1 and 16384"),
        ({"width": 16_000}, "describes a network of about"),
        ({"width": 1200}, "holds 0 numbers, but its settings describe"),
        ({"width": 10**400}, "of ordinary size"),
        ({"width": "8"}, "of type int"),
        ({"prior_blocks": 10**9}, "synthesizer.prior_blocks is .* between 1 and 128"),
        ({"decoder_blocks": 129}, "between 1 and 128"),
        ({"kernel_size": 10**6}, "between 2 and 255"),
        ({"look_ahead": 3}, "look_ahead is 3"),
        ({"look_ahead": 50}, "look_ahead is 50, but must be at most 6"),
        ({"n_speakers": 10**9}, "between 1 and 1e"),
        ({"harmonic_bands": 10**5}, "between 2 and 1024"),
        ({"noise_bands": 1}, "noise_bands is 1"),
        ({"latent": 10**6}, "between 0 and 16384"),
        ({"flow_layers": 10**6}, "between 0 and 128"),
        ({"flow_layers": 128, "latent": 16_384, "speaker_channels": 16_384}, "describe"),
        ({"harmonics": 3}, "of type bool"),
    ],
)
def test_a_header_beyond_reason_is_refused_before_anything_is_built(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "voice.safetensors"
    save_file({"none": torch.zeros(0)}, path, metadata=header(**changes))
    refused(path, message)


def test_frames_that_windows_cannot_tile_are_refused(tmp_path: Path) -> None:
    audio = AudioConfig(sample_rate=16_000, hop_length=160, n_fft=512)
    with pytest.raises(ConfigError, match="needs windows of four hops"):
        replace(light(), audio=audio)
    config = to_dict(light())
    config["audio"] |= {"hop_length": 150, "n_fft": 600}
    metadata = {"sovits": json.dumps({"format": FORMAT, "config": config, "card": {}})}
    save_file({"none": torch.zeros(0)}, tmp_path / "voice.safetensors", metadata=metadata)
    refused(tmp_path / "voice.safetensors", "hops that four divides")


def test_files_from_before_there_were_two_architectures_are_of_the_first() -> None:
    old = VoiceConfig(AudioConfig(), synthesizer_config())
    table = to_dict(old)
    assert "architecture" not in table["synthesizer"]
    assert build(VoiceConfig, table) == old


class Vowels:
    """Content that is loud where the sound is."""

    def __init__(self, config: VoiceConfig) -> None:
        class Spec:
            sample_rate, hop_length = config.audio.sample_rate, config.audio.hop_length

        self.spec, self.channels = Spec(), config.synthesizer.content_channels

    def encode(self, wave: torch.Tensor) -> torch.Tensor:
        frames = -(-wave.shape[0] // self.spec.hop_length)
        padded = torch.nn.functional.pad(wave, (0, frames * self.spec.hop_length - len(wave)))
        level = padded.view(frames, -1).square().mean(1).sqrt()
        return level.expand(self.channels, -1)


@pytest.fixture
def singer(monkeypatch: pytest.MonkeyPatch) -> Voice:
    monkeypatch.setattr("sovits.convert.load_pitch_extractor", steady())
    config = light(n_speakers=3)
    made = voice(config, 3)
    with torch.no_grad():  # one formant, so that there is something to move
        made.synthesizer.get_parameter("shaper.head.bias")[:12] = torch.tensor(
            [0.0] * 6 + [-6.0] * 6
        )
    encoder: ContentEncoder = Vowels(config)  # type: ignore[assignment]
    made._encoder = encoder
    return made


def converted(singer: Voice, **options: Any) -> torch.Tensor:
    """Return a second and a half of a tone in this voice."""
    return singer.convert(tone(1.5, 16_000), 16_000, ConvertOptions(**options))


def test_a_light_voice_converts_and_its_seams_are_not_heard(singer: Voice) -> None:
    whole = converted(singer)
    assert whole.shape == (24_000,)
    assert whole.abs().max() > 1e-3
    assert torch.equal(whole, converted(singer))
    assert not torch.allclose(whole, converted(singer, seed=1))
    assert torch.equal(whole, converted(singer, noise_scale=0.0))  # there is no latent
    cut = converted(singer, max_piece_seconds=1.0)
    torch.testing.assert_close(cut, whole, rtol=0, atol=0.02 * float(whole.abs().max()))


def test_formants_reach_the_network_and_zero_changes_nothing(singer: Voice) -> None:
    whole = converted(singer)
    assert torch.equal(whole, converted(singer, formants=0.0))
    moved = converted(singer, formants=4.0)
    assert (moved - whole).square().mean() > 0.01 * whole.square().mean()


def test_half_precision_changes_little_but_the_pulses_nothing(singer: Voice) -> None:
    whole, half = converted(singer), converted(singer, precision="bf16")
    assert not torch.equal(whole, half)
    assert (whole - half).square().mean() < 1e-2 * whole.square().mean()


def test_what_a_voice_cannot_do_is_refused(singer: Voice) -> None:
    with pytest.raises(VoiceError, match="cannot choose the melody"):
        converted(singer, auto_f0=True)
    old = voice(VoiceConfig(AudioConfig(), synthesizer_config(), speakers={"a": 0}))
    with pytest.raises(VoiceError, match="cannot move formants apart from the pitch"):
        old.convert(tone(0.5, 16_000), 16_000, ConvertOptions(formants=1.0))
    with pytest.raises(ValueError, match="cannot move formants"):
        old.synthesizer.infer(*[torch.zeros(1)] * 4, formants=1.1)
    for formants in (-12.5, 13.0, float("nan")):
        with pytest.raises(ConfigError, match=r"formants is .*, but must be between -12 and 12"):
            ConvertOptions(formants=formants)
