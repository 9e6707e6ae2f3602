"""The training loop: everything that happens between a folder of features and a voice."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from sovits.errors import ConfigError, Interrupted
from sovits.legacy.settings import read_config
from sovits.train.base import BASE_FILE
from sovits.train.batch_size import named_if_short
from sovits.train.checkpoint import list_checkpoints
from sovits.train.dataset import Batches, Crops
from sovits.train.guard import Guard
from sovits.train.interruption import Interruption, ignore_in_worker
from sovits.train.lock import claimed
from sovits.train.log import Log, OnProgress
from sovits.train.setup import Mend, Training, begin, make_trainee, read_data
from sovits.train.step import Objective, averaged, train_step
from sovits.train.team import Team, make_fabric

SAVE_SECONDS = 600.0
"""Longest time from one checkpoint to the next (s), so that a crash costs little."""

_trainee = make_trainee


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
    devices: int | None = None,
    tensorboard: bool = False,
    from_scratch: bool = False,
    base: Path = BASE_FILE,
    mend: Mend | None = None,
    on_log: Callable[[str], None],
    on_progress: OnProgress | None = None,
) -> Outcome:
    """Train the voice that `config_path` describes, from where `model_dir` left off.

    Ctrl-C and SIGTERM are heard between two steps. Whatever ends a training, one that goes on from
    its checkpoint makes the same weights as one that was never interrupted.

    Several processes, of torchrun, of SLURM or begun here, hear different clips and move the same
    weights, by the mean of what each would. The first of them speaks, validates and saves.

    Args:
        config_path: `config.json`; a copy is kept beside the checkpoints.
        model_dir: Holds checkpoints and logs. An interrupted training goes on from the newest.
        reset_optimizer: Begin with fresh optimizers.
        max_steps: Stop, and save, when this many steps are done in all; with accumulated gradients,
            when the group that it falls into is done.
        max_seconds: Stop, and save, after this much time.
        device: Such as `cpu` or `cuda:0`; CUDA if there is any, else the CPU, if not given.
        devices: Processes to begin on this machine, each with a device of its own.
        tensorboard: Write event files for TensorBoard into `model_dir`.
        from_scratch: Begin a new training with random weights, whatever `base` is.
        base: What it begins with otherwise, if that is there and fits the settings.
        mend: Makes the features of clips again if they are missing or damaged, which is an error
            if not given.
        on_log: Told one line at a time, in the first process.
        on_progress: Told how far it is, instead of a line now and then.

    Raises:
        ConfigError: The configuration is wrong, or there is no such device.
        DatasetError: Features are missing or were made with other settings.
        OutputError: A checkpoint cannot be written; older ones are as they were.
        TrainingError: A term of the loss is not finite, no checkpoint can be read or fits, or
            another training is at work in `model_dir`.
        Interrupted: Someone asked the training to end. It is saved.
    """
    config, remarks = read_config(config_path)
    if max_steps is not None and max_steps < 1:
        raise ConfigError.wrong_value("max_steps", max_steps, "at least 1")
    team = Team(make_fabric(device, devices))
    tell = on_log if team.leads else _ignore
    for remark in remarks:
        tell(remark)
    if config.train.precision == "fp16":
        tell("fp16_run: training in bfloat16, which is as fast and cannot overflow.")
    with team.together(), ExitStack() as held:
        data = read_data(config, team, mend, tell)
        torch.manual_seed(config.train.seed)  # the same weights in all processes
        trainee = make_trainee(config, team.fabric.device, average=team.leads)
        team.lead(lambda: held.enter_context(claimed(model_dir)))
        chosen = None if from_scratch else base
        training = begin(config, model_dir, team, trainee, data, chosen, tell)
        if reset_optimizer and trainee.step:
            trainee.generator_optimizer.state.clear()
            trainee.discriminator_optimizer.state.clear()
            tell("The optimizers start afresh.")
        begun = time.monotonic()
        last = trainee.step + training.steps_left
        last = min(last, max_steps or last)
        done = not training.steps_left or bool(max_steps and trainee.step >= max_steps)
        if done or not training.gains:
            if not done:
                training.say_why(tell)
            tell(f"Nothing to do: {trainee.step} of {last} steps are done.")
            outcome = Outcome(trainee.step, 0.0, list_checkpoints(model_dir)[-1].generator)
        else:
            log = None
            if team.leads:
                log = Log(
                    model_dir,
                    tell,
                    begun=trainee.step,
                    last=last,
                    tensorboard=tensorboard,
                    on_progress=on_progress,
                )
            until = None if max_seconds is None else begun + max_seconds
            with closing(log) if log else nullcontext():
                path = _train(training, log, max_steps, until, tell)
            training.say_why(tell)
            tell(f"Step {trainee.step} is saved in {path}.")
            outcome = Outcome(trainee.step, time.monotonic() - begun, path)
    return outcome


def _train(
    training: Training,
    log: Log | None,
    max_steps: int | None,
    until: float | None,
    on_log: Callable[[str], None],
) -> Path:
    """Take steps to the last one, or until a time, or until someone asks for the end.

    Returns:
        The generator's file of the last checkpoint.
    """
    config, team, trainee = training.config, training.team, training.trainee
    fabric, synthesizer = team.fabric, trainee.generator
    trainee.generator, trainee.generator_optimizer = fabric.setup(
        trainee.generator, trainee.generator_optimizer
    )
    trainee.discriminator, trainee.discriminator_optimizer = fabric.setup(
        trainee.discriminator, trainee.discriminator_optimizer
    )
    on_gpu = fabric.device.type == "cuda"
    optimizers = trainee.generator_optimizer, trainee.discriminator_optimizer
    guard = Guard(*optimizers, waits=not on_gpu)
    objective = Objective(config, fabric.device, team.total)
    half = config.train.precision != "fp32"
    arithmetic = torch.autocast(fabric.device.type, torch.bfloat16, enabled=half)

    def validate(file: str | None, *, last: bool = False) -> None:
        judge = training.validation
        if log is None or judge is None or not (last or judge.is_due(trainee.step)):
            return
        devices = [fabric.device] if on_gpu else []
        with torch.random.fork_rng(devices), averaged(synthesizer, trainee.average):
            judge.evaluate(synthesizer, trainee.step, file, log, lambda: asked.signal is not None)

    steps = _steps(training)
    with Interruption(patient=team.size > 1) as asked, closing(steps):
        saved = time.monotonic()
        first, due = trainee.step + 1, False
        team.lead(lambda: validate(training.begun_from))
        for crops, whole in steps:
            with named_if_short(len(crops.wave), fabric.device):
                terms = train_step(
                    fabric, trainee, objective, crops, arithmetic, update=whole, guard=guard
                )
            trainee.step += 1
            trainee.position += 1
            telling = trainee.step == first or trainee.step % config.train.log_interval == 0
            due = due or trainee.step % config.train.eval_interval == 0
            if telling or due:
                guard.settle()
            if log:
                log.add(terms)
            if log and telling:
                log.tell(trainee)
            if not whole:  # gradients of half a group are in no checkpoint
                continue
            now = time.monotonic()
            signal, spent, old = team.most(
                asked.signal or 0, until is not None and now >= until, now - saved >= SAVE_SECONDS
            )
            if signal or spent or (max_steps is not None and trainee.step >= max_steps):
                break
            if due:
                team.lead(lambda: validate(training.next_file()))
            if due or old:
                guard.settle()
                path = training.save(on_failure=on_log)
                if due and not training.gains:
                    return path
                saved, due = time.monotonic(), False
        guard.settle()
        if signal:
            path = training.save()
            on_log(f"Interrupted. Step {trainee.step} is saved in {path}; train again to go on.")
            raise Interrupted(signal)
        team.lead(lambda: validate(training.next_file(), last=True))
        return training.save()


class _Ahead(Dataset[Crops]):
    """Batches by epoch and number, so that processes that load them need not begin anew."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __getitem__(self, place: tuple[int, int]) -> Crops:
        self.batches.epoch, number = place
        return self.batches[number]


