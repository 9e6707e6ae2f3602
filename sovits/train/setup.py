"""What a training needs before its first step, and what it keeps after each so many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from sovits.config import Config
from sovits.errors import DatasetError, OutputError, TrainingError
from sovits.legacy.settings import write_config
from sovits.models.build import make_synthesizer
from sovits.models.discriminator import Discriminator
from sovits.train.base import begin_from_base, fits
from sovits.train.batch_size import find_batch_size
from sovits.train.changes import tell_changes
from sovits.train.checkpoint import (
    Progress,
    last_batch_size,
    prune_checkpoints,
    random_state,
    resume,
    save_checkpoint,
)
from sovits.train.dataset import (
    OF_OTHERS,
    STORED,
    Batches,
    Recording,
    features_of,
    list_clips,
    list_recordings,
    long_enough,
    read_header,
)
from sovits.train.speakers import keep_rows
from sovits.train.step import Trainee
from sovits.train.store import Store
from sovits.train.team import Team
from sovits.train.validate import Validation


@dataclass
class Training:
    """A training that can go on: what learns, from what, where it is kept, and by whom."""

    config: Config
    folder: Path
    team: Team
    trainee: Trainee
    batches: Batches
    held_out: list[Recording]
    progress: Progress
    by_step: bool
    """Whether checkpoints are numbered by step instead of epoch."""
    begun_from: str | None = None
    """File of the checkpoint that this run goes on from."""
    validation: Validation | None = None
    """What judges it, in the first process."""

    @property
    def steps_left(self) -> int:
        """Steps to the end of the last epoch."""
        trainee, epochs = self.trainee, self.config.train.epochs
        return max(0, (epochs - trainee.epoch) * len(self.batches) - trainee.position)

    @property
    def gains(self) -> bool:
        """Whether its evaluations still gain something, as the first process has it."""
        judged = self.validation is not None and self.validation.stopped is not None
        return not self.team.most(int(judged))[0]

    def say_why(self, on_log: Callable[[str], None]) -> None:
        """Say that it has come to its end by itself, if it has."""
        reason = self.validation.stopped if self.validation is not None else None
        if reason is not None:
            on_log(reason)

    def next_number(self) -> int:
        """Return the number of the checkpoint that would be written now."""
        number = self.trainee.step if self.by_step else self.trainee.epoch + 1
        if self.validation is not None and self.validation.is_best(number, self.trainee.step):
            self.by_step = True  # another one of this epoch is the best, and must stay
        return self.trainee.step if self.by_step else number

    def next_file(self) -> str:
        """Return the name of the generator's file that would be written now."""
        return f"G_{self.next_number()}.pth"

    def save(self, on_failure: Callable[[str], None] | None = None) -> Path:
        """Write a checkpoint, delete those that are too old, and return the generator's file.

        Args:
            on_failure: Told if it cannot be written, where training may go on all the same.

        Raises:
            OutputError: It cannot be written; older ones are as they were.
        """
        number, validation = self.next_number(), self.validation
        path, kept = self.folder / f"G_{number}.pth", validation.kept if validation else ()
        self.progress.random = self.team.gather(random_state(self.team.fabric.device))
        train = self.config.train

        def write() -> None:
            try:
                save_checkpoint(
                    self.folder, number, self.trainee, train.learning_rate, self.progress
                )
            except OutputError as error:
                if on_failure is None:
                    raise
                on_failure(f"{error} Training goes on, and tries again at the next checkpoint.")
                return
            prune_checkpoints(self.folder, train.keep_checkpoints, number, kept)
            if validation is not None:
                validation.saved(path, self.trainee.step)

        self.team.lead(write)
        return path


def make_trainee(config: Config, device: torch.device, *, average: bool = True) -> Trainee:
    """Return networks of random weights and their optimizers, on a device.

    Args:
        config: Their shapes.
        device: Where they are.
        average: Whether this process keeps the average of the weights, if there is to be one.
    """
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
    if train.average and average:
        trainee.average = {}
        trainee.begin_average()
    return trainee


Mend = Callable[[Sequence[Path]], None]
"""Makes features of clips again."""


@dataclass(frozen=True)
class Data:
    """What a training learns from, and what it never does."""

    heard: list[Recording]
    held_out: list[Recording]
    store: Store


