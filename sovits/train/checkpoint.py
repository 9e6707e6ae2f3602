"""Checkpoints that other tools read and that training resumes from exactly."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sovits.errors import OutputError, TrainingError
from sovits.train.step import Trainee

PATTERN = re.compile(r"G_(\d+)\.pth")


@dataclass(frozen=True)
class Checkpoint:
    """A generator's file and its discriminator's, with the number in their names."""

    number: int
    generator: Path
    discriminator: Path


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """Return complete pairs in `folder`, oldest first."""
    found = []
    for path in folder.glob("G_*.pth"):
        match = PATTERN.fullmatch(path.name)
        judge = path.with_name("D" + path.name[1:])
        if match and judge.is_file():
            found.append(Checkpoint(int(match[1]), path, judge))
    return sorted(found, key=lambda checkpoint: checkpoint.number)


def save_checkpoint(folder: Path, number: int, trainee: Trainee, learning_rate: float) -> None:
    """Write `D_number.pth`, then `G_number.pth`, each whole or not at all.

    Besides the keys that the originals write, `progress` holds what an exact resumption needs.
    """
    progress = {
        "step": trainee.step,
        "epoch": trainee.epoch,
        "position": trainee.position,
        "rng": torch.get_rng_state(),
    }
    for letter, network, optimizer in (
        ("D", trainee.discriminator, trainee.discriminator_optimizer),
        ("G", trainee.generator, trainee.generator_optimizer),
    ):
        _save(
            folder / f"{letter}_{number}.pth",
            {
                "model": network.state_dict(),
                "iteration": trainee.epoch + 1,
                "optimizer": optimizer.state_dict(),
                "learning_rate": learning_rate,
                "progress": progress,
            },
        )


def _save(path: Path, content: dict[str, Any]) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except (OSError, RuntimeError) as error:
        raise OutputError.cannot_write(path, str(error)) from error
    finally:
        part.unlink(missing_ok=True)


def prune_checkpoints(folder: Path, keep: int) -> None:
    """Delete all but the newest `keep` pairs; number 0, a base, stays; 0 keeps all."""
    if keep:
        for old in [c for c in list_checkpoints(folder) if c.number][:-keep]:
            old.generator.unlink()
            old.discriminator.unlink()


def resume(folder: Path, trainee: Trainee, on_log: Callable[[str], None]) -> bool:
    """Go on from the newest sound checkpoint in `folder`; returns whether there was one.

    A pair without `progress`, such as a published base, gives its weights only.

    Raises:
        TrainingError: There are checkpoints, but none can be read.
    """
    checkpoints = list_checkpoints(folder)
    for checkpoint in reversed(checkpoints):
        try:
            states = [
                torch.load(path, map_location="cpu", weights_only=True)
                for path in (checkpoint.generator, checkpoint.discriminator)
            ]
        except Exception as error:  # torch raises many kinds for damaged files
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            on_log(f"{checkpoint.generator.name} or its D cannot be read ({reason}); going back.")
            continue
        _restore(checkpoint, states[0], states[1], trainee, on_log)
        return True
    if checkpoints:
        raise TrainingError.no_sound_checkpoint(folder)
    return False


def _restore(
    checkpoint: Checkpoint,
    generator: dict[str, Any],
    discriminator: dict[str, Any],
    trainee: Trainee,
    on_log: Callable[[str], None],
) -> None:
    progress = generator.get("progress")
    if progress is None:
        for name, network, state in (
            (checkpoint.generator.name, trainee.generator, generator),
            (checkpoint.discriminator.name, trainee.discriminator, discriminator),
        ):
            on_log(f"Starting from {name}: {load_matching(network, state['model'])}.")
        return
    trainee.generator.load_state_dict(generator["model"])
    trainee.discriminator.load_state_dict(discriminator["model"])
    trainee.generator_optimizer.load_state_dict(generator["optimizer"])
    trainee.discriminator_optimizer.load_state_dict(discriminator["optimizer"])
    trainee.step, trainee.epoch = progress["step"], progress["epoch"]
    trainee.position = progress["position"]
    torch.set_rng_state(progress["rng"])
    on_log(f"Going on from {checkpoint.generator.name}: step {trainee.step}.")


def load_matching(network: nn.Module, state: dict[str, Tensor]) -> str:
    """Copy tensors of equal name and shape into `network`; returns what was and was not used."""
    own = network.state_dict()
    used = {
        name: tensor
        for name, tensor in state.items()
        if name in own and own[name].shape == tensor.shape
    }
    network.load_state_dict(used, strict=False)
    kept = sorted(set(own) - set(used))
    unused = sorted(set(state) - set(used))
    told = f"{len(used)} of {len(own)} tensors used"
    if kept:
        told += f"; new: {', '.join(kept[:5])}" + (" ..." if len(kept) > 5 else "")
    if unused:
        told += f"; not used: {', '.join(unused[:5])}" + (" ..." if len(unused) > 5 else "")
    return told
