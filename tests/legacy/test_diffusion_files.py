"""Refiners of so-vits-svc 4.1 and vocoders of openvpi are read as data, and checked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import made_refiners
import numpy as np
import pytest
import torch
from made_refiners import write_refiner, write_vocoder

import sovits
from sovits.audio.mel import VOCODER_MEL
from sovits.errors import RefinerError, SovitsError, VoiceError, WeightsError
from sovits.models.unit2mel import Unit2Mel
from sovits.refiners import load_refiner, load_vocoder, refiner_beside, vocoder_of

NETWORK = made_refiners.refiner(n_speakers=3)


def legacy(folder: Path, **changes: Any) -> Unit2Mel:
    """Return what is read of a refiner that so-vits-svc might have written."""
    read = load_refiner(write_refiner(folder, NETWORK, **changes))
    assert isinstance(read, Unit2Mel)
    return read


def refused(call: Callable[[], object], match: str, kind: type[SovitsError] = RefinerError) -> None:
    with pytest.raises(kind, match=match) as caught:
        call()
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_read_refines_as_what_was_written(tmp_path: Path) -> None:
    speakers = {"alice": 0, "bob": 2}
    read = legacy(tmp_path, speakers=speakers, encoder="vec256l9", k_max=100)
    assert (read.content, read.speakers, read.n_speakers) == ("contentvec-256l9", speakers, 3)
    assert (read.audio, read.config.k_max, read.remarks) == (VOCODER_MEL, 100, [])
    given = (torch.randn(1, 128, 9), torch.randn(1, 12, 9), torch.full((1, 9), 200.0))
    given = (*given, torch.full((1, 9), 0.1), torch.tensor([2]))
    assert torch.equal(read.refine(*given, k=30), NETWORK.refine(*given, k=30))
    assert sovits.load_refiner is load_refiner


def test_tables_may_be_left_out_and_wrappers_be_there(tmp_path: Path) -> None:
    path = write_refiner(tmp_path, NETWORK)
    state = {name: x for name, x in NETWORK.state_dict().items() if "embed" in name or "fn" in name}
    torch.save({f"module.{name}": x for name, x in state.items()}, path)
    (tmp_path / "diffusion.yaml").rename(tmp_path / "config.yaml")
    read = load_refiner(path)
    assert isinstance(read, Unit2Mel)
    assert torch.equal(read.decoder.betas, NETWORK.decoder.betas)
    assert float(read.decoder.spec_min) == -12


def test_tensors_tell_the_shape_and_that_is_said(tmp_path: Path) -> None:
    read = legacy(tmp_path, n_layers=20, channels=512)
    assert (read.config.n_layers, read.config.channels) == (2, 16)
    assert read.remarks == [
        "model_100.pt: n_layers is 2, though diffusion.yaml says 20.",
        "model_100.pt: n_chans is 16, though diffusion.yaml says 512.",
    ]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"content_channels": 768}, "encoder_out_channels is 12, but the settings say 768"),
        ({"n_speakers": 1}, "n_spk is 3, but the settings say 1"),
        ({"hidden_channels": 256}, "n_hidden is 8, but the settings say 256"),
        ({"k_max": 2000}, "k_step_max is 2000, not between 0 and 1000"),
        ({"k_max": "true"}, "k_step_max is True, not between 0 and 1000"),
        ({"speakers": {"alice": 3}}, r"spk\.alice is 3, but rows go from 0 to 2"),
        ({"speakers": {"alice": "x"}}, r"spk\.alice is 'x'"),
    ],
)
def test_settings_of_another_network_are_refused(
    tmp_path: Path, changes: dict[str, Any], match: str
) -> None:
    refused(lambda: legacy(tmp_path, **changes), match)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("data: [1, 2", "it is no YAML"),
        ("data: !!python/object/apply:os.system ['true']", "it is no YAML"),
        ("data: {a: &x [1, 2], b: *x}", r"it has aliases"),
        ("a: " + "[" * 50 + "]" * 50, "nested more than 6 deep"),
        ("- 1", "there are no sections"),
        ("data: {sampling_rate: .nan}", "ordinary size"),
        ("data: {sampling_rate: 4.5}", "sampling_rate is 4.5"),
        ("data: {block_size: 1}", "block_size is 1"),
        ("model: {type: Naive}", "model.type"),
        ("x: 2001-14-44", "it is no YAML"),
        ("#" * (300 << 10), "more than 256 KB"),
        ("data: {a: " + "[" + "1," * 70 + "]}", "a list of at most 64"),
    ],
)
def test_hostile_settings_are_refused(tmp_path: Path, text: str, match: str) -> None:
    path = write_refiner(tmp_path, NETWORK)
    (tmp_path / "diffusion.yaml").write_text(text)
    refused(lambda: load_refiner(path), match)


def test_settings_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = write_refiner(tmp_path, NETWORK)
    (tmp_path / "diffusion.yaml").write_bytes(b"\xff\xfe\x00")
    refused(lambda: load_refiner(path), "it is not UTF-8 text")
    refused(lambda: load_refiner(path, tmp_path / "other.yaml"), "other.yaml is no file")
    (tmp_path / "diffusion.yaml").unlink()
    refused(lambda: load_refiner(path), "there is no .*diffusion.yaml or .*config.yaml")


def rewritten(folder: Path, **changes: torch.Tensor | None) -> Path:
    """Return a refiner some of whose tensors are others, or not there."""
    path = write_refiner(folder, NETWORK)
    state = dict(NETWORK.state_dict())
    for name, tensor in changes.items():
        full = next(found for found in state if found.replace(".", "_").endswith(name))
        if tensor is None:
            del state[full]
        else:
            state[full] = tensor
    torch.save({"model": state}, path)
    return path


def test_hostile_tensors_are_refused(tmp_path: Path) -> None:
    def load(**changes: torch.Tensor | None) -> Callable[[], object]:
        return lambda: load_refiner(rewritten(tmp_path, **changes))

    mark = "input_projection_weight"
    refused(load(**{mark: torch.zeros(16, 80, 1)}), "mel bands: 80, but its vocoder has 128")
    refused(load(**{mark: torch.zeros(16)}), "the settings say 'a matrix'")
    refused(load(**{mark: None}), "is no refiner of so-vits-svc 4.1: it holds aug_shift_embed")
    refused(load(**{mark: torch.zeros(1).expand(10**6, 128, 1)}), "numbers one by one")
    refused(load(**{mark: torch.zeros(4000, 128, 1)}), "a number of parameters of")
    refused(load(betas=torch.zeros(0)), "a number of steps of 0")
    refused(load(betas=torch.ones(1000)), "betas is 1.0")
    refused(load(spec_max=torch.full((1, 1, 1), -12.0)), "spec_max is -12.0")
    refused(load(spec_max=torch.full((1, 1, 128), 2.0)), "has the shape", WeightsError)
    refused(load(volume_embed_bias=None), "volume_embed.bias is not in it", WeightsError)
    refused(load(f0_embed_bias=torch.full((8,), np.nan)), "is not finite", WeightsError)


def test_too_many_numbers_and_layers_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_refiner(tmp_path, NETWORK)
    monkeypatch.setattr("sovits.legacy.diffusion.MAX_LAYERS", 1)
    refused(lambda: load_refiner(path), "a number of layers of 2, but at most 1")
    monkeypatch.setattr("sovits.legacy.diffusion.MAX_PARAMETERS", 100)
    refused(lambda: load_refiner(path), "a number of parameters of .* at most 100")


def test_other_files_are_refused(tmp_path: Path) -> None:
    refused(lambda: load_refiner(tmp_path / "model_1.pt"), "is no file. Give the path of a refiner")
    (tmp_path / "x.pt").write_bytes(b"RIFF")
    refused(lambda: load_refiner(tmp_path / "x.pt"), "x.pt", VoiceError)
    torch.save({"model": {"emb_g.weight": torch.zeros(2)}}, tmp_path / "G.pth")
    refused(lambda: load_refiner(tmp_path / "G.pth"), "it holds emb_g.weight")


def test_a_refiner_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "exploded",))

    torch.save({"model": Bomb()}, tmp_path / "model_1.pt")
    refused(lambda: load_refiner(tmp_path / "model_1.pt"), "would run code from it", VoiceError)
    assert not (tmp_path / "exploded").exists()


def test_the_refiner_beside_a_voice_is_found(tmp_path: Path) -> None:
    voice = tmp_path / "G_800.pth"
    refused(lambda: refiner_beside(voice), "There is no refiner beside this voice")
    refused(lambda: refiner_beside(None), "Name one with -dm")
    folder = tmp_path / "diffusion"
    write_refiner(folder, NETWORK).rename(folder / "model_9.pt")
    write_refiner(folder, NETWORK)
    assert refiner_beside(voice) == folder / "model_100.pt"
    (tmp_path / "refiner.safetensors").touch()
    assert refiner_beside(voice) == tmp_path / "refiner.safetensors"
    (tmp_path / "G_800.refiner.safetensors").touch()
    assert refiner_beside(voice) == tmp_path / "G_800.refiner.safetensors"


def test_the_vocoder_that_settings_name_is_taken_if_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = legacy(tmp_path / "diffusion")
    path = tmp_path / "diffusion" / "model_100.pt"
    assert vocoder_of(read, path) is None
    model = write_vocoder(tmp_path / "pretrain" / "nsf_hifigan")
    monkeypatch.chdir(tmp_path)
    assert vocoder_of(read, path) == model.relative_to(tmp_path)
    for outside in (str(model), "../pretrain/nsf_hifigan/model"):
        read.trained.vocoder = outside
        assert vocoder_of(read, path) is None


def test_a_vocoder_of_openvpi_sings_and_tells_its_licence(tmp_path: Path) -> None:
    path = write_vocoder(tmp_path)
    vocoder, same = load_vocoder(path), load_vocoder(tmp_path)
    assert vocoder.audio == VOCODER_MEL
    assert getattr(vocoder, "remarks", None) == [
        "NSF-HiFiGAN weights of openvpi are under CC BY-NC-SA 4.0: name openvpi, no commercial "
        "use, and share alike."
    ]
    mel, f0 = torch.full((1, 128, 9), -5.0), torch.full((1, 9), 220.0)
    wave = vocoder.synthesize(mel, f0)
    assert wave.shape == (1, 9 * 512)
    assert torch.equal(wave, same.synthesize(mel, f0))


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"mini_nsf": True}, "mini_nsf"),
        ({"hop_size": 256}, "upsample_rates make 512 samples a frame, but hop_size is 256"),
        ({"num_mels": 10**9}, "between 4 and 1024"),
        ({"num_mels": "many"}, "must be of type int"),
        ({"upsample_initial_channel": 8192}, "describes a network of about"),
        ({"upsample_initial_channel": 2048}, "a first layer of"),
        ({"resblock": "3"}, "one of 1, 2"),
        ({"upsample_rates": [1] * 70}, "at most 64"),
    ],
)
def test_vocoders_that_cannot_be_built_are_refused(
    tmp_path: Path, settings: dict[str, Any], match: str
) -> None:
    path = write_vocoder(tmp_path, **settings)
    refused(lambda: load_vocoder(path), match)


def test_what_is_no_vocoder_is_refused(tmp_path: Path) -> None:
    refused(lambda: load_vocoder(tmp_path), "is no file. Give the path of a vocoder")
    path = write_vocoder(tmp_path)
    torch.save({"model": {}}, path)
    refused(lambda: load_vocoder(path), "is no NSF-HiFiGAN: it holds model")
    torch.save({"generator": {"m_source.l_linear.weight": torch.ones(1).expand(9, 9)}}, path)
    refused(lambda: load_vocoder(path), "numbers one by one")
    for text in ("{", "[]", json.dumps("x")):
        (tmp_path / "config.json").write_text(text)
        refused(lambda: load_vocoder(path), "it is no JSON|there are no settings in it")
    (tmp_path / "config.json").write_text(" " * (2 << 20))
    refused(lambda: load_vocoder(path), "more than 1 MB")
    (tmp_path / "config.json").unlink()
    refused(lambda: load_vocoder(path), "needs its settings, and there is no")


def test_without_a_bundled_vocoder_one_has_to_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sovits.refiners.VOCODER_FILE", tmp_path / "none")
    refused(load_vocoder, "A refiner needs a vocoder, and none is bundled")
