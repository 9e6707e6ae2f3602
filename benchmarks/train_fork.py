"""Steps of so-vits-svc-fork 4.2.30's own training; run in its own venv.

python train_fork.py CONFIG STEPS
"""

from __future__ import annotations

import json
import logging
import resource
import sys
import time
from itertools import pairwise
from pathlib import Path

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader


class Clock(pl.Callback):
    """Takes the CPU time from the end of one step to the end of the next."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: object) -> None:
        """Note the end of a step."""
        self.ends.append(time.process_time())


def main() -> None:
    """Train for a few steps, and print what each cost."""
    torch.set_num_threads(1)
    path, steps = Path(sys.argv[1]), int(sys.argv[2])
    from so_vits_svc_fork import train, utils
    from so_vits_svc_fork.dataset import TextAudioCollate, TextAudioDataset
    from so_vits_svc_fork.hparams import HParams

    logging.disable(logging.WARNING)
    home = path.parent / "fork_logs"
    settings = json.loads(path.read_text())
    # Its template, but for the lists, the batch, and the segment that both have.
    kind = {"hifi-gan": "so-vits-svc-4.0v1", "ms-istft": "quickvc"}[settings["model"]["type_"]]
    templates = Path(utils.__file__).parent / "preprocessing" / "config_templates"
    own = json.loads((templates / f"{kind}.json").read_text())
    own["spk"] = settings["spk"]
    own["data"] |= {k: settings["data"][k] for k in ("training_files", "validation_files")}
    own["train"] |= {k: settings["train"][k] for k in ("batch_size", "segment_size")}
    hparams = HParams(**own)
    hparams.model_dir = home
    model = train.VitsLightning(**hparams)
    data = TextAudioDataset(hparams)
    loader = DataLoader(
        data, batch_size=own["train"]["batch_size"], collate_fn=TextAudioCollate(), num_workers=0
    )
    clock = Clock()
    model.on_train_end = lambda: None  # it would write a checkpoint
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=pl.loggers.TensorBoardLogger(home, "lightning_logs", 0),
        max_steps=2 * (steps + 1),  # of two optimizers
        limit_val_batches=0,
        callbacks=[clock],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, train_dataloaders=loader)
    cpu = [b - a for a, b in pairwise(clock.ends)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cpu": cpu, "peak_mb": peak}), flush=True)


if __name__ == "__main__":
    main()
