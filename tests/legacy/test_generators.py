"""What is written for other programs has their names and shapes, and sounds as before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import made_voices
import pytest
import torch

from sovits.cli import main
from sovits.config import AudioConfig, Config, DecoderKind, TrainConfig, VoiceConfig
from sovits.errors import OutputError, VoiceError
from sovits.legacy.generator import KINDS, write_generator
from sovits.legacy.settings import config_from_json
from sovits.voice import load_voice, save_voice

AUDIO = AudioConfig(mel_max=22050.0)


def config(decoder: DecoderKind = "hifi-gan") -> Config:
    network = made_voices.synthesizer_config(decoder)
    voice = VoiceConfig(AUDIO, network, "contentvec-768l12", {"alice": 0, "bob": 1})
    return Config(voice, train=TrainConfig(learning_rate=3e-4))


@pytest.mark.parametrize("decoder", KINDS)
def test_a_checkpoint_is_written_as_others_have_it(tmp_path: Path, decoder: Any) -> None:
    told = config(decoder)
    network = made_voices.synthesizer(told.voice.synthesizer, AUDIO)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    beside = write_generator(tmp_path / "G_7.pth", state, told, iteration=7)
    assert beside == tmp_path / "config.json"
    content = torch.load(tmp_path / "G_7.pth", weights_only=True)
    assert list(content) == ["model", "iteration", "optimizer", "learning_rate"]
    assert (content["iteration"], content["optimizer"]) == (7, None)
    assert content["learning_rate"] == 3e-4
    assert content["model"].keys() == state.keys()
    assert all(torch.equal(content["model"][name], state[name]) for name in state)
    table = json.loads(beside.read_text())
    assert config_from_json(table) == (told, [])
    # The keys that the fork cannot do without.
    assert table["data"]["contentvec_final_proj"] is False
    assert table["train"]["segment_size"] == 10_240
    assert {"filter_length", "hop_length", "win_length", "n_mel_channels"} <= set(table["data"])
    assert {"inter_channels", "resblock", "ssl_dim", "type_", "p_dropout"} <= set(table["model"])


@pytest.mark.parametrize("decoder", KINDS)
def test_a_folded_voice_is_unfolded(tmp_path: Path, decoder: Any) -> None:
    told = config(decoder)
    plain = made_voices.synthesizer(told.voice.synthesizer, AUDIO)
    names = {name for name in plain.state_dict() if not name.startswith("enc_q.")}
    folded = made_voices.synthesizer(told.voice.synthesizer, AUDIO).fold()
    write_generator(tmp_path / "G_0.pth", folded.state_dict(), told)
    content = torch.load(tmp_path / "G_0.pth", weights_only=True)["model"]
    assert content.keys() == names
    voice = load_voice(tmp_path / "G_0.pth")
    assert voice.speakers == {"alice": 0, "bob": 1}
    heard = made_voices.sound_of(voice.synthesizer), made_voices.sound_of(folded)
    torch.testing.assert_close(*heard, atol=1e-5, rtol=1e-4)


def test_networks_of_our_own_are_for_nobody_else(tmp_path: Path) -> None:
    light = replace(config(), voice=made_voices.light())
    with pytest.raises(VoiceError, match="of type sovits-native, which other programs do not know"):
        write_generator(tmp_path / "G_1.pth", {}, light)
    network = replace(made_voices.synthesizer_config(), decoder="harmonic")
    own = replace(config(), voice=replace(config().voice, synthesizer=network))
    with pytest.raises(VoiceError, match="of type harmonic, which other programs do not know"):
        write_generator(tmp_path / "G_1.pth", {}, own)
    assert not list(tmp_path.iterdir())


def test_settings_of_another_voice_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    state = made_voices.synthesizer(config().voice.synthesizer, AUDIO).state_dict()
    with pytest.raises(OutputError, match=r"config.json is there already, with other settings"):
        write_generator(tmp_path / "G_1.pth", state, config())
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    with pytest.raises(OutputError, match="cannot be written"):
        write_generator(tmp_path / "none" / "G_1.pth", state, config())


def test_voices_are_exported_for_others_by_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    made = made_voices.synthesizer(config().voice.synthesizer, AUDIO)
    source = made_voices.write_legacy(tmp_path / "a", made.state_dict(), made_voices.fork_config())
    raw = torch.load(source, weights_only=True)
    raw["average"] = {name: tensor * 1.01 for name, tensor in raw["model"].items()}
    torch.save(raw, source)
    assert main(["export", "-m", str(source), "-o", "b/G_800.pth"]) == 0
    out, err = capsys.readouterr()
    assert out == "b/G_800.pth\n"
    assert "Its settings are in b/config.json." in err
    written = torch.load("b/G_800.pth", weights_only=True)["model"]
    assert any(name.startswith("enc_q.") for name in written)  # it can be trained on
    for name, tensor in raw["average"].items():  # what converts is what others get
        assert torch.equal(written[name], tensor)
    save_voice("voice.safetensors", load_voice(source))
    assert main(["export", "-m", "voice.safetensors", "-o", "c/G_1.pth"]) == 0
    near = load_voice("c/G_1.pth").synthesizer, load_voice("voice.safetensors").synthesizer
    torch.testing.assert_close(*map(made_voices.sound_of, near), atol=1e-4, rtol=1e-3)
    capsys.readouterr()
    assert main(["export", "-m", "heart", "-o", "d/G_1.pth"]) == 1
    assert "other programs do not know" in capsys.readouterr().err
    assert main(["export", "-m", str(source), "-o", "d/G_1.pt"]) == 1
    assert "End its name in .safetensors or .pth." in capsys.readouterr().err
