"""Voices are read exactly as they were written, by whatever program."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from made_voices import (
    State,
    Table,
    fork_config,
    sound_of,
    synthesizer,
    synthesizer_config,
    voice,
    write_legacy,
)

from sovits import library
from sovits import voice as voices
from sovits.config import AudioConfig, DecoderKind, SynthesizerConfig, VoiceConfig
from sovits.errors import ConfigError, OutputError, VoiceError
from sovits.voice import load_voice, save_voice

AUDIO = AudioConfig(mel_max=22_050.0)
OURS = VoiceConfig(
    AUDIO,
    synthesizer_config(content_channels=9),
    content="an encoder of tomorrow",
    speakers={"alice": 0, "Zoë": 3},
)


@pytest.mark.parametrize("decoder", ["hifi-gan", "istft", "ms-istft", "mb-istft"])
def test_a_voice_survives_its_file(decoder: DecoderKind, tmp_path: Path) -> None:
    config = replace(OURS, synthesizer=synthesizer_config(decoder, content_channels=9))
    made, path = voice(config), tmp_path / "made.safetensors"
    made.card = {"licence": "CC0-1.0", "heard": [1, 2]}
    save_voice(path, made, dtype=torch.float32)
    read = load_voice(path)
    assert (read.config, read.card, read.path, read.remarks) == (config, made.card, path, [])
    assert torch.equal(sound_of(read.synthesizer), sound_of(made.synthesizer))
    save_voice(path, made)  # in half the bytes
    rounded = sound_of(load_voice(path).synthesizer)
    torch.testing.assert_close(rounded, sound_of(made.synthesizer), atol=2e-3, rtol=0)
    assert [entry.name for entry in tmp_path.iterdir()] == ["made.safetensors"]


def without(table: Table, *keys: str) -> Table:
    """Remove settings, written as `section.key`."""
    for key in keys:
        section, _, name = key.partition(".")
        table[section].pop(name)
    return table


FORTY = ("data.contentvec_final_proj", "model.type_")  # what 4.0 and 4.1 do not write
FORTY_ONE: Table = {
    "n_layers_trans_flow": 3,
    "n_flow_layer": 4,
    "vocoder_name": "nsf-hifigan",
    "speech_encoder": "vec768l12",
    "speaker_embedding": False,
    "vol_embedding": False,
    "use_depthwise_conv": False,
    "flow_share_parameter": False,
    "use_automatic_f0_prediction": True,
    "use_transformer_flow": False,
}
KINDS: dict[str, tuple[Table, SynthesizerConfig, str]] = {
    "the fork": (fork_config(), synthesizer_config(), "contentvec-768l12"),
    "the fork's istft": (fork_config("istft"), synthesizer_config("istft"), "contentvec-768l12"),
    "the fork's quickvc": (
        fork_config("ms-istft"),
        synthesizer_config("ms-istft"),
        "contentvec-768l12",
    ),
    "the fork's mb-istft": (
        fork_config("mb-istft"),
        synthesizer_config("mb-istft"),
        "contentvec-768l12",
    ),
    "the fork's legacy template": (
        without(fork_config(ssl_dim=256), *FORTY),
        synthesizer_config(content_channels=256),
        "contentvec-256l9",
    ),
    "4.0 with 768 channels": (
        without(fork_config(), *FORTY),
        synthesizer_config(),
        "contentvec-768l12",
    ),
    "4.0 edited as its README says": (
        without(fork_config(ssl_dim=256, speech_encoder="vec256l9"), *FORTY),
        synthesizer_config(content_channels=256),
        "contentvec-256l9",
    ),
    "4.1": (without(fork_config(**FORTY_ONE), *FORTY), synthesizer_config(), "contentvec-768l12"),
    "4.1 that hears loudness": (
        without(fork_config(**FORTY_ONE | {"vol_embedding": True}), *FORTY),
        synthesizer_config(volume=True),
        "contentvec-768l12",
    ),
    "4.1 without auto pitch": (
        without(fork_config(**FORTY_ONE | {"use_automatic_f0_prediction": False}), *FORTY),
        synthesizer_config(predicts_f0=False),
        "contentvec-768l12",
    ),
    "4.1 with deeper couplings": (
        without(fork_config(**FORTY_ONE | {"n_flow_layer": 6}), *FORTY),
        synthesizer_config(flow_layers=6),
        "contentvec-768l12",
    ),
    "4.1 with HuBERT-soft": (
        without(
            fork_config(**FORTY_ONE | {"speech_encoder": "hubertsoft", "ssl_dim": 256}), *FORTY
        ),
        synthesizer_config(content_channels=256),
        "hubert-soft",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_other_programs_voices_sound_as_they_did(kind: str, tmp_path: Path) -> None:
    table, config, content = KINDS[kind]
    trained = synthesizer(config, AUDIO)
    read = load_voice(write_legacy(tmp_path, trained.state_dict(), table))
    assert (read.config.synthesizer, read.config.content) == (config, content)
    assert read.speakers == {"alice": 0, "bob": 1}
    assert read.sample_rate == 44_100
    assert all(remark.startswith("Without effect here:") for remark in read.remarks)
    for auto in {False, config.predicts_f0}:
        wanted = sound_of(trained, predict_f0=auto)
        torch.testing.assert_close(
            sound_of(read.synthesizer, predict_f0=auto), wanted, atol=1e-5, rtol=0
        )
        assert float(wanted.std()) > 1e-5


def test_speakers_do_not_sound_alike(tmp_path: Path) -> None:
    made = voice(OURS)
    assert not torch.allclose(sound_of(made.synthesizer, 0), sound_of(made.synthesizer, 3))


def folded(state: State) -> State:
    """Return a state in which weight normalisation was removed before it was saved."""
    network = synthesizer(synthesizer_config(), AUDIO)
    network.load_state_dict(state)
    return network.fold().state_dict()


def renamed(state: State) -> State:
    """Return a state as torch's newer weight normalisation names it."""
    names = {"weight_g": "original0", "weight_v": "original1"}
    pattern = re.compile(r"(weight_[gv])$")
    return {
        pattern.sub(lambda m: f"parametrizations.weight.{names[m[1]]}", name): tensor
        for name, tensor in state.items()
    }


