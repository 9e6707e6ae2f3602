"""Whatever is in a config.json, it is understood exactly or refused in one line."""

from __future__ import annotations

import copy
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovits.config import (
    AudioConfig,
    Config,
    DiscriminatorConfig,
    NativeConfig,
    SynthesizerConfig,
    TrainConfig,
    VoiceConfig,
)
from sovits.errors import ConfigError
from sovits.features.content import CONTENT
from sovits.legacy.keys import CHANNELS, SETTINGS
from sovits.legacy.limits import parameters
from sovits.legacy.presets import PRESETS
from sovits.legacy.settings import (
    MAX_BYTES,
    config_from_json,
    config_to_json,
    read_config,
    write_config,
)
from sovits.models.build import make_synthesizer

# The template so-vits-svc-4.0v1 of the fork, as its documentation lists it.
FORK: dict[str, Any] = {
    "train": {
        "log_interval": 100,
        "eval_interval": 200,
        "seed": 1234,
        "epochs": 10000,
        "learning_rate": 0.0001,
        "betas": [0.8, 0.99],
        "eps": 1e-9,
        "batch_size": 16,
        "fp16_run": False,
        "bf16_run": False,
        "lr_decay": 0.999875,
        "segment_size": 10240,
        "init_lr_ratio": 1,
        "warmup_epochs": 0,
        "c_mel": 45,
        "c_kl": 1.0,
        "use_sr": True,
        "max_speclen": 512,
        "port": "8001",
        "keep_ckpts": 3,
        "num_workers": 4,
        "log_version": 0,
        "ckpt_name_by_step": False,
        "accumulate_grad_batches": 1,
    },
    "data": {
        "training_files": "filelists/44k/train.txt",
        "validation_files": "filelists/44k/val.txt",
        "max_wav_value": 32768.0,
        "sampling_rate": 44100,
        "filter_length": 2048,
        "hop_length": 512,
        "win_length": 2048,
        "n_mel_channels": 80,
        "mel_fmin": 0.0,
        "mel_fmax": 22050,
        "contentvec_final_proj": False,
    },
    "model": {
        "inter_channels": 192,
        "hidden_channels": 192,
        "filter_channels": 768,
        "n_heads": 2,
        "n_layers": 6,
        "kernel_size": 3,
        "p_dropout": 0.1,
        "resblock": "1",
        "resblock_kernel_sizes": [3, 7, 11],
        "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
        "upsample_rates": [8, 8, 2, 2, 2],
        "upsample_initial_channel": 512,
        "upsample_kernel_sizes": [16, 16, 4, 4, 4],
        "n_layers_q": 3,
        "use_spectral_norm": False,
        "gin_channels": 256,
        "ssl_dim": 768,
        "n_speakers": 200,
        "type_": "hifi-gan",
        "pretrained": {"D_0.pth": "https://example.org/D", "G_0.pth": "https://example.org/G"},
    },
    "spk": {"alice": 0, "bob": 1},
}


def altered(path: str, value: Any) -> dict[str, Any]:
    """Return the fork's template with one value changed; None takes the key out."""
    table = copy.deepcopy(FORK)
    *sections, key = path.split(".")
    inner = table
    for section in sections:
        inner = inner[section]
    if value is None:
        inner.pop(key)
    else:
        inner[key] = value
    return table


def test_the_forks_template_is_the_default_configuration() -> None:
    config, notes = config_from_json(FORK)
    assert config == Config(
        VoiceConfig(
            AudioConfig(mel_max=22050.0),
            speakers={"alice": 0, "bob": 1},
            content="contentvec-768l12",
        ),
        train=TrainConfig(num_workers=4),
    )
    assert config == replace(
        PRESETS["so-vits-svc-4.0v1"]("contentvec-768l12", {"alice": 0, "bob": 1}),
        train=TrainConfig(num_workers=4),
    )
    (note,) = notes
    for dead in ("train.port", "data.max_wav_value", "model.n_layers_q", "model.pretrained"):
        assert dead in note


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("content", CHANNELS)
def test_presets_survive_json_exactly(preset: str, content: str) -> None:
    config = PRESETS[preset](content, {"ä b": 0, "c": 1})
    table = json.loads(json.dumps(config_to_json(config)))
    assert config_from_json(table) == (config, [])
    assert config.voice.synthesizer.content_channels == CONTENT[content].channels


