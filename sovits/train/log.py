"""What is told of a training: to people, to programs, and to TensorBoard."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from sovits.errors import UsageError
from sovits.train.step import Trainee


class Log:
    """Lines for people, `train.jsonl` for programs, and TensorBoard if asked.

    Args:
        folder: Where the files go.
        on_log: Told one line at a time.
        begun: Step at which this run begins.
        last: Step at which it will end.
        tensorboard: Whether to write event files too.
    """

    def __init__(
        self,
        folder: Path,
        on_log: Callable[[str], None],
        *,
        begun: int,
        last: int,
        tensorboard: bool,
    ) -> None:
        self.path, self.on_log, self.last = folder / "train.jsonl", on_log, last
        self._begun_at = self._told_at = time.monotonic()
        self._told = begun
        self._sums: dict[str, tuple[Tensor, int]] = {}
        self._board = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise UsageError.needs_extra("train", "tensorboard") from error
            # Steps that were done after the checkpoint, and are now done again, leave the curves.
            self._board = SummaryWriter(str(folder), purge_step=begun + 1)

    def add(self, terms: dict[str, Tensor]) -> None:
        """Take note of the terms of one step; one step alone would tell little."""
        for name, term in terms.items():
            before, count = self._sums.get(name, (torch.zeros_like(term), 0))
            self._sums[name] = before + term, count + 1

    def tell(self, trainee: Trainee) -> None:
        """Tell the means since the last time, how fast steps are, and when all will be done."""
        values = {name: round(float(x) / count, 4) for name, (x, count) in self._sums.items()}
        self._sums.clear()
        told = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
        now = time.monotonic()
        speed = (trainee.step - self._told) / max(now - self._told_at, 1e-9)
        left = (self.last - trainee.step) / max(speed, 1e-9)
        self._told, self._told_at = trainee.step, now
        self.on_log(
            f"step {trainee.step}  epoch {trainee.epoch + 1}  {told}  "
            f"({now - self._begun_at:.0f} s, {speed:.3g} steps/s, {duration(left)} left)"
        )
        self._write({"step": trainee.step, "epoch": trainee.epoch + 1, **values})
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"loss/{name}", value, trainee.step)
            rate = trainee.generator_optimizer.param_groups[0]["lr"]
            self._board.add_scalar("learning_rate", rate, trainee.step)

    def held_out(self, step: int, distance: float) -> None:
        """Tell how far held-out clips are from what the voice makes of them."""
        self.on_log(f"step {step}  held-out log-mel distance {distance:.4f}")
        self._write({"step": step, "held_out_mel": round(distance, 5)})
        if self._board is not None:
            self._board.add_scalar("held_out/mel", distance, step)
        self._told, self._told_at = step, time.monotonic()  # steps are timed, not this

    def close(self) -> None:
        """Write what is still to be written."""
        if self._board is not None:
            self._board.close()

    def _write(self, entry: dict[str, float]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def duration(seconds: float) -> str:
    """Return a time in its two largest units.

    >>> duration(59), duration(4000), duration(1e6)
    ('59 s', '1 h 06 min', '11 d 13 h')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"
