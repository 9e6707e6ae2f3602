"""Steps of our training, as `svc train` takes them.

python train_ours.py CONFIG STEPS [bf16]
"""

from __future__ import annotations

import json
import resource
import sys
import time
from itertools import pairwise
from pathlib import Path

import torch

from sovits.legacy.settings import read_config
from sovits.train.dataset import STORED, Batches, list_recordings
from sovits.train.guard import Guard
from sovits.train.setup import make_trainee
from sovits.train.step import Objective, train_step
from sovits.train.store import Store
from sovits.train.team import make_fabric


def main() -> None:
    """Take a few steps, and print what each cost."""
    torch.set_num_threads(1)
    path, steps = Path(sys.argv[1]), int(sys.argv[2])
    config, _ = read_config(path)
    fabric = make_fabric("cpu")
    recordings = list_recordings(Path(config.train.training_files), config)
    store = Store([recording.path for recording in recordings])
    for recording in recordings:
        store.load(recording.path, STORED)
    batches = Batches(recordings, config, store=store)
    trainee = make_trainee(config, fabric.device)
    trainee.generator, trainee.generator_optimizer = fabric.setup(
        trainee.generator, trainee.generator_optimizer
    )
    trainee.discriminator, trainee.discriminator_optimizer = fabric.setup(
        trainee.discriminator, trainee.discriminator_optimizer
    )
    objective, guard = Objective(config, fabric.device), Guard()
    arithmetic = torch.autocast("cpu", torch.bfloat16, enabled="bf16" in sys.argv[3:])
    ends = []
    while len(ends) < steps + 2:
        index = trainee.step % len(batches)
        batches.epoch = trainee.step // len(batches)
        train_step(fabric, trainee, objective, batches[index], arithmetic, guard=guard)
        trainee.step += 1
        ends.append(time.process_time())
    cpu = [b - a for a, b in pairwise(ends[1:])]  # the first step makes what is kept
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cpu": cpu, "peak_mb": peak}), flush=True)


if __name__ == "__main__":
    main()