def test_every_setting_has_a_key_and_survives_a_change() -> None:
    changed = Config(
        VoiceConfig(
            AudioConfig(22_050, 128, 512, 40, 20.0, 8_000.0),
            SynthesizerConfig(
                content_channels=256,
                inter_channels=64,
                hidden_channels=48,
                filter_channels=96,
                n_heads=4,
                n_layers=2,
                kernel_size=5,
                dropout=0.25,
                speaker_channels=32,
                n_speakers=7,
                flow_layers=3,
                posterior_layers=5,
                decoder="mb-istft",
                resblock="2",
                resblock_kernel_sizes=(3, 5),
                resblock_dilations=((1, 2), (3,)),
                upsample_rates=(4, 4),
                upsample_kernel_sizes=(8, 10),
                upsample_initial_channels=64,
                istft_n_fft=32,
                istft_hop_length=2,
                volume=True,
                predicts_f0=False,
            ),
            "hubert-soft",
            {"x": 6},
        ),
        DiscriminatorConfig((2, 3), 0.5, True, False, (64, 32)),
        TrainConfig(
            7, 8, 9, 10, 3e-4, (0.5, 0.9), 1e-7, 0.99, 4, 12, 99, 1.0, 2.0, 0.5, 3.0, 0, 2, "bf16",
            True, 3, 55, (64, 32), (8, 4), (32, 16), "a.txt", "b.txt", 0.9,
        ),
    )  # fmt: skip
    network = NativeConfig("sovits-native", 512, 9, 8, 24, 2, 4, 5, 2, 6, 16, 12, False, 4, 1)
    light = replace(
        changed,
        voice=replace(changed.voice, synthesizer=network, content="whisper-base"),
        train=replace(
            changed.train, moved=0.25, others=0.25, max_gradient=3.0, patience=3, balance=0.5
        ),
    )
    assert config_from_json(json.loads(json.dumps(config_to_json(light)))) == (light, [])
    assert config_from_json(json.loads(json.dumps(config_to_json(changed)))) == (changed, [])
    unchanged = Config()
    for ours, plain in (
        (light.train, unchanged.train),
        (light.discriminator, unchanged.discriminator),
        (light.voice.synthesizer, NativeConfig()),
    ):
        for f in fields(ours):
            assert (f.name == "architecture") == (getattr(ours, f.name) == getattr(plain, f.name))
    named = {(setting.room, setting.name) for setting in SETTINGS}
    kinds: dict[str, Any] = {"train": TrainConfig, "audio": AudioConfig}
    kinds |= {"synthesizer": SynthesizerConfig, "native": NativeConfig}
    for room, kind in (*kinds.items(), ("discriminator", DiscriminatorConfig)):
        composed = {"precision", "segment_frames"} if room == "train" else set()
        assert {f.name for f in fields(kind)} - composed == {n for r, n in named if r == room}


def test_a_file_survives_being_written_and_read(tmp_path: Path) -> None:
    config = PRESETS["quickvc"]("whisper-base", {"Zoë": 3})
    path = tmp_path / "configs" / "44k" / "config.json"
    write_config(path, config)
    assert read_config(path) == (config, [])
    assert [file.name for file in path.parent.iterdir()] == ["config.json"]
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # as Windows editors begin a file
    assert read_config(path) == (config, [])