def _places(epoch: int, position: int, batches: int, epochs: int) -> Iterator[tuple[int, int]]:
    """Yield the epoch and number of each batch from here on."""
    while epoch < epochs:
        yield from ((epoch, number) for number in range(position, batches))
        epoch, position = epoch + 1, 0


def _steps(training: Training) -> Generator[tuple[Crops, bool]]:
    """Yield batches from where the training stands to the last epoch, with the rates set."""
    trainee, batches, train = training.trainee, training.batches, training.config.train
    fabric = training.team.fabric
    loader = DataLoader(
        _Ahead(batches),
        batch_size=None,
        sampler=_places(trainee.epoch, trainee.position, len(batches), train.epochs),
        num_workers=train.num_workers,
        worker_init_fn=ignore_in_worker,
        # A generator of its own: the loader must not draw from the one that is resumed.
        generator=torch.Generator(),
        # Else the device would have to be waited for in each step.
        pin_memory=fabric.device.type == "cuda",
    )
    ahead = iter(loader)
    while trainee.epoch < train.epochs:
        rate = train.learning_rate * train.lr_decay**trainee.epoch
        for optimizer in (trainee.generator_optimizer, trainee.discriminator_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = rate
        for _ in range(trainee.position, len(batches)):
            group_done = (trainee.step + 1) % train.accumulate == 0
            yield fabric.to_device(next(ahead)), group_done
        trainee.epoch, trainee.position = trainee.epoch + 1, 0


def _ignore(_line: str) -> None:
    """Say nothing; the first process does."""
