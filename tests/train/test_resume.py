"""Whatever ends a training, going on with it makes the same weights as never stopping."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_training import set_toy, toy

from sovits.errors import ConfigError, TrainingError
from sovits.train import Outcome, fit
from sovits.train.checkpoint import list_checkpoints


def train(config: Path, model: Path, steps: int | None, **rest: Any) -> list[str]:
    """Train on the CPU, and return what was told."""
    told: list[str] = []
    fit(config, model, max_steps=steps, device="cpu", on_log=told.append, **rest)
    return told


def contents(model: Path) -> list[Any]:
    """Return what the newest pair holds."""
    newest = list_checkpoints(model)[-1]
    return [
        torch.load(path, weights_only=True) for path in (newest.generator, newest.discriminator)
    ]


def same(a: Any, b: Any) -> bool:
    """Return whether two nests of dicts, lists and tensors are equal, bit for bit."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@pytest.mark.parametrize(
    ("stops", "settings"),
    [
        ((5,), {"name_by_step": True}),  # in the middle of an epoch of 3 batches
        ((5,), {"name_by_step": False, "decoder": "harmonic"}),
        ((6,), {"name_by_step": False}),  # between two epochs
        ((1, 2, 3, 11), {"name_by_step": True, "eval_interval": 4}),
        ((5, 7), {"accumulate": 3, "batch_size": 1, "name_by_step": True}),
        ((4,), {"adversarial_from": 5, "precision": "bf16"}),
        ((5,), {"num_workers": 1}),
    ],
)
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(
    tmp_path: Path, stops: tuple[int, ...], settings: dict[str, Any]
) -> None:
    config = toy(tmp_path, **settings)
    train(config, tmp_path / "whole", 12)
    for stop in (*stops, 12):
        torch.manual_seed(stop)  # a new process has another state
        train(config, tmp_path / "parts", stop)
    whole, parts = contents(tmp_path / "whole"), contents(tmp_path / "parts")
    assert whole[0]["progress"]["step"] == 12
    assert len(whole[0]["optimizer"]["state"]) > len(whole[0]["model"]) - 5  # not only weights
    assert same(whole, parts)


def test_validation_and_saving_on_the_way_change_nothing(tmp_path: Path) -> None:
    train(toy(tmp_path, name_by_step=True), tmp_path / "quiet", 6)
    train(set_toy(tmp_path, name_by_step=True, eval_interval=1), tmp_path / "busy", 6)
    assert same(contents(tmp_path / "quiet"), contents(tmp_path / "busy"))


def test_another_seed_makes_other_weights(tmp_path: Path) -> None:
    train(toy(tmp_path), tmp_path / "one", 2)
    train(set_toy(tmp_path, seed=1), tmp_path / "other", 2)
    assert not same(contents(tmp_path / "one"), contents(tmp_path / "other"))


def rates(model: Path) -> list[float]:
    return [content["optimizer"]["param_groups"][0]["lr"] for content in contents(model)]


def test_changed_settings_are_honoured_and_told(tmp_path: Path) -> None:
    model = tmp_path / "model"
    train(toy(tmp_path, learning_rate=1e-3, name_by_step=True, lr_decay=1.0), model, 2)
    assert rates(model) == [1e-3, 1e-3]
    config = set_toy(
        tmp_path,
        learning_rate=2e-5,
        betas=(0.5, 0.9),
        batch_size=3,
        name_by_step=True,
        lr_decay=1.0,
    )
    told = train(config, model, 3)
    assert (
        "Changed since this training was last at work: train.batch_size: 2 -> 3; "
        "train.betas: [0.8, 0.99] -> [0.5, 0.9]; train.learning_rate: 0.001 -> 2e-05."
    ) in told
    assert rates(model) == [2e-5, 2e-5]
    for content in contents(model):
        assert content["optimizer"]["param_groups"][0]["betas"] == (0.5, 0.9)
        assert content["optimizer"]["state"][0]["step"] == 3  # the moments are kept
    assert not [line for line in train(config, model, 4) if "Changed" in line]