@pytest.mark.parametrize(
    ("model", "data", "content", "channels"),
    [
        ({}, {}, "contentvec-256l9", 256),  # the fork's rule for what is absent
        ({"ssl_dim": 256}, {}, "contentvec-256l9", 256),
        ({"ssl_dim": 768}, {}, "contentvec-768l12", 768),
        ({"ssl_dim": 512}, {}, "whisper-base", 512),
        ({"ssl_dim": 192}, {}, "sovits-content", 192),
        ({"ssl_dim": None}, {"contentvec_final_proj": False}, "contentvec-768l12", 768),
        ({}, {"contentvec_final_proj": True}, "contentvec-256l9", 256),
        ({"speech_encoder": "vec768l12"}, {}, "contentvec-768l12", 768),
        ({"speech_encoder": "vec256l9", "ssl_dim": 256}, {}, "contentvec-256l9", 256),
        ({"speech_encoder": "hubertsoft", "ssl_dim": 256}, {}, "hubert-soft", 256),
        ({"speech_encoder": "whisper-base"}, {}, "whisper-base", 512),
        ({"content": "hubert-soft"}, {"contentvec_final_proj": True}, "hubert-soft", 256),
        ({"content": "mine", "ssl_dim": 40}, {}, "mine", 40),
    ],
)
def test_the_content_encoder_is_inferred(
    model: dict[str, Any], data: dict[str, Any], content: str, channels: int
) -> None:
    voice = config_from_json({"model": model, "data": data})[0].voice
    assert (voice.content, voice.synthesizer.content_channels) == (content, channels)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("train.log_interval", "100", "train.log_interval is '100', but must be of type int"),
        ("train.log_interval", True, "train.log_interval is True"),
        ("train.betas", [0.8], r"train.betas is \[0.8\], but must be a list of 2"),
        ("train.c_mel", float("nan"), "train.c_mel is nan, but must be a number of ordinary"),
        ("train.c_mel", 10**400, "train.c_mel is 1000.*, but must be a number of ordinary size"),
        (
            "train.segment_size",
            10_000,
            r"train.segment_size .* multiple of data.hop_length \(512\)",
        ),
        ("train.segment_size", 10**12, "train.segment_size is .* between"),
        ("train.half_type", "fp8", "train.half_type is 'fp8'"),
        ("train.fft_sizes", [5] * 10_000, "train.fft_sizes is .* a list of at most 64"),
        ("data.sampling_rate", 0, "data.sampling_rate is 0, but must be between"),
        ("data.win_length", 1024, r"data.win_length is 1024, .* filter_length \(2048\)"),
        ("data.mel_fmax", 30_000, "data.mel_fmax is 30000.0"),
        ("data.contentvec_final_proj", True, "model.ssl_dim is 768, .*contentvec-256l9 gives 256"),
        ("data.training_files", "x" * 5000, "data.training_files is .* 4096 characters"),
        ("model.type_", "nsf-hifigan", "model.type_ is 'nsf-hifigan', but must be one of hifi-gan"),
        ("model.n_speakers", 10**12, "model.n_speakers is .* between"),
        ("model.hidden_channels", 191, r"model.hidden_channels is 191, .* n_heads \(2\)"),
        ("model.inter_channels", 191, "model.inter_channels is 191, but must be even"),
        ("model.filter_channels", 10**7, "model.filter_channels is .* between"),
        ("model.upsample_rates", [8, 8, 2, 2], "upsample_rates and model.upsample_kernel_sizes"),
        ("model.upsample_rates", [8, 8, 2, 2, 3], "model.upsample_kernel_sizes is"),
        ("model.resblock_dilation_sizes", [[1], 3, [2]], r"resblock_dilation_sizes\[1\] is 3"),
        ("model.resblock_kernel_sizes", [3, 7], "have different lengths"),
        ("model.resblock_kernel_sizes", [3, 7, 10], "must be odd"),
        ("model.upsample_initial_channel", 16, "upsample_initial_channel is 16, .* at least 32"),
        ("model.use_transformer_flow", True, "model.use_transformer_flow is True, a variant"),
        ("model.use_depthwise_conv", True, "model.use_depthwise_conv is True, a variant"),
        ("model.flow_share_parameter", True, "model.flow_share_parameter is True, a variant"),
        ("model.vocoder_name", "nsf-snake-hifigan", "model.vocoder_name is 'nsf-snake-hifigan'"),
        ("model.speech_encoder", "whisper-ppg", "model.speech_encoder is 'whisper-ppg', a variant"),
        ("model.speech_encoder", "vec768l13", "speech_encoder is 'vec768l13', .* one of vec768l12"),
        ("model.ssl_dim", 1024, "model.ssl_dim is 1024, but the content encoder"),
        ("spk", {"a": 0.5}, "spk.a is 0.5, but must be of type int"),
        ("spk", {"a": -1}, "spk.a is -1"),
        ("spk", {"a": 200}, "Speaker a has row 200"),
        ("spk", ["a"], r"spk is \['a'\], but must be an object"),
        ("train", [], r"train is \[\], but must be an object"),
        ("data.hop_length", 256, "makes 512 samples a frame, but hop_length is 256"),
    ],
)
def test_wrong_values_are_refused_by_the_keys_own_name(path: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        config_from_json(altered(path, value))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_width_that_no_encoder_here_has_is_refused() -> None:
    table = altered("model.ssl_dim", 1024)
    del table["data"]["contentvec_final_proj"]
    with pytest.raises(ConfigError, match=r"model.ssl_dim is 1024, a variant"):
        config_from_json(table)


def test_an_encoder_of_unknown_width_needs_one() -> None:
    with pytest.raises(
        ConfigError, match=r"model.ssl_dim is None, but must be the channels of mine"
    ):
        config_from_json({"model": {"content": "mine"}})


def test_a_network_of_terabytes_is_not_built() -> None:
    table = copy.deepcopy(FORK)
    table["model"] |= {"hidden_channels": 16_384, "filter_channels": 16_384, "n_layers": 128}
    with pytest.raises(ConfigError, match=r"about .* parameters, more than 1e\+09"):
        config_from_json(table)


@pytest.mark.parametrize("posterior", [True, False])
@pytest.mark.parametrize("preset", [*PRESETS, "with a latent"])
def test_the_estimated_size_of_a_network_is_near_its_size(preset: str, posterior: bool) -> None:
    voice = PRESETS.get(preset, PRESETS["sovits-native"])("contentvec-768l12", {"a": 0}).voice
    settings = voice.synthesizer
    if preset not in PRESETS:
        settings = NativeConfig(latent=96, flow_layers=5, n_speakers=40, look_ahead=7)
    network = make_synthesizer(settings, voice.audio, posterior=posterior)
    size = sum(parameter.numel() for parameter in network.parameters())
    assert parameters(voice.audio, settings, posterior=posterior) == pytest.approx(size, rel=0.03)


NATIVE: dict[str, Any] = {"model": {"type_": "sovits-native"}, "data": {"n_mel_channels": 128}}


def test_the_light_network_is_known_by_its_type_and_has_an_encoder_of_its_own() -> None:
    voice = config_from_json(NATIVE)[0].voice
    assert voice.synthesizer == NativeConfig()
    assert voice.content == "sovits-content"
    assert config_to_json(Config(voice))["model"]["type_"] == "sovits-native"
    table = {"model": {**NATIVE["model"], "ssl_dim": 192}}
    assert config_from_json(table)[0].voice.content == "sovits-content"
    table = {"model": {**NATIVE["model"], "ssl_dim": 768}}
    assert config_from_json(table)[0].voice.content == "contentvec-768l12"


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("model", "width", 0, "model.width is 0, but must be between 1 and 16384"),
        ("model", "width", "8", "model.width is '8', but must be of type int"),
        ("model", "width", 16_384, "describes a network of about"),
        ("model", "kernel_size", 1, "model.kernel_size is 1, but must be between 2"),
        ("model", "look_ahead", 3, "model.look_ahead is 3, but must be between 4"),
        ("model", "look_ahead", 21, "look_ahead is 21, but must be at most 20"),
        ("model", "harmonic_bands", 10**6, "model.harmonic_bands is 1000000"),
        ("model", "harmonics", 1, "model.harmonics is 1, but must be of type bool"),
        ("model", "latent", -1, "model.latent is -1"),
        ("data", "filter_length", 1024, "has 1024 samples and a hop 512, but sovits-native"),
        ("data", "hop_length", 1024, "has 2048 samples and a hop 1024"),
        ("train", "average", 1.0, "train.average is 1.0, but must be at least 0"),
        ("train", "patience", -1, "train.patience is -1, but must be between 0 and"),
        ("train", "moved", 1.5, "train.moved is 1.5, but must be between 0 and 1"),
        ("train", "moved", -1e-9, "train.moved is -1e-09"),
        ("train", "others", 1.5, "train.others is 1.5, but must be between 0 and 1"),
    ],
)
def test_wrong_values_of_the_light_network_are_refused(
    section: str, key: str, value: Any, message: str
) -> None:
    table = copy.deepcopy(NATIVE)
    table.setdefault(section, {})[key] = value
    with pytest.raises(ConfigError, match=message) as caught:
        config_from_json(table)
    assert "\n" not in str(caught.value)


