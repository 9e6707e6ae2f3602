"""Checkpoints that other tools read and that training resumes from exactly."""

from __future__ import annotations

import errno
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sovits.errors import OutputError, TrainingError
from sovits.train.speakers import fit_rows
from sovits.train.step import Trainee

PATTERN = re.compile(r"G_(\d+)\.pth")
BASE = 0
"""Number of a pair whose weights alone are taken: what a training begins with."""

OnLog = Callable[[str], None]
Random = dict[str, Tensor]
"""State of the generators of random numbers of one process."""


@dataclass
class Progress:
    """What a checkpoint tells of the processes that wrote it."""

    rank: int = 0
    """Which process this is."""
    ranks: int = 1
    """How many there are."""
    batch_size: int = 0
    """Clips that each hears in a step; 0 if that does not matter."""
    random: list[Random] = field(default_factory=list)
    """Random numbers of each process; of this one alone if empty."""


@dataclass(frozen=True)
class Checkpoint:
    """A generator's file and its discriminator's, with the number in their names."""

    number: int
    generator: Path
    discriminator: Path


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """Return complete pairs in `folder`, oldest first."""
    found = []
    for path in folder.glob("G_*.pth"):
        match = PATTERN.fullmatch(path.name)
        judge = path.with_name("D" + path.name[1:])
        if match and judge.is_file():
            found.append(Checkpoint(int(match[1]), path, judge))
    return sorted(found, key=lambda checkpoint: checkpoint.number)


def save_checkpoint(
    folder: Path,
    number: int,
    trainee: Trainee,
    learning_rate: float,
    written_by: Progress | None = None,
) -> None:
    """Write `D_number.pth` and `G_number.pth`, both or neither.

    Besides the keys that the originals write, `progress` holds what an exact resumption needs.

    Raises:
        OutputError: They cannot be written. What was there before is as it was.
        TrainingError: Weights are not finite.
    """
    own = written_by or Progress()
    first, *others = own.random or [random_state(_device(trainee))]
    progress = {
        "step": trainee.step,
        "epoch": trainee.epoch,
        "position": trainee.position,
        **first,
        "others": others,
        "batch_size": own.batch_size,
    }
    parts: list[tuple[Path, Path]] = []
    try:
        for letter, network, optimizer in (
            ("D", trainee.discriminator, trainee.discriminator_optimizer),
            ("G", trainee.generator, trainee.generator_optimizer),
        ):
            state = network.state_dict()
            if not all(bool(tensor.isfinite().all()) for tensor in state.values()):
                raise TrainingError.weights_not_finite(trainee.step)
            path = folder / f"{letter}_{number}.pth"
            parts.append((_part(path), path))
            content = {
                "model": state,
                "iteration": trainee.epoch + 1,
                "optimizer": optimizer.state_dict(),
                "learning_rate": learning_rate,
                "progress": progress,
            }
            if letter == "G" and trainee.average is not None:
                content["average"] = trainee.average
            _write(_part(path), path, content)
        # Only now that both are whole. A kill between the two is made good by `_finish_saving`.
        for part, path in parts:
            part.replace(path)
    finally:
        for part, _ in parts:
            part.unlink(missing_ok=True)


