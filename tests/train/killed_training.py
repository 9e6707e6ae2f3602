"""A training that is killed at random moments, and begun again each time."""

from __future__ import annotations

import multiprocessing
import random
import re
import signal
import time
import warnings
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from sovits.train import fit, setup
from sovits.train.checkpoint import list_checkpoints

KEPT = 3
REACH = 4
"""Steps after the one that is aimed at, by the end of which the kill has come."""


@dataclass
class Deaths:
    """What came of the kills."""

    kills: int = 0
    in_saves: int = 0
    """Kills that left something half-written behind."""
    repeated: int = 0
    """Steps that were taken again."""
    trouble: list[str] = field(default_factory=list)
    """Checkpoints that were lost or damaged."""


def _live(config: Path, model: Path, steps: int, aim: int | None, told: Connection) -> None:
    """Train, and tell of each step and each checkpoint."""
    torch.set_num_threads(1)  # others do not live on in a fork
    save = setup.save_checkpoint

    def saved(folder: Path, number: int, *rest: object) -> None:
        save(folder, number, *rest)  # type: ignore[arg-type]
        told.send(("saved", number, time.monotonic()))

    def on_log(line: str) -> None:
        if found := re.match(r"step (\d+)  epoch", line):
            told.send(("step", int(found[1]), time.monotonic()))
            if aim is not None and int(found[1]) >= aim + REACH:
                time.sleep(600)  # whoever kills is late

    setup.save_checkpoint = saved
    fit(config, model, device="cpu", max_steps=steps, on_log=on_log)


class Life:
    """A process that trains, from here to its death or its end."""

    def __init__(self, config: Path, model: Path, steps: int, aim: int | None = None) -> None:
        context = multiprocessing.get_context("fork")
        self._told, told = context.Pipe(duplex=False)
        self.process = context.Process(target=_live, args=(config, model, steps, aim, told))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking, on later Pythons
            self.process.start()
        told.close()
        self.steps: list[int] = []
        self.saved: list[int] = []
        self._times: list[float] = []

    def listen(self, until: float = float("inf")) -> None:
        """Hear what it tells, up to a step or its end."""
        while not self.steps or self.steps[-1] < until:
            try:
                what, number, at = self._told.recv()
            except (EOFError, OSError):
                return
            if what == "step":
                self.steps.append(number)
                self._times.append(at)
            else:
                self.saved.append(number)

    @property
    def pace(self) -> float | None:
        """Seconds of a step, with what lies between two."""
        taken = len(self._times) - 1
        return (self._times[-1] - self._times[0]) / taken if taken > 0 else None

    def kill(self) -> None:
        """Kill it, and hear what it has still told."""
        self.process.kill()
        self.process.join()
        self.listen()
        assert self.process.exitcode == -signal.SIGKILL


def train_through(
    config: Path, model: Path, steps: int, kills: int, chance: random.Random
) -> Deaths:
    """Train for so many steps through so many kills, at random moments of random steps.

    After each one the newest checkpoints must be there, but for one that was being written, in
    pairs that read as they were written.

    Args:
        config: Of a training that keeps `KEPT` checkpoints, and numbers them by step.
        model: Where they go.
        steps: In all.
        kills: How many.
        chance: Decides when.
    """
    deaths, saved, last, pace = Deaths(), set[int](), 0, 0.02
    for aim in sorted(chance.sample(range(1, steps - REACH), kills)):
        life = Life(config, model, steps, aim)
        life.listen(aim)
        if life.steps and life.steps[-1] < aim:
            raise RuntimeError(f"A training ended by itself after step {life.steps[-1]}.")
        time.sleep(chance.random() * REACH * pace)
        life.kill()
        pace = life.pace or pace
        deaths.kills += 1
        deaths.in_saves += any(model.glob(".*.part"))
        saved.update(life.saved)
        deaths.trouble += _trouble(model, saved)
        first = life.steps[0]
        deaths.repeated += max(0, last - first + 1)
        last = max(last, life.steps[-1])
    life = Life(config, model, steps)
    life.listen()
    life.process.join()
    if life.process.exitcode or life.steps[-1] != steps:
        raise RuntimeError(f"The last one ended after step {life.steps[-1]}.")
    deaths.repeated += max(0, last - life.steps[0] + 1)
    deaths.trouble += _trouble(model, saved | set(life.saved))
    return deaths


def _trouble(model: Path, saved: set[int]) -> list[str]:
    """Say which checkpoints are not there, or not what was written."""
    found = {pair.number: pair for pair in list_checkpoints(model)}
    newest = sorted(saved | set(found))[-KEPT:]
    trouble = [f"{number} is lost" for number in newest if number not in found]
    for number, pair in found.items():
        for path in (pair.generator, pair.discriminator):
            step = torch.load(path, weights_only=True)["progress"]["step"]
            if step != number:
                trouble.append(f"{path.name} is of step {step}")
    return trouble