PACKED: dict[str, tuple[Callable[[State], Any], float]] = {
    "behind module.": (lambda state: {"model": {f"module.{n}": t for n, t in state.items()}}, 0),
    "with newer names": (lambda state: {"model": renamed(state)}, 0),
    "without the optimizer": (lambda state: {"model": state, "optimizer": None}, 0),
    "with an optimizer": (
        lambda state: {
            "model": state,
            "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1}]},
        },
        0,
    ),
    "without a wrapper": (lambda state: state, 0),
    "compressed": (
        lambda state: {"model": {n: t for n, t in state.items() if not n.startswith("enc_q.")}},
        0,
    ),
    "in half precision": (lambda state: {"model": {n: t.half() for n, t in state.items()}}, 2e-3),
    "folded": (lambda state: {"model": folded(state)}, 1e-6),
    "folded in bfloat16": (
        lambda state: {"model": {n: t.bfloat16() for n, t in folded(state).items()}},
        1e-2,
    ),
}


@pytest.mark.parametrize("how", PACKED)
def test_a_checkpoint_is_understood_however_it_is_packed(how: str, tmp_path: Path) -> None:
    pack, tolerance = PACKED[how]
    trained = synthesizer(synthesizer_config(), AUDIO)
    path = write_legacy(tmp_path, {}, fork_config())
    torch.save(pack(dict(trained.state_dict())), path)
    read = load_voice(path)
    assert all(remark.startswith("Without effect here:") for remark in read.remarks)
    torch.testing.assert_close(
        sound_of(read.synthesizer), sound_of(trained), atol=tolerance or 1e-6, rtol=0
    )
    assert next(read.synthesizer.parameters()).dtype == torch.float32


def test_files_before_torch_1_6_are_read(tmp_path: Path) -> None:
    trained = synthesizer(synthesizer_config(), AUDIO)
    path = write_legacy(tmp_path, {}, fork_config())
    torch.save({"model": trained.state_dict()}, path, _use_new_zipfile_serialization=False)
    torch.testing.assert_close(sound_of(load_voice(path).synthesizer), sound_of(trained))


