"""svc train-diffusion."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from sovits.cli.models import CONFIG, LOGS
from sovits.cli.progress import note, training_lines
from sovits.errors import ConfigError, Interrupted, UsageError


@dataclass(frozen=True)
class TrainDiffusion:
    """Train a refiner of a voice's own sound, for svc infer --refine (optional)."""

    config_path: Annotated[Path, arg(aliases=("-c",))] = CONFIG
    """Configuration that the voice was trained with."""
    model_path: Annotated[Path, arg(aliases=("-m",))] = LOGS
    """Folder of the voice; the refiner is put beside it, and a training in it goes on."""
    max_steps: Annotated[int, arg(metavar="N")] = 2000
    """Stop, and save, when this many steps are done in all."""
    device: Annotated[str, arg(aliases=("-d",))] = "auto"
    """Where networks compute: auto, cpu, cuda, cuda:1, mps."""

    def run(self) -> int:
        """Train until all steps are done or someone interrupts."""
        check_training(self.config_path, self.max_steps)
        from sovits.refiners import BESIDE
        from sovits.train.refiner import fit_refiner

        try:
            with training_lines() as told:
                fit_refiner(
                    self.config_path,
                    self.model_path,
                    max_steps=self.max_steps,
                    device=self.device,
                    on_log=told.on_log,
                    on_progress=told.on_progress,
                )
        except Interrupted as end:  # it has said where the training is saved
            return end.status
        note("Hear it with svc infer --refine 0.3, or see with svc evaluate whether it helps.")
        print(self.model_path / BESIDE)
        return 0


def check_training(config: Path, max_steps: int) -> None:
    """Refuse what can be seen to be wrong before anything heavy is loaded.

    Raises:
        ConfigError: There is no such file, or too few steps are asked for.
        UsageError: A package for training is missing.
    """
    if not config.is_file():
        raise ConfigError.no_file(config)
    if max_steps < 1:
        raise ConfigError.wrong_value("--max-steps", max_steps, "at least 1")
    if find_spec("lightning_fabric") is None:
        raise UsageError.needs_extra("train", "lightning_fabric")
