"""One step of several processes, or of one; a program for `test_processes.py`.

python shared_step.py FOLDER OUT DECODER BATCH_SIZE ACCUMULATE
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from toy_training import light_config, toy_config, without_dropout

from sovits.train.dataset import Batches, list_recordings
from sovits.train.setup import make_trainee
from sovits.train.step import Objective, train_step
from sovits.train.team import Team, make_fabric


def still(x: Any, *shape: Any, **rest: Any) -> torch.Tensor:
    """Stand in for what draws random numbers, which would differ between processes."""
    if isinstance(x, torch.Tensor):
        return torch.zeros_like(x)
    return torch.zeros(x, *shape, **rest)


def main() -> None:
    """Write the gradients and weights after one update, and which clips were heard."""
    torch.set_num_threads(1)
    folder, out, decoder = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    train = {"batch_size": int(sys.argv[4]), "accumulate": int(sys.argv[5]), "stft_weight": 2.0}
    train |= {"segment_frames": 20, "context_frames": 24}
    if decoder == "native":
        config = light_config(folder, latent=4, **train)
    else:
        config = without_dropout(toy_config(folder, decoder, **train))  # type: ignore[arg-type]
    team = Team(make_fabric("cpu"))
    recordings = list_recordings(Path(config.train.training_files), config)
    batches = Batches(recordings, config, rank=team.rank, ranks=team.size)
    torch.manual_seed(team.rank)  # the first process's weights are everybody's
    trainee = make_trainee(config, torch.device("cpu"))
    networks = trainee.generator, trainee.discriminator
    fabric = team.fabric
    trainee.generator, trainee.generator_optimizer = fabric.setup(
        trainee.generator, trainee.generator_optimizer
    )
    trainee.discriminator, trainee.discriminator_optimizer = fabric.setup(
        trainee.discriminator, trainee.discriminator_optimizer
    )
    for name in ("rand", "randn", "randn_like", "rand_like"):
        setattr(torch, name, still)
    torch.Tensor.uniform_ = lambda x, *_: x.fill_(1.0)  # type: ignore[method-assign, assignment]
    kept: dict[str, Any] = {}
    for optimizer in (trainee.generator_optimizer, trainee.discriminator_optimizer):
        taken = optimizer.optimizer.step  # type: ignore[attr-defined]

        def step(*args: Any, taken: Any = taken, **rest: Any) -> None:
            if "gradients" not in kept:
                kept["gradients"] = [
                    {n: w.grad.clone() for n, w in net.named_parameters() if w.grad is not None}
                    for net in networks
                ]
            taken(*args, **rest)

        optimizer.optimizer.step = step  # type: ignore[attr-defined]
    objective = Objective(config, torch.device("cpu"), team.total)
    plain = torch.autocast("cpu", torch.bfloat16, enabled=False)
    heard = []
    for index in range(config.train.accumulate):
        crops = batches[index]
        heard.append(crops.batch.f0[:, 0].tolist())
        last = index == config.train.accumulate - 1
        terms = train_step(fabric, trainee, objective, crops, plain, update=last)
    kept |= {"terms": terms, "heard": team.gather(heard), "size": team.size}
    if team.leads:
        torch.save(kept, out)
    team.close()  # or a thread of the group may outlive what it works for, at the exit


if __name__ == "__main__":
    main()