def test_channels_that_died_stay_silent_when_folded(tmp_path: Path) -> None:
    state = folded(dict(synthesizer(synthesizer_config(), AUDIO).state_dict()))
    state["dec.conv_pre.weight"][3] = 0
    read = load_voice(write_legacy(tmp_path, state, fork_config()))
    assert sound_of(read.synthesizer).isfinite().all()


def test_what_the_tensors_tell_is_settled_and_said(tmp_path: Path) -> None:
    changes = {"n_speakers": 7, "volume": True, "predicts_f0": False}
    state = synthesizer(synthesizer_config(**changes), AUDIO).state_dict()
    read = load_voice(write_legacy(tmp_path, state, fork_config()))
    for name, value in changes.items():
        assert getattr(read.config.synthesizer, name) == value
        assert any(f"{name} is {value}, though" in remark for remark in read.remarks)


def test_tensors_without_a_use_are_named(tmp_path: Path) -> None:
    state = dict(synthesizer(synthesizer_config(), AUDIO).state_dict())
    state["dec.ornament"] = torch.ones(1)
    read = load_voice(write_legacy(tmp_path, state, fork_config()))
    assert read.remarks[-1] == "G_800.pth: 1 tensors are not used (dec.ornament)."


CONTRADICTIONS: dict[str, Table] = {
    "content_channels is 768 in the weights, but 256 in": {
        "ssl_dim": 256,
        "speech_encoder": "vec256l9",
    },
    "decoder is hifi-gan in the weights, but ms-istft in": fork_config("ms-istft")["model"],
    "hidden_channels is 8 in the weights, but 16 in": {"hidden_channels": 16},
    "inter_channels is 4 in the weights, but 6 in": {"inter_channels": 6},
    "filter_channels is 12 in the weights, but 13 in": {"filter_channels": 13},
    "kernel_size is 3 in the weights, but 5 in": {"kernel_size": 5},
    "n_layers is 2 in the weights, but 3 in": {"n_layers": 3},
    "n_heads is 2 in the weights, but 4 in": {"n_heads": 4},
    "flow_layers is 4 in the weights, but 3 in": {"n_flow_layer": 3},
    "speaker_channels is 6 in the weights, but 7 in": {"gin_channels": 7},
    "upsample_initial_channels is 32 in the weights, but 64 in": {"upsample_initial_channel": 64},
    "resblock is 1 in the weights, but 2 in": {"resblock": "2"},
    "dec.ups.0.weight_v has the shape (32, 16, 16), but its settings say (32, 16, 8)": {
        "upsample_rates": [4, 16, 2, 2, 2],
        "upsample_kernel_sizes": [8, 32, 4, 4, 4],
    },
}


@pytest.mark.parametrize("complaint", CONTRADICTIONS)
def test_a_config_of_another_model_is_noticed(complaint: str, tmp_path: Path) -> None:
    table = fork_config(**CONTRADICTIONS[complaint])
    table["data"].pop("contentvec_final_proj")
    state = synthesizer(synthesizer_config(), AUDIO).state_dict()
    with pytest.raises(VoiceError, match=re.escape(complaint)):
        load_voice(write_legacy(tmp_path, state, table))


def test_a_speaker_beyond_the_table_is_noticed(tmp_path: Path) -> None:
    state = dict(synthesizer(synthesizer_config(), AUDIO).state_dict())
    state["emb_g.weight"] = state["emb_g.weight"][:1]
    with pytest.raises(ConfigError, match="Speaker bob has row 1"):
        load_voice(write_legacy(tmp_path, state, fork_config()))
    state["emb_g.weight"] = state["emb_g.weight"][:0]
    with pytest.raises(ConfigError, match="n_speakers is 0"):
        load_voice(write_legacy(tmp_path, state, fork_config() | {"spk": {}}))


