"""Averaged weights are what converts; how training goes on does not depend on them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from test_resume import contents, same, train
from toy_training import light, set_toy, toy

from sovits.errors import TrainingError
from sovits.train.checkpoint import list_checkpoints
from sovits.train.step import RISE, Trainee, averaged
from sovits.voice import load_voice


@pytest.mark.parametrize(
    "settings",
    [
        {"average": 0.9},
        {"average": 0.99, "moved": 0.7},
        {"average": 0.9, "accumulate": 3, "batch_size": 1},
        {"latent": 4, "moved": 1.0, "num_workers": 1, "precision": "bf16"},
    ],
)
def test_a_light_voice_is_resumed_bit_for_bit(tmp_path: Path, settings: dict[str, Any]) -> None:
    config = light(tmp_path, name_by_step=True, **settings)
    train(config, tmp_path / "whole", 9)
    for stop in (4, 9):
        torch.manual_seed(stop)
        train(config, tmp_path / "parts", stop)
    whole, parts = contents(tmp_path / "whole"), contents(tmp_path / "parts")
    assert ("average" in whole[0]) == ("average" in settings)
    assert "average" not in whole[1]
    assert same(whole, parts)


def test_an_average_changes_nothing_else(tmp_path: Path) -> None:
    train(toy(tmp_path, name_by_step=True), tmp_path / "without", 4)
    train(set_toy(tmp_path, name_by_step=True, average=0.5, eval_interval=1), tmp_path / "with", 4)
    without, kept = contents(tmp_path / "without"), contents(tmp_path / "with")
    average = kept[0].pop("average")
    assert same(without, kept)
    assert average.keys() == kept[0]["model"].keys()
    assert not same(average, kept[0]["model"])


def line() -> tuple[Trainee, torch.nn.Linear]:
    """Return a generator of one number."""
    network = torch.nn.Linear(1, 1, bias=False)
    nothing: Any = SimpleNamespace()
    trainee = Trainee(network, nothing, nothing, nothing, average={})
    trainee.begin_average()
    return trainee, network


def test_the_average_is_the_one_that_is_meant() -> None:
    trainee, network = line()
    wanted, values = 0.0, torch.randn(300)
    for updates, value in enumerate(values):
        torch.nn.init.constant_(network.weight, float(value))
        trainee.move_average(0.9, updates)
        decay = min(0.9, updates / (updates + RISE))
        wanted = decay * wanted + (1 - decay) * float(value)
    assert trainee.average is not None
    assert float(trainee.average["weight"]) == pytest.approx(wanted, abs=1e-5)
    assert float(network.weight.detach()) == pytest.approx(float(values[-1]))


def test_a_network_gets_its_own_weights_back() -> None:
    trainee, network = line()
    before = network.weight.detach().clone()
    trainee.average = {"weight": torch.full((1, 1), 3.0)}
    with averaged(network, trainee.average):
        assert float(network.weight.detach()) == 3.0
    assert torch.equal(network.weight.detach(), before)
    assert network.weight.requires_grad


def test_validation_and_conversion_use_the_average(tmp_path: Path) -> None:
    config, model = (
        light(tmp_path, average=0.8, learning_rate=1e-2, name_by_step=True),
        tmp_path / "m",
    )
    train(config, model, 6)
    (newest,) = list_checkpoints(model)[-1:]
    content = torch.load(newest.generator, weights_only=True)
    read = load_voice(model).synthesizer.state_dict()
    for name, tensor in read.items():
        torch.testing.assert_close(tensor, content["average"][name], rtol=0, atol=0)
    assert not torch.equal(read["shaper.head.bias"], content["model"]["shaper.head.bias"])


def test_averaging_may_begin_and_end_later(tmp_path: Path) -> None:
    model = tmp_path / "model"
    train(toy(tmp_path, name_by_step=True), model, 2)
    train(set_toy(tmp_path, name_by_step=True, average=0.9), model, 3)
    assert "average" in contents(model)[0]
    train(set_toy(tmp_path, name_by_step=True), model, 4)
    assert "average" not in contents(model)[0]


def test_a_training_begins_from_the_average_of_a_base(tmp_path: Path) -> None:
    model = tmp_path / "model"
    config = toy(tmp_path, name_by_step=True, average=0.9)
    train(config, model, 3)
    average = contents(model)[0]["average"]
    for letter in "GD":
        (model / f"{letter}_3.pth").rename(model / f"{letter}_0.pth")
    set_toy(tmp_path, name_by_step=True, average=0.9, learning_rate=0.0)
    train(config, model, 1)
    begun = contents(model)[0]
    assert same(begun["model"], average)
    assert same(begun["average"], average)


def test_an_average_that_is_none_is_damage(tmp_path: Path) -> None:
    config, model = toy(tmp_path, name_by_step=True, average=0.9), tmp_path / "model"
    train(config, model, 1)
    content = contents(model)[0]
    torch.save(content | {"average": 3}, model / "G_1.pth")
    with pytest.raises(TrainingError, match="its average is no model"):
        train(config, model, 2)
    torch.save(content | {"average": {"x": torch.ones(1)}}, model / "G_1.pth")
    with pytest.raises(TrainingError, match="does not fit the configuration"):
        train(config, model, 2)
