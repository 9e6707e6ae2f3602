"""svc train."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from sovits.cli.models import CONFIG, LOGS
from sovits.cli.progress import counter, tell, training_lines
from sovits.errors import ConfigError, Interrupted, TrainingError, UsageError
from sovits.hub import NATIVE

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
"""What tells a process in its environment that it is not the first."""


@dataclass(frozen=True)
class Train:
    """Train a voice, or go on with a training (step 4 of 4; can be interrupted).

    How it learns stands in the configuration; docs/config.md has every key.
    """

    config_path: Annotated[Path, arg(aliases=("-c",))] = CONFIG
    """Configuration; a copy of it is kept beside the checkpoints."""
    model_path: Annotated[Path, arg(aliases=("-m",))] = LOGS
    """Folder for checkpoints and logs; a training in it goes on."""
    tensorboard: Annotated[bool, arg(aliases=("-t",))] = False
    """Log for TensorBoard too, and serve it while training. -nt: do not."""
    reset_optimizer: Annotated[bool, arg(aliases=("-r",))] = False
    """Go on with fresh optimizers."""
    max_steps: Annotated[int | None, arg(metavar="N")] = None
    """Stop, and save, when this many steps are done in all."""
    max_time: Annotated[str | None, arg(metavar="TIME")] = None
    """Stop, and save, after so long: 90s, 30m, 2h, 1h30m."""
    device: Annotated[str, arg(aliases=("-d",))] = "auto"
    """Where networks compute: auto, cpu, cuda, cuda:1, mps."""
    devices: Annotated[int | None, arg(metavar="N")] = None
    """Devices to train on, a process each; 1, or as many as torchrun or srun has begun."""
    base: Annotated[str | None, arg(metavar="BASE")] = None
    """What a new training begins with: G_*.pth (with its D_*.pth), a folder, a name; or hub:..."""
    from_scratch: bool = False
    """Begin a new training with random weights, even if there is a bundled base for it."""

    def run(self) -> int:
        """Train until all epochs, `max_steps` or `max_time` are over, or someone interrupts."""
        if not self.config_path.is_file():
            raise ConfigError.no_file(self.config_path)
        if self.max_steps is not None and self.max_steps < 1:
            raise ConfigError.wrong_value("--max-steps", self.max_steps, "at least 1")
        if self.devices is not None and self.devices < 1:
            raise ConfigError.wrong_value("--devices", self.devices, "at least 1")
        seconds = None if self.max_time is None else seconds_of(self.max_time)
        if self.base is not None and self.from_scratch:
            raise UsageError.base_and_scratch()
        needed = ("lightning_fabric", *(["tensorboard"] if self.tensorboard else []))
        for package in needed:
            if find_spec(package) is None:
                raise UsageError.needs_extra("train", package)
        from sovits.train import fit

        # It tells of processes that it begins, and torch of how gradients lie in memory.
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        warnings.filterwarnings("ignore", "(?s).*Grad strides do not match bucket view strides")
        first = all(os.environ.get(name, "0") == "0" for name in RANKS)
        try:
            board = self.tensorboard and first
            with (
                _tensorboard(self.model_path) if board else nullcontext(),
                training_lines() as told,
            ):
                begun_with = self._base(told.on_log, places=first)
                fit(
                    self.config_path,
                    self.model_path,
                    reset_optimizer=self.reset_optimizer,
                    max_steps=self.max_steps,
                    max_seconds=seconds,
                    device=None if self.device == "auto" else self.device,
                    devices=self.devices,
                    tensorboard=self.tensorboard,
                    from_scratch=self.from_scratch,
                    mend=self._mend,
                    on_log=told.on_log,
                    on_progress=told.on_progress,
                    **begun_with,
                )
        except Interrupted as end:  # it has said where the training is saved
            return end.status
        if first:
            print(self.model_path)
        return 0

    def _base(self, on_log: Callable[[str], None], *, places: bool) -> dict[str, Path]:
        """Put a pair of others where training looks for it; return a base of our own for it."""
        from sovits.train.base import fits
        from sovits.train.pairs import place_pair

        if self.base is None:
            return {}
        path = Path(self.base)
        if path.suffix != NATIVE or not path.is_file():
            if places:
                place_pair(self.base, self.model_path, on_log)
            return {}
        from sovits.legacy.settings import read_config

        if not fits(read_config(self.config_path)[0], path):
            raise TrainingError.base_unfit(path)
        return {"base": path}

    def _mend(self, clips: Sequence[Path]) -> None:
        """Make the features of clips again, with the settings of the others."""
        from sovits.device import choose_device
        from sovits.legacy.settings import read_config
        from sovits.prepare.features import remake_features

        config, _ = read_config(self.config_path)
        device = choose_device(self.device)
        with counter("Features") as move:
            report = remake_features(clips, config.voice, device=device, on_progress=move)
        tell(report, "features files")


def seconds_of(text: str) -> float:
    """Return how long a time such as `90s`, `30m`, `2h` or `1h30m` is.

    >>> [seconds_of(text) for text in ("90s", "30m", "1.5h", "1h30m", "1H 30M")]
    [90.0, 1800.0, 5400.0, 5400.0, 5400.0]

    Raises:
        ConfigError: It is none, or no time at all.
    """
    number = r"(\d{1,6}(?:\.\d{1,3})?)"
    pattern = rf"(?:{number}h)?\s*(?:{number}m(?:in)?)?\s*(?:{number}s)?"
    match = re.fullmatch(pattern, text.strip().lower())
    parts = match.groups(default="0") if match else ("0",)
    seconds = sum(float(part) * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    if not seconds:
        raise ConfigError.wrong_value("--max-time", text, "a time such as 90s, 30m, 2h or 1h30m")
    return seconds


@contextmanager
def _tensorboard(folder: Path) -> Iterator[None]:
    """Serve the logs in a folder; TensorBoard itself says at which address."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603  # no shell
    try:
        yield
    finally:
        server.terminate()
        server.wait()
