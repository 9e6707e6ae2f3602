"""Checkpoints survive kills, full disks and damage, and nobody's files are lost."""

from __future__ import annotations

import multiprocessing
import random
import resource
import shutil
import time
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_training import toy, toy_config

from sovits.errors import OutputError, TrainingError
from sovits.train.checkpoint import list_checkpoints, prune_checkpoints, resume, save_checkpoint
from sovits.train.loop import _trainee
from sovits.train.step import Trainee


def trainee(folder: Path) -> Trainee:
    return _trainee(toy_config(folder), torch.device("cpu"))


def mark(subject: Trainee, step: int) -> None:
    """Make every weight tell the step, so that files of two saves cannot be mixed unnoticed."""
    subject.step = step
    with torch.no_grad():
        for network in (subject.generator, subject.discriminator):
            for weight in network.parameters():
                weight.fill_(step)


def save(folder: Path, subject: Trainee, step: int, number: int | None = None) -> None:
    mark(subject, step)
    save_checkpoint(folder, step if number is None else number, subject, 1e-4)


def resumed(folder: Path) -> tuple[Trainee, list[str]]:
    """Return what a new process would go on with, once it is known to be of one save."""
    subject, told = trainee(folder), list[str]()
    resume(folder, subject, told.append)
    if subject.step:
        for network in (subject.generator, subject.discriminator):
            assert {float(w.detach().min()) for w in network.parameters()} == {subject.step}
    return subject, told


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def save_for_ever(folder: Path, number: int | None) -> None:
    subject = trainee(folder)
    for step in range(1, 10_000):
        save(folder, subject, step, number)
        if number is None:
            prune_checkpoints(folder, 2, step)


@pytest.mark.parametrize("number", [None, 1])  # 1: one pair, written again and again
def test_a_kill_in_the_middle_of_a_save_costs_that_save_at_most(
    tmp_path: Path, number: int | None
) -> None:
    chance = random.Random(0)
    begun = 0
    for attempt in range(8):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking, on later Pythons
            process = multiprocessing.get_context("fork").Process(
                target=save_for_ever, args=(folder, number)
            )
            process.start()
        while not list_checkpoints(folder):
            time.sleep(0.001)
        time.sleep(chance.random() * 0.15)
        process.kill()
        process.join()
        begun += any(name.endswith(".part") for name in names(folder))
        newest = max(c.number for c in list_checkpoints(folder))
        subject, told = resumed(folder)
        assert subject.step == (newest if number is None else subject.step) > 0
        assert told == [f"Going on from G_{newest}.pth: step {subject.step}."]
        assert not [name for name in names(folder) if not name.endswith(".pth")]
    assert begun, "no kill fell into a save"


def test_a_kill_between_the_two_files_of_a_pair_is_made_good(tmp_path: Path) -> None:
    subject = trainee(tmp_path)
    save(tmp_path, subject, 1, number=1)
    (tmp_path / "later").mkdir()
    save(tmp_path / "later", subject, 2, number=1)
    (tmp_path / "later/D_1.pth").replace(tmp_path / "D_1.pth")
    shutil.copy(tmp_path / "later/G_1.pth", tmp_path / ".G_1.pth.part")
    assert resumed(tmp_path)[0].step == 2
    assert names(tmp_path) == ["D_1.pth", "G_1.pth", "later"]


def test_a_kill_between_deleting_the_two_of_a_pair_leaves_nothing(tmp_path: Path) -> None:
    subject = trainee(tmp_path)
    for step in (1, 2):
        save(tmp_path, subject, step)
    (tmp_path / "G_1.pth").unlink()
    torch.save({"model": {}}, tmp_path / "D_0.pth")  # somebody else's
    assert resumed(tmp_path)[0].step == 2
    assert names(tmp_path) == ["D_0.pth", "D_2.pth", "G_2.pth"]


