"""svc train-vocoder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from sovits.cli.models import CONFIG, LOGS
from sovits.cli.progress import note, training_lines
from sovits.cli.train_diffusion import check_training
from sovits.errors import Interrupted


@dataclass(frozen=True)
class TrainVocoder:
    """Train the vocoder that sings what refiners draw on a voice's clips (optional)."""

    config_path: Annotated[Path, arg(aliases=("-c",))] = CONFIG
    """Configuration whose lists name the clips."""
    model_path: Annotated[Path, arg(aliases=("-m",))] = LOGS
    """Folder that gets vocoder.safetensors; a training in it goes on."""
    max_steps: Annotated[int, arg(metavar="N")] = 1000
    """Stop, and save, when this many steps are done in all."""
    device: Annotated[str, arg(aliases=("-d",))] = "auto"
    """Where networks compute: auto, cpu, cuda, cuda:1, mps."""

    def run(self) -> int:
        """Train until all steps are done or someone interrupts."""
        check_training(self.config_path, self.max_steps)
        from sovits.train.vocoder import FILE, fit_vocoder

        try:
            with training_lines() as told:
                fit_vocoder(
                    self.config_path,
                    self.model_path,
                    max_steps=self.max_steps,
                    device=None if self.device == "auto" else self.device,
                    on_log=told.on_log,
                    on_progress=told.on_progress,
                )
        except Interrupted as end:  # it has said where the training is saved
            return end.status
        out = self.model_path / FILE
        note(f"Use it with svc infer --refine 0.3 --vocoder {out}.")
        print(out)
        return 0
