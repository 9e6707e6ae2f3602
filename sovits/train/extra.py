"""Train what works on a voice's sound: refiners and vocoders."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import nn

from sovits.config import TrainConfig
from sovits.errors import ConfigError, Interrupted
from sovits.train.checkpoint import list_checkpoints, prune_checkpoints, resume, save_checkpoint
from sovits.train.interruption import Interruption
from sovits.train.lock import claimed
from sovits.train.log import Log, OnProgress
from sovits.train.loop import SAVE_SECONDS, Outcome
from sovits.train.step import Trainee, averaged

BEST = "best.json"
WARMED = 50  # steps in which the rate rises


class Verdict(NamedTuple):
    """What an evaluation finds."""

    loss: float
    """The lower the better; of clips that nothing has learnt from."""
    values: dict[str, float]
    """What was measured, by name."""
    told: str
    """The same in words."""


class Extra(Protocol):
    """What is trained."""

    trainee: Trainee
    train: TrainConfig
    out: Path
    """Where the best of it is kept."""

    def step(self) -> dict[str, torch.Tensor]:
        """Take the next step; return the terms of its loss."""
        ...

    def judge(self) -> Verdict:
        """Evaluate the averaged weights, which the network has meanwhile."""
        ...

    def keep(self, verdict: Verdict) -> None:
        """Write the weights that the network has to `out`."""
        ...


class Nobody(nn.Module):
    """Judges nothing: stands where others have discriminators."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))


@dataclass
class Best:
    """The best evaluation so far."""

    step: int = -1
    loss: float = float("inf")
    told: str = ""

    @classmethod
    def of(cls, folder: Path) -> Best:
        """Return what `folder` remembers."""
        try:
            return cls(**json.loads((folder / BEST).read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return cls()

    def write(self, folder: Path) -> None:
        """Remember it."""
        part = folder / f".{BEST}.{os.getpid()}.part"
        part.write_text(json.dumps(asdict(self)), "utf-8")
        part.replace(folder / BEST)


def fit_extra(
    extra: Extra,
    folder: Path,
    *,
    max_steps: int,
    max_seconds: float | None = None,
    on_log: Callable[[str], None],
    on_progress: OnProgress | None = None,
) -> Outcome:
    """Train from where `folder` left off.

    Ctrl-C and SIGTERM are heard between two steps. What goes on from its checkpoint makes the same
    weights as what was never interrupted.

    Args:
        extra: What is trained.
        folder: Holds checkpoints and a log.
        max_steps: Steps in all.
        max_seconds: Stop, and save, after this much time.
        on_log: Told one line at a time.
        on_progress: Told how far it is, instead of a line now and then.

    Raises:
        TrainingError: A term of the loss is not finite, no checkpoint fits, or another training is
            at work in `folder`.
        Interrupted: Someone asked the training to end. It is saved.
    """
    if max_steps < 1:
        raise ConfigError.wrong_value("max_steps", max_steps, "at least 1")
    trainee = extra.trainee
    with claimed(folder):
        resume(folder, trainee, on_log)
        if trainee.step >= max_steps:
            on_log(f"Nothing to do: {trainee.step} of {max_steps} steps are done.")
            return Outcome(trainee.step, 0.0, list_checkpoints(folder)[-1].generator)
        best = Best.of(folder) if trainee.step else Best()
        log = Log(
            folder,
            on_log,
            begun=trainee.step,
            last=max_steps,
            tensorboard=False,
            on_progress=on_progress,
        )
        begun = time.monotonic()
        with closing(log), Interruption() as asked:
            path = _train(extra, folder, best, log, asked, max_steps, max_seconds)
        if asked.signal:
            on_log(f"Interrupted. Step {trainee.step} is saved in {path}; train again to go on.")
            raise Interrupted(asked.signal)
        on_log(f"The best is that of step {best.step}, in {extra.out}: {best.told}")
        return Outcome(trainee.step, time.monotonic() - begun, path)


def _train(
    extra: Extra,
    folder: Path,
    best: Best,
    log: Log,
    asked: Interruption,
    max_steps: int,
    max_seconds: float | None,
) -> Path:
    """Take steps to the last one, or until someone asks for the end; return the checkpoint."""
    trainee, train = extra.trainee, extra.train
    begun = saved = time.monotonic()
    first = trainee.step + 1
    while True:
        rate = train.learning_rate * min(1.0, (trainee.step + 1) / WARMED)
        for optimizer in (trainee.generator_optimizer, trainee.discriminator_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = rate
        log.add(extra.step())
        trainee.step += 1
        now = time.monotonic()
        over = trainee.step >= max_steps or (max_seconds is not None and now - begun >= max_seconds)
        due = trainee.step % train.eval_interval == 0 or (over and not asked.signal)
        if trainee.step == first or trainee.step % train.log_interval == 0:
            log.tell(trainee)
        if due:
            _evaluate(extra, folder, best, log)
        stale = bool(train.patience) and _without_gain(trainee.step, best, train) >= train.patience
        if due or asked.signal or now - saved >= SAVE_SECONDS:
            save_checkpoint(folder, trainee.step, trainee, train.learning_rate)
            prune_checkpoints(folder, train.keep_checkpoints, trainee.step)
            saved = time.monotonic()
        if over or asked.signal or (due and stale):
            return folder / f"G_{trainee.step}.pth"


def _without_gain(step: int, best: Best, train: TrainConfig) -> int:
    """Return how many evaluations there were since the best."""
    return (step - best.step) // train.eval_interval if best.step >= 0 else 0


def _evaluate(extra: Extra, folder: Path, best: Best, log: Log) -> None:
    """Judge the averaged weights, and keep them if nothing was better."""
    trainee = extra.trainee
    with (
        torch.random.fork_rng([]),
        torch.no_grad(),
        averaged(trainee.generator, trainee.average),
    ):
        verdict = extra.judge()
        log.evaluated(trainee.step, verdict.values, verdict.told, [])
        if verdict.loss < best.loss:
            best.step, best.loss, best.told = trainee.step, verdict.loss, verdict.told
            extra.keep(verdict)
            best.write(folder)