def test_a_folder_gives_the_highest_number_and_not_the_newest_file(tmp_path: Path) -> None:
    states = {n: synthesizer(synthesizer_config(), AUDIO, n).state_dict() for n in (800, 1000)}
    older, newer = (write_legacy(tmp_path, states[n], fork_config(), n) for n in (1000, 800))
    os.utime(older, (1, 1))
    (tmp_path / "G_9999.pth").mkdir()
    (tmp_path / "D_2000.pth").touch()
    (tmp_path / ".half-3000.safetensors").touch()
    assert load_voice(tmp_path).path == older
    assert load_voice(str(newer)).path == newer
    torch.testing.assert_close(
        load_voice(tmp_path).synthesizer.emb_g.weight, states[1000]["emb_g.weight"]
    )


def test_settings_are_taken_from_where_they_are_named(tmp_path: Path) -> None:
    state = synthesizer(synthesizer_config(), AUDIO).state_dict()
    path = write_legacy(tmp_path / "logs", state, None)
    with pytest.raises(VoiceError, match=r"needs its config\.json, and there is no .*logs.config"):
        load_voice(path)
    beside = tmp_path / "mine.json"
    beside.write_text(json.dumps(fork_config() | {"spk": {"carol": 4}}))
    assert load_voice(path, beside).speakers == {"carol": 4}
    assert load_voice(path.parent, str(beside)).speakers == {"carol": 4}


def test_bundled_voices_have_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "VOICES", tmp_path)
    monkeypatch.chdir(tmp_path)
    save_voice(tmp_path / "heart.safetensors", voice(OURS))
    assert load_voice("heart").path == tmp_path / "heart.safetensors"
    with pytest.raises(VoiceError, match=r"haert does not exist.* Did you mean heart\?"):
        load_voice("haert")


def test_a_folder_without_voices_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(VoiceError, match="holds no voice"):
        load_voice(tmp_path)


def test_speakers_are_found_by_name_and_by_row() -> None:
    made = voice(OURS)
    assert made.row(None) == 0
    assert (made.row("Zoë"), made.row("3"), made.row("0")) == (3, 3, 0)
    with pytest.raises(VoiceError, match=r"no speaker Zoe\. Did you mean Zoë\?"):
        made.row("Zoe")
    for wrong in ("1", "03", "-1", "²", "9" * 5000, ""):
        with pytest.raises(VoiceError, match="has no speaker"):
            made.row(wrong)
    assert voice(replace(OURS, speakers={"bob": 2, "amy": 1})).row(None) == 1
    assert voice(replace(OURS, speakers={"1": 0, "0": 1})).row("1") == 0


def test_a_voice_without_names_goes_by_rows() -> None:
    made = voice(replace(OURS, speakers={}))
    assert (made.row(None), made.row("4")) == (0, 4)
    with pytest.raises(VoiceError, match=r"no speaker 5\. It may be: 0, 1, 2, 3, 4\."):
        made.row("5")
    crowd = replace(OURS.synthesizer, n_speakers=500)
    with pytest.raises(VoiceError, match="and 460 more"):
        voice(replace(OURS, synthesizer=crowd, speakers={})).row("alice")


def test_what_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = voice(OURS)
    for path in (tmp_path, tmp_path / "nowhere" / "voice.safetensors"):
        with pytest.raises(OutputError, match="cannot be written"):
            save_voice(path, made)
    there = tmp_path / "voice.safetensors"
    there.write_bytes(b"before")

    def interrupted(tensors: State, metadata: dict[str, str]) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(voices, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_voice(there, made)
    assert there.read_bytes() == b"before"
    assert [entry.name for entry in tmp_path.iterdir()] == [there.name]


def test_weights_too_large_for_half_precision_are_not_lost_in_silence(tmp_path: Path) -> None:
    made, path = voice(OURS), tmp_path / "loud.safetensors"
    made.synthesizer.emb_g.weight[0, 0] = 1e6
    with pytest.raises(VoiceError, match=r"emb_g\.weight holds NaN or infinite"):
        save_voice(path, made)
    save_voice(path, made, dtype=torch.float32)
    assert load_voice(path).synthesizer.emb_g.weight[0, 0] == 1e6