def flip_a_byte(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:  # of a tensor: between them there is padding
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
        held = archive.read(largest)
    content = bytearray(path.read_bytes())
    content[content.index(held) + len(held) // 2] ^= 0xFF
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def strip(path: Path) -> None:
    torch.save({"weights": {}}, path)


@pytest.mark.parametrize("letter", ["G", "D"])
@pytest.mark.parametrize("damage", [flip_a_byte, cut_short, empty, strip])
def test_a_damaged_pair_is_set_aside_for_the_one_before(
    tmp_path: Path, letter: str, damage: Any
) -> None:
    subject = trainee(tmp_path)
    for step in (100, 200, 300):
        save(tmp_path, subject, step)
    damage(tmp_path / f"{letter}_300.pth")
    subject, told = resumed(tmp_path)
    assert subject.step == 200
    assert told[0].startswith("G_300.pth or its D is damaged (")
    assert told[0].endswith("; both are set aside as *.damaged.")
    assert told[1:] == ["Going on from G_200.pth: step 200."]
    save(tmp_path, subject, 250)
    prune_checkpoints(tmp_path, 1, 250)
    assert names(tmp_path) == ["D_250.pth", "D_300.pth.damaged", "G_250.pth", "G_300.pth.damaged"]


def test_a_pair_of_two_saves_is_no_pair(tmp_path: Path) -> None:
    subject = trainee(tmp_path)
    save(tmp_path, subject, 1)
    save(tmp_path, subject, 2)
    shutil.copy(tmp_path / "D_1.pth", tmp_path / "D_2.pth")
    subject, told = resumed(tmp_path)
    assert subject.step == 1
    assert "(its G is of step 2, its D of step 1)" in told[0]


@pytest.mark.parametrize("base", [False, True])
def test_training_does_not_begin_anew_where_its_last_checkpoint_is_damaged(
    tmp_path: Path, base: bool
) -> None:
    subject = trainee(tmp_path)
    if base:
        save(tmp_path, subject, 7, number=0)
    save(tmp_path, subject, 100)
    cut_short(tmp_path / "G_100.pth")
    before = names(tmp_path)
    for _ in range(2):
        with pytest.raises(TrainingError, match=r"No checkpoint .* newest is G_100\.pth \("):
            resumed(tmp_path)
    assert names(tmp_path) == before


def base_of(folder: Path, **changes: Any) -> None:
    """Write what other programs publish: weights, and nothing to resume from."""
    subject = trainee(folder)
    mark(subject, 5)
    for letter, network in (("G", subject.generator), ("D", subject.discriminator)):
        model = {**network.state_dict(), **changes.get(letter, {})}
        content = {"model": model, "iteration": 3, "optimizer": None, "learning_rate": 1e-4}
        torch.save(content, folder / f"{letter}_{changes.get('number', 0)}.pth")


def test_a_base_of_other_shapes_is_used_as_far_as_it_fits_and_that_is_told(tmp_path: Path) -> None:
    base_of(tmp_path, G={"pre.weight": torch.ones(8, 256, 5), "extra": torch.ones(2)})
    subject, told = resumed(tmp_path)
    assert (subject.step, subject.epoch) == (0, 0)
    state = subject.generator.state_dict()
    assert set(state["pre.bias"].tolist()) == {5.0}
    assert set(state["pre.weight"].flatten().tolist()) != {5.0}
    count = len(state)
    assert told[0] == (
        f"Starting from G_0.pth: {count - 1} of {count} tensors used; new: pre.weight; "
        "not used: extra, pre.weight."
    )
    count = len(subject.discriminator.state_dict())
    assert told[1:] == [f"Starting from D_0.pth: {count} of {count} tensors used."]


def test_a_base_of_another_kind_is_refused(tmp_path: Path) -> None:
    base_of(tmp_path)
    torch.save({"model": {"enc_p.emb_phone.weight": torch.ones(2)}}, tmp_path / "G_0.pth")
    with pytest.raises(TrainingError, match=r"G_0\.pth has no tensor that fits"):
        resumed(tmp_path)


def test_number_0_is_a_base_whoever_wrote_it(tmp_path: Path) -> None:
    save(tmp_path, trainee(tmp_path), 300, number=400)
    for letter in "GD":
        (tmp_path / f"{letter}_400.pth").rename(tmp_path / f"{letter}_0.pth")
    subject, told = resumed(tmp_path)
    assert subject.step == 0
    assert told[0].startswith("Starting from G_0.pth: ")


def test_a_base_with_a_large_number_neither_hides_nor_costs_what_was_trained(
    tmp_path: Path,
) -> None:
    base_of(tmp_path, number=320_000)
    base_of(tmp_path, number=2)
    assert resumed(tmp_path)[1][0].startswith("Starting from G_320000.pth: ")
    subject = trainee(tmp_path)
    for step in (3, 4, 5):
        save(tmp_path, subject, step)
        prune_checkpoints(tmp_path, 2, step)
    assert [c.number for c in list_checkpoints(tmp_path)] == [2, 4, 5, 320_000]
    assert resumed(tmp_path)[0].step == 5


def test_a_generator_without_a_discriminator_is_named(tmp_path: Path) -> None:
    base_of(tmp_path)
    (tmp_path / "D_0.pth").unlink()
    assert resumed(tmp_path)[1] == ["G_0.pth is not used: there is no D_0.pth beside it."]


@pytest.mark.parametrize(("keep", "left"), [(0, [1, 2, 3, 4]), (1, [4]), (3, [2, 3, 4])])
def test_the_newest_checkpoints_are_kept(tmp_path: Path, keep: int, left: list[int]) -> None:
    subject = trainee(tmp_path)
    save(tmp_path, subject, 9, number=0)
    for step in (1, 2, 3, 4):
        save(tmp_path, subject, step)
        prune_checkpoints(tmp_path, keep, step)
    assert [c.number for c in list_checkpoints(tmp_path)] == [0, *left]
    assert len(names(tmp_path)) == 2 * len(left) + 2


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Have the system refuse larger files, as it does on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("number", [1, 2])
def test_a_save_that_does_not_fit_leaves_what_was_there(tmp_path: Path, number: int) -> None:
    subject = trainee(tmp_path)
    save(tmp_path, subject, 1)
    smaller = min(path.stat().st_size for path in tmp_path.iterdir())
    for limit in (10_000, smaller + 4096):  # nothing fits, and D fits but G does not
        with files_of_at_most(limit), pytest.raises(OutputError, match=r"\.pth cannot be written"):
            save(tmp_path, subject, 2, number)
        assert names(tmp_path) == ["D_1.pth", "G_1.pth"]
        assert resumed(tmp_path)[0].step == 1


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    subject = trainee(tmp_path)
    save(tmp_path, subject, 1)
    (tmp_path / ".D_2.pth.part").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"D_2\.pth cannot be written: its disk is full \("):
        save(tmp_path, subject, 2)
    assert names(tmp_path) == ["D_1.pth", "G_1.pth"]


def test_weights_that_are_no_numbers_never_reach_a_file(tmp_path: Path) -> None:
    subject = trainee(tmp_path)
    save(tmp_path, subject, 1)
    mark(subject, 2)
    with torch.no_grad():
        next(subject.discriminator.parameters()).view(-1)[0] = torch.inf
    with pytest.raises(TrainingError, match="diverged at step 2: weights are NaN or infinite"):
        save_checkpoint(tmp_path, 1, subject, 1e-4)
    assert resumed(tmp_path)[0].step == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    from sovits.train import fit

    config = toy(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file/model cannot be written"):
        fit(config, tmp_path / "file/model", device="cpu", on_log=print)
