"""A mixed voice is what lies between those it is made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import made_voices
import pytest
import torch

from sovits.cli import main
from sovits.config import AudioConfig, VoiceConfig
from sovits.errors import VoiceError
from sovits.merging import FAR, difference, mix_speakers, mix_voices
from sovits.voice import Voice, load_voice, save_voice


def light(seed: int = 0, speakers: dict[str, int] | None = None, **more: Any) -> Voice:
    config = replace(made_voices.light(**more), speakers=speakers or {"alice": 0, "bob": 2})
    voice = made_voices.voice(config, seed)
    voice.card, voice.path = {"licence": "CC0-1.0"}, Path(f"{seed}.safetensors")
    return voice


def heavy(seed: int = 0) -> Voice:
    network = made_voices.synthesizer_config()
    return made_voices.voice(VoiceConfig(AudioConfig(), network, "x", {"a": 0, "b": 1}), seed)


def sung(voice: Voice, speaker: torch.Tensor) -> torch.Tensor:
    random, frames = torch.Generator().manual_seed(5), 20
    network = voice.synthesizer
    return network.infer(
        torch.randn(1, network.config.content_channels, frames, generator=random),
        torch.linspace(100, 400, frames)[None],
        (torch.arange(frames) % 3 > 0)[None],
        speaker,
        volume=torch.rand(1, frames, generator=random),
        deterministic=True,
    )


@pytest.mark.parametrize("kind", [light, heavy])
def test_a_mixed_speaker_sings_as_the_blend_does(kind: Any) -> None:
    voice = kind()
    one, other = voice.speakers
    made = mix_speakers(voice, {one: 0.25, other: 0.75}, "carol")
    assert (made.speakers, made.config.synthesizer.n_speakers) == ({"carol": 0}, 1)
    shares = torch.zeros(1, voice.config.synthesizer.n_speakers, 1)
    shares[0, voice.row(one)], shares[0, voice.row(other)] = 0.25, 0.75
    torch.testing.assert_close(sung(made, torch.tensor([0])), sung(voice, shares))
    assert made.card["mixed_of"] == {one: 0.25, other: 0.75}
    alone = mix_speakers(voice, {other: 1.0}, "again")
    row = torch.tensor([voice.row(other)])
    assert torch.equal(sung(alone, torch.tensor([0])), sung(voice, row))
    with pytest.raises(VoiceError, match="no speaker dave"):
        mix_speakers(voice, {"dave": 1.0}, "x")


@pytest.mark.parametrize("kind", [light, heavy])
def test_mixed_voices_are_the_mean_of_their_weights(kind: Any) -> None:
    voices = [kind(seed) for seed in range(3)]
    made = mix_voices(voices, [0.5, 0.3, 0.2])
    assert list(made.speakers) == list(voices[0].speakers)
    own, others = made.synthesizer.state_dict(), [v.synthesizer.state_dict() for v in voices]
    for name, weight in own.items():
        rows = [voices[0].speakers[who] for who in made.speakers] if "emb_g" in name else ...
        mean = sum(s * o[name][rows] for s, o in zip((0.5, 0.3, 0.2), others, strict=True))
        torch.testing.assert_close(weight, mean)
    same = mix_voices([voices[0], voices[0]], [0.5, 0.5])
    for row, who in enumerate(same.speakers):
        place = torch.tensor([voices[0].row(who)])
        made_voices_sing = sung(same, torch.tensor([row])), sung(voices[0], place)
        torch.testing.assert_close(*made_voices_sing)


def test_voices_of_one_speaker_become_one_of_one_speaker() -> None:
    one, other = light(0, {"alice": 0}), light(1, {"bob": 2})
    made = mix_voices([one, other], [0.5, 0.5])
    assert made.speakers == {"alice+bob": 0}
    table = made.synthesizer.state_dict()["emb_g.weight"]
    rows = one.synthesizer.emb_g.weight[0], other.synthesizer.emb_g.weight[2]
    torch.testing.assert_close(table[0], (rows[0] + rows[1]) / 2)
    assert mix_voices([one, other], [0.5, 0.5], "carol").speakers == {"carol": 0}
    assert mix_voices([one, light(1, {"alice": 1})], [0.5, 0.5]).speakers == {"alice": 0}
    other.card = {"licence": "CC-BY-4.0"}
    assert mix_voices([one, other], [0.5, 0.5]).card["licence"] == "CC-BY-4.0 AND CC0-1.0"


def test_voices_of_other_settings_or_speakers_are_not_mixed() -> None:
    one = light()
    with pytest.raises(VoiceError, match=r"synthesizer.width is 8 in the one and 12 in the other"):
        mix_voices([one, light(width=12)], [0.5, 0.5])
    with pytest.raises(VoiceError, match="sample_rate is 16000 in the one and 44100"):
        mix_voices([one, heavy()], [0.5, 0.5])
    odd = replace(one, config=replace(one.config, content="another"))
    with pytest.raises(VoiceError, match="content is 'unheard of' in the one and 'another'"):
        mix_voices([one, odd], [0.5, 0.5])
    with pytest.raises(VoiceError, match="speakers are 'alice, bob' in the one and 'carol'"):
        mix_voices([one, light(1, {"carol": 0})], [0.5, 0.5])


def test_it_is_known_whether_weights_have_something_in_common() -> None:
    one, other = light(0), light(1)
    assert difference(one, one) == 0
    assert difference(one, other) > FAR
    near = light(0)
    with torch.no_grad():
        for weight in near.synthesizer.parameters():
            weight.add_(0.1 * torch.randn_like(weight) * weight.abs().mean())
    assert 0 < difference(one, near) < FAR


def test_mixes_are_made_by_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1):
        save_voice(f"{seed}.safetensors", light(seed))
    argv = ["mix", "0.safetensors", "alice=1", "bob=3", "-o", "new.safetensors"]
    assert main(argv) == 0
    assert capsys.readouterr().out == "new.safetensors\n"
    assert load_voice("new.safetensors").speakers == {"alice+bob": 0}
    assert load_voice("new.safetensors").card["mixed_of"] == {"alice": 0.25, "bob": 0.75}
    assert main([*argv, "-n", "carol"]) == 0
    assert load_voice("new.safetensors").speakers == {"carol": 0}

    both = ["mix", "0.safetensors=0.5", "1.safetensors=0.5", "-o", "both.safetensors"]
    capsys.readouterr()
    assert main([*both, "-n", "carol"]) == 0
    err = capsys.readouterr().err
    assert "--name is not used: the speakers keep their names, alice, bob." in err
    assert "not trained from the same beginning" in err
    assert load_voice("both.safetensors").speakers == {"alice": 0, "bob": 1}
    assert main(["mix", "0.safetensors=0.5", "0.safetensors=0.5", "-o", "x.safetensors"]) == 1
    assert "0.safetensors is there twice" in capsys.readouterr().err

    for words, message in (
        (["0.safetensors"], "there is no share"),
        ([], "there is no share"),
        (["0.safetensors", "alice"], "alice has no share"),
        (["0.safetensors", "carol=1"], "no speaker carol"),
        (["none.safetensors", "alice=1"], "none.safetensors"),
    ):
        assert main(["mix", *words, "-o", "x.safetensors"]) == 1
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1
    assert main(["mix", "0.safetensors", "alice=1", "-o", "x.pth"]) == 1
    assert "cannot be a voice file" in capsys.readouterr().err
    assert not Path("x.safetensors").exists()
