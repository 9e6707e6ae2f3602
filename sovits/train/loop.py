"""The training loop: everything that happens between a folder of features and a voice."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch.utils.data import DataLoader

from sovits.config import Config
from sovits.device import choose_device
from sovits.errors import ConfigError, Interrupted, OutputError
from sovits.legacy.settings import read_config, write_config
from sovits.models.build import make_synthesizer
from sovits.models.discriminator import Discriminator
from sovits.train.base import BASE_FILE, begin_from_base, fits
from sovits.train.changes import tell_changes
from sovits.train.checkpoint import (
    list_checkpoints,
    prune_checkpoints,
    resume,
    save_checkpoint,
)
from sovits.train.dataset import Batches, Crops, list_recordings
from sovits.train.interruption import Interruption, ignore_in_worker
from sovits.train.log import Log
from sovits.train.step import Objective, Trainee, averaged, train_step
from sovits.train.validate import held_out_distance

SAVE_SECONDS = 600.0
"""Longest time from one checkpoint to the next (s), so that a crash costs little."""


@dataclass(frozen=True)
class Outcome:
    """How a training ended."""

    step: int
    seconds: float
    checkpoint: Path


def fit(
    config_path: Path,
    model_dir: Path,
    *,
    reset_optimizer: bool = False,
    max_steps: int | None = None,
    max_seconds: float | None = None,
    device: str | None = None,
    tensorboard: bool = False,
    from_scratch: bool = False,
    base: Path = BASE_FILE,
    on_log: Callable[[str], None],
) -> Outcome:
    """Train the voice that `config_path` describes, from where `model_dir` left off.

    Ctrl-C and SIGTERM are heard between two steps. Whatever ends a training, one that goes on from
    its checkpoint makes the same weights as one that was never interrupted.

    Args:
        config_path: `config.json`; a copy is kept beside the checkpoints.
        model_dir: Holds checkpoints and logs. An interrupted training goes on from the newest.
        reset_optimizer: Begin with fresh optimizers.
        max_steps: Stop, and save, when this many steps are done in all; with accumulated gradients,
            when the group that it falls into is done.
        max_seconds: Stop, and save, after this much time.
        device: Such as `cpu` or `cuda:0`; CUDA if there is any, else the CPU, if not given.
        tensorboard: Write event files for TensorBoard into `model_dir`.
        from_scratch: Begin a new training with random weights, whatever `base` is.
        base: What it begins with otherwise, if that is there and fits the settings.
        on_log: Told one line at a time.

    Raises:
        ConfigError: The configuration is wrong, or there is no such device.
        DatasetError: Features are missing or were made with other settings.
        OutputError: A checkpoint cannot be written; older ones are as they were.
        TrainingError: A term of the loss is not finite, or no checkpoint can be read or fits.
        Interrupted: Someone asked the training to end. It is saved.
    """
    config, remarks = read_config(config_path)
    for remark in remarks:
        on_log(remark)
    if max_steps is not None and max_steps < 1:
        raise ConfigError.wrong_value("max_steps", max_steps, "at least 1")
    fabric = _fabric(device)
    torch.manual_seed(config.train.seed)
    if config.train.precision == "fp16":
        on_log("fp16_run: training in bfloat16, which is as fast and cannot overflow.")
    batches = Batches(list_recordings(Path(config.train.training_files), config), config)
    held_out = list_recordings(Path(config.train.validation_files), config)
    trainee = _trainee(config, fabric.device)
    try:
        model_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError.cannot_write(model_dir, error.strerror or str(error)) from error
    begun_from = resume(model_dir, trainee, on_log)
    beside = model_dir / "config.json"
    if trainee.step:
        tell_changes(beside, config, on_log)
    if begun_from is None and not from_scratch and fits(config, base):
        begin_from_base(trainee, base, on_log)
    elif begun_from is None:
        on_log(f"Starting from random weights: there is no checkpoint in {model_dir}.")
    elif reset_optimizer:
        trainee.generator_optimizer.state.clear()
        trainee.discriminator_optimizer.state.clear()
        on_log("The optimizers start afresh.")
    by_step = config.train.name_by_step
    if not by_step and trainee.step and begun_from and begun_from.number > trainee.epoch + 1:
        by_step = True  # a smaller number would make the newest look old
        on_log("Checkpoints are named by step, as those that are there already.")
    write_config(beside, config)
    last = min(config.train.epochs * len(batches), max_steps or config.train.epochs * len(batches))
    if trainee.epoch >= config.train.epochs or (max_steps and trainee.step >= max_steps):
        on_log(f"Nothing to do: {trainee.step} of {last} steps are done.")
        return Outcome(trainee.step, 0.0, list_checkpoints(model_dir)[-1].generator)
    synthesizer = trainee.generator
    trainee.generator, trainee.generator_optimizer = fabric.setup(
        trainee.generator, trainee.generator_optimizer
    )
    trainee.discriminator, trainee.discriminator_optimizer = fabric.setup(
        trainee.discriminator, trainee.discriminator_optimizer
    )
    objective = Objective(config, fabric.device)
    half = config.train.precision != "fp32"
    arithmetic = torch.autocast(fabric.device.type, torch.bfloat16, enabled=half)

    def validate() -> None:
        devices = [fabric.device] if fabric.device.type == "cuda" else []
        with torch.random.fork_rng(devices), averaged(synthesizer, trainee.average):
            distance = held_out_distance(synthesizer, held_out, config.voice)
        log.held_out(trainee.step, distance)

    def save() -> Path:
        number = trainee.step if by_step else trainee.epoch + 1
        save_checkpoint(model_dir, number, trainee, config.train.learning_rate)
        prune_checkpoints(model_dir, config.train.keep_checkpoints, number)
        return model_dir / f"G_{number}.pth"

    log = Log(model_dir, on_log, begun=trainee.step, last=last, tensorboard=tensorboard)
    steps = _steps(trainee, batches, config, fabric)
    with closing(log), Interruption() as asked, closing(steps):
        begun = saved = time.monotonic()
        first, due = trainee.step + 1, False
        if not trainee.step:
            validate()
        for crops, whole in steps:
            terms = train_step(fabric, trainee, objective, crops, arithmetic, update=whole)
            trainee.step += 1
            trainee.position += 1
            log.add(terms)
            if trainee.step == first or trainee.step % config.train.log_interval == 0:
                log.tell(trainee)
            due = due or trainee.step % config.train.eval_interval == 0
            if not whole:  # gradients of half a group are in no checkpoint
                continue
            now = time.monotonic()
            spent = max_seconds is not None and now - begun >= max_seconds
            if asked.signal or spent or (max_steps is not None and trainee.step >= max_steps):
                break
            if due:
                validate()
            if due or now - saved >= SAVE_SECONDS:
                save()
                saved, due = time.monotonic(), False
        if asked.signal:
            on_log(f"Interrupted. Step {trainee.step} is saved in {save()}; train again to go on.")
            raise Interrupted(asked.signal)
        validate()
        path = save()
    on_log(f"Step {trainee.step} is saved in {path}.")
    return Outcome(trainee.step, time.monotonic() - begun, path)


def _fabric(device: str | None) -> Fabric:
    """Return what moves and differentiates, on a device that is known to be there."""
    kind, _, index = choose_device(device or "auto").partition(":")
    return Fabric(
        accelerator=kind,
        devices=[int(index)] if index and kind == "cuda" else 1,
        # Not Fabric's mixed precision, which would round the pitch in each batch as well.
        precision="32-true",
    )


def _trainee(config: Config, device: torch.device) -> Trainee:
    # On their device before there are optimizers, whose states are read onto that of the weights.
    generator = make_synthesizer(config.voice.synthesizer, config.voice.audio).to(device)
    discriminator = Discriminator(config.discriminator).to(device)
    train = config.train

    def optimizer(network: torch.nn.Module) -> torch.optim.AdamW:
        return torch.optim.AdamW(
            network.parameters(),
            lr=train.learning_rate,
            betas=train.betas,
            eps=train.eps,
            fused=True,
        )

    trainee = Trainee(generator, discriminator, optimizer(generator), optimizer(discriminator))
    if train.average:
        trainee.average = {}
        trainee.begin_average()
    return trainee


def _steps(
    trainee: Trainee, batches: Batches, config: Config, fabric: Fabric
) -> Generator[tuple[Crops, bool]]:
    """Yield batches from where `trainee` stands to the last epoch, with the rates set."""
    train = config.train
    while trainee.epoch < train.epochs:
        batches.epoch = trainee.epoch
        rate = train.learning_rate * train.lr_decay**trainee.epoch
        for optimizer in (trainee.generator_optimizer, trainee.discriminator_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = rate
        loader = DataLoader(
            batches,
            batch_size=None,
            sampler=range(trainee.position, len(batches)),
            num_workers=train.num_workers,
            worker_init_fn=ignore_in_worker,
            # A generator of its own: the loader must not draw from the one that is resumed.
            generator=torch.Generator(),
        )
        for crops in loader:
            group_done = (trainee.step + 1) % train.accumulate == 0
            yield fabric.to_device(crops), group_done
        trainee.epoch, trainee.position = trainee.epoch + 1, 0
