"""What is told of a training: to people, to programs, and to TensorBoard."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sovits.errors import UsageError
from sovits.evaluate.pictures import Pixels, palette
from sovits.train.step import Trainee
from sovits.types import Wave

LOSSES = ("mel", "kl", "f0", "stft", "bands", "features", "adversarial", "discriminator")
"""Terms of the loss, in the order in which they are shown."""
MOST_READ = 64 << 20
"""Bytes of the end of `train.jsonl` that are read for curves."""
MOVES_PER_SECOND = 8.0
"""How often a bar moves at most."""


class Progress(NamedTuple):
    """How far a training is."""

    step: int
    last: int
    epoch: int
    terms: dict[str, float]
    """Means of the terms of the loss, as they were told last."""
    speed: float
    """Steps a second."""
    left: float
    """Seconds to the last step."""
    memory: str
    """How much of it is used, in words."""


OnProgress = Callable[[Progress], None]


class Heard(NamedTuple):
    """A sound that TensorBoard shows."""

    name: str
    wave: Wave
    sample_rate: int
    pixels: Pixels
    """Its spectrogram."""


class Log:
    """Lines for people, `train.jsonl` for programs, and TensorBoard if asked.

    Args:
        folder: Where the files go.
        on_log: Told one line at a time.
        begun: Step at which this run begins.
        last: Step at which it will end.
        tensorboard: Whether to write event files too.
        on_progress: Told how far it is, instead of a line now and then.
    """

    def __init__(
        self,
        folder: Path,
        on_log: Callable[[str], None],
        *,
        begun: int,
        last: int,
        tensorboard: bool,
        on_progress: OnProgress | None = None,
    ) -> None:
        self.path, self.on_log, self.last = folder / "train.jsonl", on_log, last
        self._begun_at = self._told_at = self._moved_at = time.monotonic()
        self._told = begun
        self._on_progress = on_progress
        self._now = Progress(begun, last, 0, {}, 0.0, 0.0, "")
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
        self._now = self._now._replace(step=self._now.step + 1)
        now = time.monotonic()
        if self._on_progress is not None and now - self._moved_at > 1 / MOVES_PER_SECOND:
            self._moved_at = now
            left = (self.last - self._now.step) / self._now.speed if self._now.speed else 0.0
            self._now = self._now._replace(left=left)
            self._on_progress(self._now)

    def tell(self, trainee: Trainee) -> None:
        """Tell the means since the last time, how fast steps are, and when all will be done."""
        values = {name: round(float(x) / count, 4) for name, (x, count) in self._sums.items()}
        self._sums.clear()
        now = time.monotonic()
        speed = (trainee.step - self._told) / max(now - self._told_at, 1e-9)
        left = (self.last - trainee.step) / max(speed, 1e-9)
        self._told, self._told_at = trainee.step, now
        used = memory(next(trainee.generator.parameters()).device)
        self._now = Progress(trainee.step, self.last, trainee.epoch, values, speed, left, used)
        if self._on_progress is not None:
            self._on_progress(self._now)
        else:
            told = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
            pace = f"{now - self._begun_at:.0f} s, {speed:.3g} steps/s, {duration(left)} left"
            self.on_log(f"step {trainee.step}  epoch {trainee.epoch + 1}  {told}  ({pace}, {used})")
        self._write({"step": trainee.step, "epoch": trainee.epoch + 1, **values})
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"loss/{name}", value, trainee.step)
            rate = trainee.generator_optimizer.param_groups[0]["lr"]
            self._board.add_scalar("learning_rate", rate, trainee.step)

    def evaluated(
        self, step: int, values: dict[str, float], told: str, heard: Sequence[Heard]
    ) -> None:
        """Tell what an evaluation found.

        Args:
            step: When.
            values: What was measured, by name.
            told: The same in words.
            heard: What was sung, for TensorBoard.
        """
        self.on_log(f"step {step}  {told}")
        self._write({"step": step, **{name: round(value, 5) for name, value in values.items()}})
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"evaluation/{name}", value, step)
            for sound in heard:
                self._board.add_audio(sound.name, sound.wave[None], step, sound.sample_rate)
                picture = palette()[sound.pixels]
                self._board.add_image(sound.name, picture, step, dataformats="HWC")
        self._told, self._told_at = step, time.monotonic()  # steps are timed, not this

    @property
    def shows_sounds(self) -> bool:
        """Whether anybody wants sounds."""
        return self._board is not None

    def close(self) -> None:
        """Write what is still to be written."""
        if self._board is not None:
            self._board.close()

    def _write(self, entry: dict[str, float]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def read_terms(log: Path) -> dict[int, dict[str, float]]:
    """Return the terms of the loss in a `train.jsonl`, by step, of those done again the last."""
    if not log.is_file():
        return {}
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - MOST_READ))
        lines = file.read().splitlines()
    found: dict[int, dict[str, float]] = {}
    for line in lines:
        try:
            entry = json.loads(line)
            step = int(entry["step"])
            terms = {name: float(entry[name]) for name in LOSSES if name in entry}
        except (ValueError, KeyError, TypeError):  # one that was cut off
            continue
        if terms:
            while found and (last := next(reversed(found))) >= step:
                del found[last]
            found[step] = terms
    return found


def memory(device: torch.device) -> str:
    """Return how much memory this process uses, of the machine and of a GPU."""
    used = [_resident()]
    if device.type == "cuda":
        used.append(f"GPU {_bytes(torch.cuda.memory_reserved(device))}")
    elif device.type == "mps":
        used.append(f"GPU {_bytes(torch.mps.driver_allocated_memory())}")
    return ", ".join(part for part in used if part)


def _resident() -> str:
    """Return the memory that this process occupies; its peak where the system tells only that."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return _bytes(pages * os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return ""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return _bytes(peak if sys.platform == "darwin" else peak * 1024)


def _bytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


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