def test_settings_refuse_by_themselves_what_their_files_refuse() -> None:
    with pytest.raises(ConfigError, match=r"width is 0, but must be at least 1"):
        NativeConfig(width=0)
    with pytest.raises(ConfigError, match=r"train.average is 1, but must be at least 0"):
        TrainConfig(average=1)
    with pytest.raises(ConfigError, match=r"train.patience is -1, but must be at least 0"):
        TrainConfig(patience=-1)
    with pytest.raises(ConfigError, match=r"train.moved is 2, but must be between 0 and 1"):
        TrainConfig(moved=2)


def test_only_a_voice_that_is_told_can_be_trained_on_moved_clips() -> None:
    with pytest.raises(ConfigError, match=r"train.moved is 0.5, but only a voice of type"):
        config_from_json(altered("train.moved", 0.5))
    assert config_from_json(NATIVE | {"train": {"moved": 0.5}})[0].train.moved == 0.5


def test_keys_of_the_other_network_are_named() -> None:
    assert any(
        "model.width is not" in note for note in config_from_json(altered("model.width", 3))[1]
    )
    table = copy.deepcopy(NATIVE)
    table["model"]["inter_channels"] = 192
    (note,) = config_from_json(table)[1]
    assert note.startswith("model.inter_channels is not a setting and is left out.")