def read_data(config: Config, team: Team, mend: Mend | None, on_log: Callable[[str], None]) -> Data:
    """Return the clips that the lists name, with what could not be read made again.

    Args:
        config: Which lists, and of whom.
        team: The processes that train; the first makes what is damaged again.
        mend: How to make features again; they are not if not given.
        on_log: Told one line at a time.

    Raises:
        DatasetError: Features are missing and cannot be made, or were made with other settings.
    """
    train = config.train
    lists = Path(train.training_files), Path(train.validation_files)
    clips = dict.fromkeys(clip for path in lists for clip in list_clips(path))
    for clip in clips:
        if clip.parent.name not in config.voice.speakers:
            raise DatasetError.clip_of_nobody(clip, config.voice.speakers)
    store = Store([features_of(clip) for clip in clips], team.on_this_machine)
    broken = _load(clips, config, store)
    mendable = [clip for clip in broken if clip.is_file()]
    # Where most are missing, nobody has made them yet, and that is another stage's work.
    if mend is not None and mendable and 2 * len(mendable) <= len(clips):
        first = broken[mendable[0]]
        on_log(f"Features of {len(mendable)} clips are made again, the first because: {first}")
        team.lead(lambda: mend(mendable))
        broken = _load(broken, config, store)
    for error in broken.values():
        raise error
    heard, held_out = (list_recordings(path, config) for path in lists)
    return Data(long_enough(heard, config), held_out, store)


def _load(clips: Iterable[Path], config: Config, store: Store) -> dict[Path, DatasetError]:
    """Read the features of clips, if they fit into memory; return what is wrong with which."""
    needed = (*STORED, OF_OTHERS) if config.train.others else STORED
    broken = {}
    for clip in clips:
        try:
            _, shapes = read_header(features_of(clip))
            store.load(features_of(clip), [name for name in needed if name in shapes])
        except DatasetError as error:
            broken[clip] = error
    return broken


def begin(
    config: Config,
    folder: Path,
    team: Team,
    trainee: Trainee,
    data: Data,
    base: Path | None,
    on_log: Callable[[str], None],
) -> Training:
    """Return the training of `folder`, or a new one, and say where it begins.

    Args:
        config: Its settings; a copy is kept in `folder`, and what has changed is told.
        folder: Where its checkpoints are.
        team: The processes that train.
        trainee: What learns, with random weights.
        data: What they learn from, and what they never do.
        base: What a new training begins with, if that is there and fits.
        on_log: Told one line at a time.

    Raises:
        TrainingError: No checkpoint can be read, or none fits the configuration.
    """
    size = _batch_size(config, folder, team, trainee, data, on_log)
    batches = Batches(
        data.heard,
        replace(config, train=replace(config.train, batch_size=size)),
        store=data.store,
        rank=team.rank,
        ranks=team.size,
    )
    progress = Progress(team.rank, team.size, size)
    found = team.follow(lambda: resume(folder, trainee, on_log, progress))
    if len(steps := set(team.gather(trainee.step))) > 1:
        raise TrainingError.other_machines(trainee.step, sorted(steps))
    beside = folder / "config.json"
    if trainee.step:
        team.lead(lambda: tell_changes(beside, config, on_log))
    else:
        torch.manual_seed(config.train.seed + team.rank)
    if found is None and base is not None and fits(config, base):
        begin_from_base(trainee, base, on_log)
    elif found is None:
        on_log(f"Starting from random weights: there is no checkpoint in {folder}.")
    heard_of = {recording.speaker for recording in data.heard}
    keep_rows(trainee.generator, trainee.generator_optimizer, heard_of)
    by_step = config.train.name_by_step
    if not by_step and trainee.step and found and found.number > trainee.epoch + 1:
        by_step = True  # a smaller number would make the newest look old
        on_log("Checkpoints are named by step, as those that are there already.")
    team.lead(lambda: write_config(beside, config))
    begun_from = found.generator.name if found is not None and trainee.step else None
    validation = None
    if team.leads:
        heard, device = batches.recordings, team.fabric.device
        validation = Validation(folder, config, heard, data.held_out, device, on_log)
        validation.begin(trainee.step, begun_from)
    return Training(
        config,
        folder,
        team,
        trainee,
        batches,
        data.held_out,
        progress,
        by_step,
        begun_from,
        validation,
    )


def _batch_size(
    config: Config,
    folder: Path,
    team: Team,
    trainee: Trainee,
    data: Data,
    on_log: Callable[[str], None],
) -> int:
    """Return how many clips each process hears in a step, found if nobody says."""
    if config.train.batch_size:
        return config.train.batch_size
    before = last_batch_size(folder)
    if before:
        on_log(f"batch_size auto: {before}, as before.")
        return before
    found = find_batch_size(config, data.heard, data.store, trainee, team.on_this_machine)
    found = min(team.gather(found))
    on_log(f"batch_size auto: {found}.")
    return found
