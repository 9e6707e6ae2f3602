"""Steps that are not finite never move the weights, whether or not the device is waited for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from test_step import CPU, begin

from sovits.errors import TrainingError
from sovits.train.guard import Guard
from sovits.train.step import Objective, train_step


def stepped(config: Any, trainee: Any, crops: Any, guard: Guard | None = None) -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    plain = torch.autocast("cpu", torch.bfloat16, enabled=False)
    train_step(fabric, trainee, Objective(config, CPU), crops, plain, guard=guard)
    trainee.step += 1


def weights(trainee: Any) -> list[torch.Tensor]:
    networks = (trainee.generator, trainee.discriminator)
    return [w.detach().clone() for network in networks for w in network.parameters()]


def test_a_step_that_is_not_waited_for_does_not_move_either(tmp_path: Path) -> None:
    config, trainee, crops = begin(tmp_path)
    guard = Guard(trainee.generator_optimizer, trainee.discriminator_optimizer, waits=False)
    stepped(config, trainee, crops, guard)
    guard.settle()
    before = weights(trainee)
    poisoned = crops._replace(wave=torch.full_like(crops.wave, torch.nan))
    stepped(config, trainee, poisoned, guard)
    stepped(config, trainee, crops, guard)  # by then nobody has asked
    assert all(map(torch.equal, before, weights(trainee)))
    with pytest.raises(TrainingError, match=r"diverged at step 1: mel is nan, features is nan\."):
        guard.settle()


def test_what_is_not_waited_for_moves_as_what_is(tmp_path: Path) -> None:
    moved = []
    for waits in (True, False):
        torch.manual_seed(0)
        config, trainee, crops = begin(tmp_path)
        optimizers = trainee.generator_optimizer, trainee.discriminator_optimizer
        for _ in range(3):
            stepped(config, trainee, crops, Guard(*optimizers, waits=waits))
        moved.append(weights(trainee))
    assert all(map(torch.equal, *moved))


def test_terms_of_another_process_are_its_own_to_tell() -> None:
    guard = Guard(waits=False)
    guard.check(0, {"mel": torch.tensor(1.0)})
    guard._bad = torch.ones(())  # as all_reduce makes it
    with pytest.raises(TrainingError, match="diverged in another process"):
        guard.settle()


def test_long_gradients_are_shortened(tmp_path: Path) -> None:
    lengths = []
    for limit in (0.0, 0.01):
        torch.manual_seed(0)
        config, trainee, crops = begin(tmp_path, max_gradient=limit, adversarial_from=9)
        found: list[float] = []
        taken = trainee.generator_optimizer.step

        def step(*rest: Any, taken: Any = taken, trainee: Any = trainee, found: Any = found) -> Any:
            gradients = [w.grad for w in trainee.generator.parameters() if w.grad is not None]
            found.append(float(torch.cat([g.flatten() for g in gradients]).norm()))
            return taken(*rest)

        trainee.generator_optimizer.step = step  # type: ignore[method-assign, assignment]
        stepped(config, trainee, crops)
        lengths += found
    assert lengths[0] > 0.1
    assert lengths[1] == pytest.approx(0.01, rel=1e-3)


def test_a_gradient_that_is_not_finite_is_named(tmp_path: Path) -> None:
    config, trainee, crops = begin(tmp_path, max_gradient=1.0)
    before = weights(trainee)
    first = next(trainee.generator.parameters())
    first.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(TrainingError, match=r"step 0: gradient of the generator is (inf|nan)\."):
        stepped(config, trainee, crops)
    assert all(map(torch.equal, before, weights(trainee)))