def random_state(device: torch.device) -> Random:
    """Return where this process is in its random numbers, on the CPU and on its device."""
    state = {"rng": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda_rng"] = torch.cuda.get_rng_state(device)
    return state


def _device(trainee: Trainee) -> torch.device:
    return next(trainee.generator.parameters()).device


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _write(part: Path, path: Path, content: dict[str, Any]) -> None:
    try:
        with part.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:  # torch hides a full disk behind a RuntimeError
        free = shutil.disk_usage(path.parent).free
        size = part.stat().st_size if part.exists() else 0
        if getattr(error, "errno", None) == errno.ENOSPC or free < max(size, 1 << 20):
            raise OutputError.disk_full(path, free) from error
        raise OutputError.cannot_write(path, _reason(error)) from error


def prune_checkpoints(
    folder: Path, keep: int, newest: int, kept: Collection[int] = frozenset()
) -> None:
    """Delete all but `keep` pairs up to number `newest`, and those in `kept`; 0 keeps all.

    Pairs that this program did not write, such as published bases, stay.
    """
    if keep:
        own = [c for c in list_checkpoints(folder) if BASE < c.number <= newest]
        for old in own[:-keep]:
            if old.number not in kept and _step(old.generator) is not None:
                old.generator.unlink()
                old.discriminator.unlink()


def resume(
    folder: Path, trainee: Trainee, on_log: OnLog, process: Progress | None = None
) -> Checkpoint | None:
    """Go on from the newest sound checkpoint in `folder`, and return it if there is one.

    A pair without `progress`, such as a published base, or of number 0 gives its weights only, and
    only if there is no other; then `trainee.step` stays 0.

    Raises:
        TrainingError: There are checkpoints, but none can be read, or none fits the configuration.
    """
    _finish_saving(folder)
    checkpoints = list_checkpoints(folder)
    _tell_of_halves(folder, checkpoints, on_log)
    damaged: list[tuple[Checkpoint, str]] = []
    bases: list[Checkpoint] = []
    found = None
    for checkpoint in reversed(checkpoints):
        try:
            generator, discriminator = _read(checkpoint.generator), _read(checkpoint.discriminator)
        except Exception as error:  # torch raises many kinds for damaged files
            damaged.append((checkpoint, _reason(error)))
            continue
        steps = [state.get("progress", {}).get("step") for state in (generator, discriminator)]
        if checkpoint.number == BASE or steps[0] is None:
            bases.append(checkpoint)
        elif steps[0] != steps[1]:
            damaged.append((checkpoint, f"its G is of step {steps[0]}, its D of step {steps[1]}"))
        else:
            rows = fit_rows(generator, trainee.generator)
            _restore(checkpoint, generator, discriminator, trainee)
            if rows:
                on_log(rows)
            _go_on(trainee, generator["progress"], process or Progress(), on_log)
            found = checkpoint
            break
    if found is None and damaged:  # a base in its place would lose a training
        raise TrainingError.no_sound_checkpoint(folder, damaged[0][0].generator, damaged[0][1])
    if found is None and bases:
        found = bases[0]
        _begin_from(found, trainee, on_log)
    for checkpoint, reason in damaged:
        _set_aside(checkpoint)
        on_log(
            f"{checkpoint.generator.name} or its D is damaged ({reason}); both are set aside as "
            "*.damaged."
        )
    if found is not None and trainee.step:
        on_log(f"Going on from {found.generator.name}: step {trainee.step}.")
    return found


def _finish_saving(folder: Path) -> None:
    """Finish a save that was cut off when both files were written; remove what kills have left."""
    for part in folder.glob(".G_*.pth.part"):
        path = part.with_name(part.name[1:].removesuffix(".part"))
        step = _step(part)
        if step is not None and step == _step(path.with_name("D" + path.name[1:])):
            part.replace(path)
    for part in [*folder.glob(".G_*.pth.part"), *folder.glob(".D_*.pth.part")]:
        part.unlink(missing_ok=True)
    # Of an older pair whose deletion was cut off.
    newest = max((checkpoint.number for checkpoint in list_checkpoints(folder)), default=BASE)
    for path in folder.glob("D_*.pth"):
        beside = path.with_name("G" + path.name[1:])
        match = PATTERN.fullmatch(beside.name)
        if match and int(match[1]) < newest and not beside.exists() and _step(path) is not None:
            path.unlink()


def _tell_of_halves(folder: Path, whole: list[Checkpoint], on_log: OnLog) -> None:
    """Name generators that are left out because they have no discriminator."""
    known = {checkpoint.generator for checkpoint in whole}
    for path in sorted(folder.glob("G_*.pth")):
        if PATTERN.fullmatch(path.name) and path not in known:
            on_log(f"{path.name} is not used: there is no D{path.name[1:]} beside it.")


def _set_aside(checkpoint: Checkpoint) -> None:
    """Rename a pair, so that neither this nor another command takes it for a voice."""
    for path in (checkpoint.generator, checkpoint.discriminator):
        path.replace(path.with_name(f"{path.name}.damaged"))


def last_batch_size(folder: Path) -> int | None:
    """Return how many clips each process heard in a step when `folder` was written to last."""
    for checkpoint in reversed(list_checkpoints(folder)):
        progress = _progress(checkpoint.generator)
        if progress is not None:
            size: int | None = progress.get("batch_size")
            return size or None
    return None


def _step(path: Path) -> int | None:
    """Return the step at which this program wrote `path`; None if it did not, or not to the end."""
    step: int | None = (_progress(path) or {}).get("step")
    return step


def _progress(path: Path) -> dict[str, Any] | None:
    """Return what a file tells of the training that wrote it; None if it cannot be read."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return dict(content["progress"])
    except Exception:  # torch raises many kinds for damaged files
        return None


def _read(path: Path) -> dict[str, Any]:
    """Return a file's content; raises something if it is not what was once written."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if (bad := archive.testzip()) is not None:  # torch does not compare checksums
                raise ValueError(f"the checksum of {bad} is wrong")
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise ValueError("it holds no model")
    if not isinstance(content.get("average", {}), dict):
        raise ValueError("its average is no model")
    return content


def _restore(
    checkpoint: Checkpoint,
    generator: dict[str, Any],
    discriminator: dict[str, Any],
    trainee: Trainee,
) -> None:
    """Put everything back as it was when the checkpoint was written."""
    for network, optimizer, state in (
        (trainee.generator, trainee.generator_optimizer, generator),
        (trainee.discriminator, trainee.discriminator_optimizer, discriminator),
    ):
        chosen = [dict(group) for group in optimizer.param_groups]
        try:
            if network is trainee.generator and trainee.average is not None and "average" in state:
                network.load_state_dict(state["average"])
                trainee.begin_average()
            network.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise TrainingError.other_network(checkpoint.generator, _reason(error)) from error
        # Rates and decays are those of the configuration, not those it had when this was written.
        for group, settings in zip(optimizer.param_groups, chosen, strict=True):
            group |= {name: value for name, value in settings.items() if name != "params"}
    if "average" not in generator:
        trainee.begin_average()


def _go_on(trainee: Trainee, progress: dict[str, Any], now: Progress, on_log: OnLog) -> None:
    """Take the place in the data and in the random numbers from a checkpoint.

    Where the processes or their batches are others now, the clips that were heard are counted, so
    that none is left out.
    """
    trainee.step, trainee.epoch = progress["step"], progress["epoch"]
    trainee.position = progress["position"]
    states: list[Random] = [progress, *progress.get("others", [])]
    size = progress.get("batch_size") or now.batch_size
    if (before := size * len(states)) != now.batch_size * now.ranks:
        trainee.position = trainee.position * before // (now.batch_size * now.ranks)
    if len(states) != now.ranks:
        on_log(
            f"Going on with {_counted(now.ranks, 'process')} of {_counted(now.batch_size, 'clip')} "
            f"each; it was {_counted(len(states), 'process')} of {_counted(size, 'clip')}."
        )
    if now.rank >= len(states):
        torch.manual_seed(trainee.step * now.ranks + now.rank)
        return
    torch.set_rng_state(states[now.rank]["rng"])
    if (device := _device(trainee)).type == "cuda" and "cuda_rng" in states[now.rank]:
        torch.cuda.set_rng_state(states[now.rank]["cuda_rng"], device)


def _counted(count: int, name: str) -> str:
    return f"{count} {name}" + ("" if count == 1 else "es" if name.endswith("s") else "s")


def _begin_from(base: Checkpoint, trainee: Trainee, on_log: OnLog) -> None:
    """Take the weights of a base, as far as they fit, and say how far that is."""
    for path, network in (
        (base.generator, trainee.generator),
        (base.discriminator, trainee.discriminator),
    ):
        content = _read(path)
        if rows := fit_rows(content, network):
            on_log(rows)
        state = content.get("average", content["model"])
        on_log(f"Starting from {path.name}: {load_matching(network, state, path)}.")
    trainee.begin_average()


def load_matching(network: nn.Module, state: dict[str, Tensor], path: Path) -> str:
    """Copy tensors of equal name and shape into `network`; returns what was and was not used.

    Raises:
        TrainingError: No tensor fits.
    """
    own = network.state_dict()
    used = {
        name: tensor
        for name, tensor in state.items()
        if name in own and own[name].shape == tensor.shape
    }
    if not used:
        raise TrainingError.base_fits_nowhere(path, sorted(state))
    network.load_state_dict(used, strict=False)
    kept = sorted(set(own) - set(used))
    unused = sorted(set(state) - set(used))
    told = f"{len(used)} of {len(own)} tensors used"
    if kept:
        told += f"; new: {', '.join(kept[:5])}" + (" ..." if len(kept) > 5 else "")
    if unused:
        told += f"; not used: {', '.join(unused[:5])}" + (" ..." if len(unused) > 5 else "")
    return told


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    # The first line of torch's own messages often says only whose they are.
    line = lines[1].strip() if len(lines) > 1 and lines[0].endswith(":") else "".join(lines[:1])
    return line[:200] or type(error).__name__