def test_unknown_keys_are_named_with_the_nearest_known_one() -> None:
    table = altered("train.batchsize", 3) | {"notes": "mine"}
    notes = config_from_json(table)[1]
    assert "train.batchsize is not a setting and is left out. Did you mean batch_size?" in notes
    assert any(note.startswith("notes is not a setting") for note in notes)


def test_voices_under_one_row_are_remarked_on() -> None:
    notes = config_from_json(altered("spk", {"a": 1, "b": 1}))[1]
    assert any("share a row" in note for note in notes)


@pytest.mark.parametrize("text", ["auto", "auto-8"])
def test_a_batch_size_may_be_left_to_be_found(text: str) -> None:
    config, notes = config_from_json(altered("train.batch_size", text))
    assert config.train.batch_size == 0
    assert not any("batch_size" in note for note in notes)
    table = config_to_json(config)
    assert table["train"]["batch_size"] == "auto"
    assert config_from_json(table)[0] == config


@pytest.mark.parametrize("value", ["16", "many", 0, -1])
def test_a_batch_size_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"train\.batch_size is"):
        config_from_json(altered("train.batch_size", value))
    with pytest.raises(ConfigError, match=r"train\.batch_size is -1"):
        TrainConfig(batch_size=-1)


@pytest.mark.parametrize(
    ("keys", "precision"),
    [
        ({}, "fp32"),
        ({"fp16_run": True}, "fp16"),
        ({"bf16_run": True}, "bf16"),
        ({"fp16_run": True, "half_type": "bf16"}, "bf16"),
    ],
)
def test_precision_is_what_its_three_keys_say(keys: dict[str, Any], precision: str) -> None:
    assert config_from_json({"train": keys})[0].train.precision == precision


def test_two_precisions_at_once_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"train.bf16_run is True"):
        config_from_json({"train": {"fp16_run": True, "bf16_run": True}})


def test_long_segments_lengthen_the_context() -> None:
    train = config_from_json(altered("train.segment_size", 200 * 512))[0].train
    assert (train.segment_frames, train.context_frames) == (200, 200)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a settings file"),
        ("[]", "it holds no object"),
        ("{", "line 1"),
        ('{"train": {"c_mel": NaN}}', "NaN is not a number"),
        ('{"train": {"c_mel": 1e999}}', "train.c_mel is inf"),
        ('{"train": {"c_mel": ' + "9" * 5000 + "}}", "thousands of digits"),
        ('{"spk": {"a": 0, "a": 1}, "model": {}}', "'a' is set twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"train": ' + "[" * 20 + "]" * 20 + "}", "nested too deeply"),
        ('{"frames": 3}', "There is no setting frames"),
        ("{}", "There is no setting"),
        ("x" * (MAX_BYTES + 1), "too large"),
        (b"\xff\xfe\x00", "it is not UTF-8 text"),
    ],
)
def test_what_is_no_configuration_is_refused_in_one_line(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing.json does not exist.*svc pre-config"):
        read_config(tmp_path / "missing.json")
    with pytest.raises(ConfigError, match="is a folder"):
        read_config(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(
    st.sampled_from([setting.key for setting in SETTINGS] + ["spk", "data.win_length"]),
    JSON,
    st.booleans(),
)
def test_any_value_is_taken_or_refused(path: str, value: Any, native: bool) -> None:
    table = copy.deepcopy(NATIVE if native else FORK)
    section, _, key = path.partition(".")
    if value is not None and key:
        table.setdefault(section, {})[key] = value
    elif value is not None:
        table[section] = value
    try:
        config = config_from_json(table)[0]
    except ConfigError:
        return
    assert config_from_json(config_to_json(config))[0] == config
