"""Pairs of others begin a training, by name, place or hub, whole or as far as they fit."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from test_base import base_for
from test_resume import contents, train
from toy_training import light, light_config, set_toy, toy

from sovits.cli import main
from sovits.errors import TrainingError, WeightsError
from sovits.train.checkpoint import list_checkpoints
from sovits.train.pairs import PAIRS, find_pair, place_pair


@pytest.fixture
def published(tmp_path: Path) -> tuple[Path, Path]:
    """Return a pair such as others publish, of the toy network: no progress, and no optimizer."""
    model = tmp_path / "made"
    train(toy(tmp_path, name_by_step=True), model, 1)
    paths = tmp_path / "there/clean_G_320000.pth", tmp_path / "there/clean_D_320000.pth"
    paths[0].parent.mkdir()
    for path, content in zip(paths, contents(model), strict=True):
        kept = {"model": content["model"], "iteration": 9, "learning_rate": 1e-4}
        torch.save(kept | {"optimizer": None}, path)
    shutil.rmtree(model)
    return paths


def command(folder: Path, *more: str) -> list[str]:
    argv = ["train", "-c", str(folder / "config.json"), "-m", str(folder / "logs")]
    return [*argv, "-d", "cpu", "--max-steps", "1", *more]


def test_a_pair_begins_a_training(
    tmp_path: Path, published: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    set_toy(tmp_path, name_by_step=True, learning_rate=0.0)
    assert main(command(tmp_path, "--base", str(published[0]))) == 0
    err = capsys.readouterr().err
    for letter in "GD":
        assert re.search(rf"Starting from {letter}_0.pth: (\d+) of \1 tensors used\.", err)
    expected = torch.load(published[0], weights_only=True)["model"]
    made = contents(tmp_path / "logs")[0]["model"]
    assert all(torch.equal(made[name], expected[name]) for name in expected)
    assert [c.number for c in list_checkpoints(tmp_path / "logs")] == [0, 1]
    assert main(command(tmp_path, "--base", str(published[0]))) == 0
    assert "is not used: the training in" in capsys.readouterr().err
    assert not list((tmp_path / "logs").glob(".*part"))


def test_a_pair_of_another_shape_is_used_as_far_as_it_fits(
    tmp_path: Path, published: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """As a base of 256 channels of content for a voice that hears 768."""
    text = set_toy(tmp_path, "ms-istft", name_by_step=True, learning_rate=0.0).read_text()
    (tmp_path / "config.json").write_text(text)
    assert main(command(tmp_path, "--base", str(published[0].parent / published[0].name))) == 0
    err = capsys.readouterr().err
    told = re.search(r"Starting from G_0.pth: (\d+) of (\d+) tensors used; new: dec\..*", err)
    assert told is not None
    assert int(told[1]) < int(told[2])
    assert "; not used: dec." in told[0]


def test_pairs_are_found_by_name_where_somebody_has_put_them(
    tmp_path: Path, published: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOVITS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SOVITS_WEIGHTS", str(published[0].parent))
    assert find_pair("so-vits-svc-768l12") == published
    assert find_pair(str(published[0])) == published
    with pytest.raises(WeightsError) as caught:
        find_pair("so-vits-svc-4.0-init")
    message = str(caught.value)
    assert "G_0.pth" in message
    assert "no checksum of it is known" in message
    assert "therealvul/so-vits-svc-4.0-init" in message
    assert str(published[0].parent) in message
    assert all(
        file.sha256 is None and file.repo is None for pair in PAIRS.values() for file in pair
    )


@pytest.mark.parametrize(
    "name", ["nobody", "hub:a", "hub:a/b", "hub:a/b/../G_0.pth", "hub:a/b/x.pth"]
)
def test_other_bases_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TrainingError, match="is no base to begin with") as caught:
        find_pair(name)
    assert "so-vits-svc-768l12, so-vits-svc-4.0-init" in str(caught.value)
    with pytest.raises(TrainingError, match="is no base to begin with"):
        find_pair(str(tmp_path))  # an empty folder
    (tmp_path / "G_5.pth").touch()
    with pytest.raises(TrainingError, match="is no base to begin with"):
        find_pair(str(tmp_path / "G_5.pth"))  # without its D


def test_a_pair_does_not_replace_another(tmp_path: Path, published: tuple[Path, Path]) -> None:
    told: list[str] = []
    place_pair(str(published[0]), tmp_path / "logs", told.append)
    place_pair(str(published[0]), tmp_path / "logs", told.append)
    assert told[0] == told[1]
    assert find_pair(str(tmp_path / "logs"))[1].name == "D_0.pth"
    (tmp_path / "logs/D_0.pth").write_bytes(b"another")
    with pytest.raises(TrainingError, match=r"D_0.pth is there already, and is another base"):
        place_pair(str(published[0]), tmp_path / "logs", told.append)


def test_pairs_of_the_hub_are_what_it_states(
    tmp_path: Path, published: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's cache links names to blobs that are called by their SHA-256."""
    asked: list[tuple[str, str]] = []

    def download(repo: str, file: str) -> str:
        if "none" in repo:
            raise OSError("no network")
        asked.append((repo, file))
        source = published["D_" in file]
        blob = tmp_path / "blobs" / hashlib.sha256(source.read_bytes()).hexdigest()
        link = tmp_path / "snapshot" / file
        for path in (blob, link):
            path.parent.mkdir(parents=True, exist_ok=True)
        if not blob.exists():
            shutil.copyfile(source, blob)
            link.symlink_to(blob)
        return str(link)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    pair = find_pair("hub:owner/repo/sub/G_0.pth")
    assert asked == [("owner/repo", "sub/G_0.pth"), ("owner/repo", "sub/D_0.pth")]
    assert [path.read_bytes() for path in pair] == [path.read_bytes() for path in published]
    pair[1].resolve().write_bytes(b"an error page")
    with pytest.raises(TrainingError, match="is damaged: its SHA-256 is not"):
        find_pair("hub:owner/repo/sub/G_0.pth")
    with pytest.raises(TrainingError, match=r"G_0.pth of none/repo cannot be fetched .*OSError"):
        find_pair("hub:none/repo/G_0.pth")


def test_a_base_of_our_own_is_named_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    light(tmp_path, name_by_step=True, learning_rate=0.0)
    path, _ = base_for(tmp_path, light_config(tmp_path))
    assert main(command(tmp_path, "--base", str(path))) == 0
    assert "Starting from base.safetensors: " in capsys.readouterr().err
    set_toy(tmp_path)
    argv: list[Any] = [*command(tmp_path), "--base", str(path)]
    argv[4] = str(tmp_path / "other")
    assert main(argv) == 1
    assert "is no base for this configuration" in capsys.readouterr().err
    assert main([*argv, "--from-scratch"]) == 1
    assert "--base and --from-scratch are two ways to begin" in capsys.readouterr().err
