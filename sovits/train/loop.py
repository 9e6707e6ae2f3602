"""The training loop: everything that happens between a folder of features and a voice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader

from sovits.config import Config
from sovits.errors import TrainingError
from sovits.legacy.settings import config_to_json, read_config
from sovits.models.discriminator import Discriminator
from sovits.models.synthesizer import Synthesizer
from sovits.train.checkpoint import (
    list_checkpoints,
    prune_checkpoints,
    resume,
    save_checkpoint,
)
from sovits.train.dataset import Batches, Crops, list_recordings
from sovits.train.step import Objective, Trainee, train_step
from sovits.train.validate import held_out_distance


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
    on_log: Callable[[str], None],
) -> Outcome:
    """Train the voice that `config_path` describes, from where `model_dir` left off.

    Args:
        config_path: `config.json`; a copy is kept beside the checkpoints.
        model_dir: Holds checkpoints and logs. An interrupted training goes on from the newest.
        reset_optimizer: Begin with fresh optimizers.
        max_steps: Stop, and save, when this many steps are done in all.
        max_seconds: Stop, and save, after this much time.
        device: Such as `cpu` or `cuda:0`; the best there is if not given.
        on_log: Told one line at a time.

    Raises:
        ConfigError: The configuration is wrong.
        DatasetError: Features are missing or were made with other settings.
        TrainingError: A term of the loss is not finite, or no checkpoint can be read.
    """
    config, remarks = read_config(config_path)
    for remark in remarks:
        on_log(remark)
    model_dir.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.train.seed)
    fabric = Fabric(
        accelerator=_accelerator(device),
        devices=[int(device.partition(":")[2])] if device and ":" in device else 1,
        # Not Fabric's mixed precision, which would round the pitch in each batch as well.
        precision="32-true",
    )
    if config.train.precision == "fp16":
        on_log("fp16_run: training in bfloat16, which is as fast and cannot overflow.")
    voice = config.voice
    batches = Batches(list_recordings(Path(config.train.training_files), config), config)
    held_out = list_recordings(Path(config.train.validation_files), config)
    trainee = _trainee(config)
    found = resume(model_dir, trainee, on_log)
    if reset_optimizer and found:
        trainee.generator_optimizer.state.clear()
        trainee.discriminator_optimizer.state.clear()
        on_log("The optimizers start afresh.")
    if not found:
        on_log("Starting from random weights: there is no checkpoint in " + str(model_dir))
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
    _write_json(model_dir / "config.json", config_to_json(config))
    log = _Log(model_dir, on_log)
    begun = time.monotonic()

    def save() -> Path:
        number = trainee.step if config.train.name_by_step else trainee.epoch + 1
        save_checkpoint(model_dir, number, trainee, config.train.learning_rate)
        prune_checkpoints(model_dir, config.train.keep_checkpoints)
        return model_dir / f"G_{number}.pth"

    if max_steps is not None and trainee.step >= max_steps:
        on_log(f"Nothing to do: {trainee.step} of {max_steps} steps are done.")
        return Outcome(trainee.step, 0.0, list_checkpoints(model_dir)[-1].generator)
    try:
        for crops, last_of_group in _steps(trainee, batches, config, fabric):
            terms = train_step(fabric, trainee, objective, crops, arithmetic, update=last_of_group)
            trainee.step += 1
            trainee.position += 1
            if trainee.step % config.train.log_interval == 0:
                log.terms(trainee, terms, time.monotonic() - begun)
            spent = max_seconds is not None and time.monotonic() - begun >= max_seconds
            if trainee.step == max_steps or spent:
                break
            if trainee.step % config.train.eval_interval == 0:
                with torch.random.fork_rng():
                    log.held_out(trainee, held_out_distance(synthesizer, held_out, voice))
                save()
    except KeyboardInterrupt:
        path = save()
        on_log(f"Interrupted; step {trainee.step} is saved in {path}.")
        raise
    with torch.random.fork_rng():
        log.held_out(trainee, held_out_distance(synthesizer, held_out, voice))
    path = save()
    on_log(f"Step {trainee.step} is saved in {path}.")
    return Outcome(trainee.step, time.monotonic() - begun, path)


def _trainee(config: Config) -> Trainee:
    generator = Synthesizer(config.voice.synthesizer, config.voice.audio)
    discriminator = Discriminator(config.discriminator)
    train = config.train

    def optimizer(network: torch.nn.Module) -> torch.optim.AdamW:
        return torch.optim.AdamW(
            network.parameters(),
            lr=train.learning_rate,
            betas=train.betas,
            eps=train.eps,
            fused=True,
        )

    return Trainee(generator, discriminator, optimizer(generator), optimizer(discriminator))


def _steps(
    trainee: Trainee, batches: Batches, config: Config, fabric: Fabric
) -> Iterator[tuple[Crops, bool]]:
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
            # A generator of its own: the loader must not draw from the one that is resumed.
            generator=torch.Generator(),
        )
        for crops in loader:
            group_done = (trainee.step + 1) % train.accumulate == 0
            yield fabric.to_device(crops), group_done
        trainee.epoch, trainee.position = trainee.epoch + 1, 0


class _Log:
    """Lines for people, `train.jsonl` for programs, and TensorBoard if it is installed."""

    def __init__(self, folder: Path, on_log: Callable[[str], None]) -> None:
        self.path, self.on_log = folder / "train.jsonl", on_log

    def terms(self, trainee: Trainee, terms: dict[str, Tensor], seconds: float) -> None:
        """Tell the terms of one step."""
        values = {name: round(term.item(), 4) for name, term in terms.items()}
        told = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
        self.on_log(f"step {trainee.step}  epoch {trainee.epoch + 1}  {told}  ({seconds:.0f} s)")
        self._write({"step": trainee.step, "epoch": trainee.epoch + 1, **values})

    def held_out(self, trainee: Trainee, distance: float) -> None:
        """Tell how far held-out clips are from what the voice makes of them."""
        self.on_log(f"step {trainee.step}  held-out log-mel distance {distance:.4f}")
        self._write({"step": trainee.step, "held_out_mel": round(distance, 5)})

    def _write(self, entry: dict[str, float]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def _accelerator(device: str | None) -> str:
    if device is None:
        return "auto"
    kind = device.partition(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        raise TrainingError.unknown_device(device)
    return kind


def _write_json(path: Path, table: object) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n", "utf-8")
    part.replace(path)