def test_fresh_optimizers_on_request(tmp_path: Path) -> None:
    config, model = toy(tmp_path, name_by_step=True), tmp_path / "model"
    train(config, model, 3)
    assert "The optimizers start afresh." in train(config, model, 4, reset_optimizer=True)
    assert contents(model)[0]["optimizer"]["state"][0]["step"] == 1


def test_a_speaker_never_gets_the_row_of_another(tmp_path: Path) -> None:
    config, model = toy(tmp_path), tmp_path / "model"
    train(config, model, 1)
    table = json.loads(config.read_text())
    table["spk"] = {"aaron": 0, "alice": 1, "bob": 2}
    config.write_text(json.dumps(table))
    with pytest.raises(TrainingError, match=r"Speaker alice has row 1 .* but row 0 in"):
        train(config, model, 2)
    table["spk"] = {"aaron": 2, "alice": 0, "bob": 1}
    config.write_text(json.dumps(table))
    assert any("spk.aaron: nothing -> 2" in line for line in train(config, model, 2))


def test_a_copy_of_the_settings_that_is_damaged_is_no_obstacle(tmp_path: Path) -> None:
    config, model = toy(tmp_path), tmp_path / "model"
    train(config, model, 1)
    (model / "config.json").write_text("{")
    assert any("not known which settings have changed" in line for line in train(config, model, 2))
    assert (model / "config.json").read_text() == config.read_text()


def test_another_network_is_refused(tmp_path: Path) -> None:
    config, model = toy(tmp_path), tmp_path / "model"
    train(config, model, 1)
    set_toy(tmp_path, decoder="istft")
    with pytest.raises(TrainingError, match=r"G_1\.pth does not fit the configuration \(Unexp"):
        train(config, model, 2)


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    config, model = toy(tmp_path, name_by_step=True), tmp_path / "model"
    train(config, model, 4)
    before = contents(model)
    told: list[str] = []
    outcome = fit(config, model, max_steps=3, device="cpu", on_log=told.append)
    assert outcome == Outcome(4, 0.0, model / "G_4.pth")
    assert told[-1] == "Nothing to do: 4 of 3 steps are done."
    assert same(before, contents(model))
    config = set_toy(tmp_path, name_by_step=True, epochs=2)
    assert train(config, model, None)[-1] == f"Step 6 is saved in {model / 'G_6.pth'}."
    assert train(config, model, None)[-1] == "Nothing to do: 6 of 6 steps are done."


def test_names_by_epoch_never_fall_behind_names_by_step(tmp_path: Path) -> None:
    config, model = toy(tmp_path, name_by_step=True), tmp_path / "model"
    train(config, model, 5)
    config = set_toy(tmp_path, name_by_step=False, keep_checkpoints=1)
    assert any("named by step, as those" in line for line in train(config, model, 7))
    assert [c.number for c in list_checkpoints(model)] == [7]


def test_unknown_devices_and_settings_are_refused(tmp_path: Path) -> None:
    config = toy(tmp_path)
    for device in ("tpu", "cuda:99", "cuda:x"):
        with pytest.raises(ConfigError, match=f"There is no device {re.escape(device)} on"):
            fit(config, tmp_path / "model", device=device, on_log=print)
    with pytest.raises(ConfigError, match="max_steps is 0"):
        train(config, tmp_path / "model", 0)
    table = json.loads(config.read_text())
    table["model"]["use_spectral_norm"] = True
    config.write_text(json.dumps(table))
    with pytest.raises(ConfigError, match="use_spectral_norm is True, a variant"):
        train(config, tmp_path / "model", 1)
    assert not (tmp_path / "model").exists()


def test_every_so_many_seconds_there_is_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sovits.train.loop.SAVE_SECONDS", 0.0)
    train(toy(tmp_path, name_by_step=True, keep_checkpoints=0), tmp_path / "model", 3)
    assert [c.number for c in list_checkpoints(tmp_path / "model")] == [1, 2, 3]


def test_time_ends_a_training_too(tmp_path: Path) -> None:
    told = train(toy(tmp_path, name_by_step=True), tmp_path / "model", None, max_seconds=0.0)
    assert told[-1] == f"Step 1 is saved in {tmp_path / 'model' / 'G_1.pth'}."
