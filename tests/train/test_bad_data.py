"""Damaged features are made again, few clips are enough, and a short memory is named."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_batches import equal, recordings
from test_checkpoints import files_of_at_most
from test_resume import contents, same, train
from toy_training import light_config, make_features, set_toy, toy, toy_config, toy_dataset

from sovits.cli import main
from sovits.errors import DatasetError, OutputError, TrainingError
from sovits.train import fit
from sovits.train.batch_size import MOST_ON_CPU, find_batch_size, named_if_short
from sovits.train.checkpoint import list_checkpoints
from sovits.train.dataset import STORED, Batches, features_of
from sovits.train.setup import make_trainee
from sovits.train.store import Store


def spoil(path: Path, name: str, value: float) -> None:
    """Put a value into features, as a program that went wrong would."""
    with_header = load_file(path)
    with_header[name].view(-1)[3] = value
    settings = {"content": "toy", "sample_rate": "8000", "hop_length": "64"}
    save_file(with_header, path, settings)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def remake(folder: Path, asked: list[Path]) -> Callable[[Sequence[Path]], None]:
    """Return what makes the features of a toy's clips again as they were."""

    def mend(clips: Sequence[Path]) -> None:
        asked.extend(clips)
        other = folder / "other"
        toy_dataset(other)
        for clip in clips:
            made = features_of(other / clip.parent.name / clip.name)
            features_of(clip).write_bytes(made.read_bytes())

    return mend


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut, "1.wav.features.safetensors is damaged ("),
        (Path.unlink, "There is no features file"),
        (lambda path: spoil(path, "f0", float("nan")), "its f0 is not made of finite numbers"),
        (lambda path: spoil(path, "content", float("inf")), "its content is not made of finite"),
        (lambda path: spoil(path, "f0", 0.0), "its f0 is not above 0 everywhere"),
    ],
)
def test_damaged_features_are_made_again_and_then_as_if_never_damaged(
    tmp_path: Path, damage: Callable[[Path], None], reason: str
) -> None:
    config = toy(tmp_path, name_by_step=True)
    train(config, tmp_path / "sound", 2)
    clip = tmp_path / "bob/1.wav"
    clip.touch()
    damage(features_of(clip))
    with pytest.raises(DatasetError, match=re.escape(reason)):
        train(config, tmp_path / "never", 2)
    asked: list[Path] = []
    told = train(config, tmp_path / "mended", 2, mend=remake(tmp_path, asked))
    assert asked == [clip]
    assert told[0].startswith("Features of 1 clips are made again, the first because: ")
    assert reason in told[0]
    assert same(contents(tmp_path / "sound"), contents(tmp_path / "mended"))


def test_what_was_never_made_is_not_made_by_training(tmp_path: Path) -> None:
    config = toy(tmp_path)
    for path in tmp_path.rglob("*.features.safetensors"):
        path.unlink()
        path.with_name(path.name.removesuffix(".features.safetensors")).touch()
    with pytest.raises(DatasetError, match="Make it with svc pre-hubert"):
        train(config, tmp_path / "model", 1, mend=lambda clips: pytest.fail("asked"))


def test_clips_that_cannot_be_mended_are_named(tmp_path: Path) -> None:
    config = toy(tmp_path)
    (tmp_path / "bob/1.wav").touch()
    cut(features_of(tmp_path / "bob/1.wav"))
    with pytest.raises(DatasetError, match="is damaged"):
        train(config, tmp_path / "model", 1, mend=lambda clips: None)


@pytest.mark.parametrize("room", [0, 1 << 40])
def test_crops_are_the_same_from_memory_and_from_files(
    tmp_path: Path, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy(tmp_path)
    monkeypatch.setattr("sovits.train.store.free_memory", lambda: room)
    clips = recordings(tmp_path)
    store = Store([clip.path for clip in clips])
    assert store.resident == bool(room)
    for clip in clips:
        store.load(clip.path, STORED)
    read, kept = Batches(clips, toy_config(tmp_path)), None
    kept = Batches(clips, toy_config(tmp_path), store=store)
    assert all(map(equal, [read[i] for i in range(3)], [kept[i] for i in range(3)]))


def test_what_is_kept_in_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy(tmp_path)
    paths = [clip.path for clip in recordings(tmp_path)]
    size = sum(path.stat().st_size for path in paths)
    for free, processes, resident in (
        (4 * size, 1, True),
        (4 * size - 1, 1, False),
        (4 * size, 2, False),
        (None, 1, False),
    ):
        monkeypatch.setattr("sovits.train.store.free_memory", lambda free=free: free)
        assert Store(paths, processes).resident == resident


def test_damage_is_noticed_in_files_that_are_read_bit_by_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy(tmp_path)
    monkeypatch.setattr("sovits.train.store.free_memory", lambda: 0)
    clips = recordings(tmp_path)
    for clip in clips:
        spoil(clip.path, "f0", float("nan"))
    store = Store([clip.path for clip in clips])
    batches = Batches(clips, toy_config(tmp_path, context_frames=64), store=store)
    with pytest.raises(DatasetError, match="its f0 is not made of finite numbers"):
        _ = batches[0]


def test_one_clip_is_enough(tmp_path: Path) -> None:
    config, model = toy(tmp_path, batch_size=3, name_by_step=True), tmp_path / "model"
    (tmp_path / "train.txt").write_text(f"{tmp_path}/alice/1.wav\n")
    train(config, model, 4)
    progress = contents(model)[0]["progress"]
    assert (progress["step"], progress["epoch"]) == (4, 3)


def test_a_speaker_who_has_gone_is_named_and_leaves_a_voice_behind(tmp_path: Path) -> None:
    config, model = toy(tmp_path, name_by_step=True, learning_rate=0.0), tmp_path / "model"
    train(config, model, 1)
    table = contents(model)[0]["model"]["emb_g.weight"]
    for kept, spk in (("alice", '{"alice": 0}'), ("alice", '{"alice": 0, "zoe": 1}')):
        text = config.read_text()
        changed = re.sub(r'"spk": \{[^}]*\}', f'"spk": {spk}', text)
        other = tmp_path / "other.json"
        other.write_text(changed)
        lines = (tmp_path / "train.txt").read_text().splitlines()
        (tmp_path / "train.txt").write_text("\n".join(x for x in lines if kept in x))
        lines = (tmp_path / "val.txt").read_text().splitlines()
        (tmp_path / "val.txt").write_text("\n".join(x for x in lines if kept in x))
        told = train(other, model, contents(model)[0]["progress"]["step"] + 1)
        if "zoe" not in spk:
            assert "Speaker bob is trained no more; row 1 keeps what it has learnt." in told
        assert torch.equal(contents(model)[0]["model"]["emb_g.weight"], table)
        config.write_text(text)


def test_a_row_is_inherited_with_a_word(tmp_path: Path) -> None:
    config, model = toy(tmp_path, name_by_step=True), tmp_path / "model"
    train(config, model, 1)
    (tmp_path / "bob").rename(tmp_path / "zoe")
    for path in (config, tmp_path / "train.txt", tmp_path / "val.txt"):
        path.write_text(path.read_text().replace("bob", "zoe"))
    told = train(config, model, 2)
    assert (
        "Speaker bob is trained no more; row 1 keeps what it has learnt. zoe begins with it."
    ) in told


@pytest.mark.parametrize("rows", [2, 7])
def test_the_table_of_speakers_may_grow_and_shrink(tmp_path: Path, rows: int) -> None:
    model = tmp_path / "model"
    config = toy(tmp_path, name_by_step=True, learning_rate=0.0, average=0.5)
    train(config, model, 2)
    before = contents(model)[0]
    text = config.read_text()
    assert '"n_speakers": 3' in text
    config.write_text(text.replace('"n_speakers": 3', f'"n_speakers": {rows}'))
    told = train(config, model, 3)
    assert any(f"table of speakers has {rows} rows now, and had 3" in line for line in told)
    after = contents(model)[0]
    for key in ("model", "average"):
        old, new = before[key]["emb_g.weight"], after[key]["emb_g.weight"]
        assert len(new) == rows
        both = min(3, rows)
        torch.testing.assert_close(new[:both], old[:both])
        torch.testing.assert_close(new[both:], old.mean(0).expand(rows - both, -1))
    assert after["progress"]["step"] == 3


def test_a_batch_size_is_found_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, model = toy(tmp_path, batch_size=0, name_by_step=True), tmp_path / "model"
    assert '"batch_size": "auto"' in config.read_text()
    monkeypatch.setattr("sovits.train.batch_size.MOST_ON_CPU", 4)
    assert "batch_size auto: 4." in train(config, model, 2)
    monkeypatch.setattr("sovits.train.batch_size.MOST_ON_CPU", 2)
    assert "batch_size auto: 4, as before." in train(config, model, 3)
    assert contents(model)[0]["progress"]["batch_size"] == 4
    assert '"batch_size": "auto"' in (model / "config.json").read_text()


def test_as_many_clips_as_memory_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy(tmp_path)
    clips = recordings(tmp_path)
    for config in (toy_config(tmp_path), light_config(tmp_path)):
        trainee = make_trainee(config, torch.device("cpu"))
        state = torch.get_rng_state()
        sizes = []
        for free in (0, *(round(2 ** (19 + i / 2)) for i in range(12)), 1 << 40):
            monkeypatch.setattr("sovits.train.batch_size.free_memory", lambda free=free: free)
            sizes.append(find_batch_size(config, clips * 9, Store([]), trainee))
        assert sizes == sorted(sizes)
        assert (sizes[0], sizes[-1]) == (1, MOST_ON_CPU)
        assert len(set(sizes)) > 4  # the more, the more fit
        assert torch.equal(state, torch.get_rng_state())
        assert all(weight.grad is None for weight in trainee.generator.parameters())
        monkeypatch.setattr("sovits.train.batch_size.free_memory", lambda: 1 << 40)
        assert find_batch_size(config, clips * 9, Store([]), trainee, processes=1 << 40) == 1


@pytest.mark.parametrize("size", [1, 12])
def test_a_memory_that_runs_out_names_what_to_try(size: int) -> None:
    device = torch.device("cuda:0")
    for error in (
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ):
        advice = "Set train.batch_size to 6, or to auto" if size > 1 else "Lower train.context"
        named = pytest.raises(TrainingError, match=f"Memory of cuda:0 ran out .*{advice}")
        with named, named_if_short(size, device):
            raise error
    with pytest.raises(RuntimeError, match="a bug"), named_if_short(size, device):
        raise RuntimeError("a bug")


def test_a_gpu_that_is_too_small_ends_a_training_with_the_batch_size_to_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    config = toy(tmp_path, name_by_step=True, eval_interval=1)
    train(config, model, 1)
    before = contents(model)

    def run_out(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")

    monkeypatch.setattr("sovits.train.loop.train_step", run_out)
    assert main(["train", "-c", str(config), "-m", str(model), "-d", "cpu"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "svc: Memory of cpu ran out in a step of 2 clips. Set train.batch_size to 1, or to auto, "
        "and train again: it goes on from the last checkpoint."
    )
    assert same(before, contents(model))


def test_a_disk_that_is_full_for_a_while_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, model = toy(tmp_path, name_by_step=True, eval_interval=2), tmp_path / "model"
    train(config, tmp_path / "whole", 6)
    from sovits.train import setup

    save, told = setup.save_checkpoint, list[str]()

    def fail(folder: Path, number: int, *rest: object) -> None:
        if number == 2:
            raise OutputError.disk_full(folder / "G_2.pth", 17)
        save(folder, number, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(setup, "save_checkpoint", fail)
    fit(config, model, max_steps=6, device="cpu", on_log=told.append)
    assert sum("its disk is full" in line and "Training goes on" in line for line in told) == 1
    assert [checkpoint.number for checkpoint in list_checkpoints(model)] == [4, 6]
    assert same(contents(tmp_path / "whole"), contents(model))


def test_a_disk_that_stays_full_loses_nothing_that_was_there(tmp_path: Path) -> None:
    config, model = toy(tmp_path, name_by_step=True), tmp_path / "model"
    train(config, model, 2)
    before = contents(model)
    with files_of_at_most(20_000), pytest.raises(OutputError, match="cannot be written"):
        train(config, model, 4)
    assert same(before, contents(model))
    assert not list(model.glob(".G_*"))
    train(config, model, 4)
    train(set_toy(tmp_path, name_by_step=True), tmp_path / "whole", 4)
    assert same(contents(tmp_path / "whole"), contents(model))


def test_clips_shorter_than_a_segment_are_left_out(tmp_path: Path) -> None:
    toy(tmp_path)
    make_features(tmp_path / "bob/1.wav", 5, 100)
    config = toy_config(tmp_path)
    found = Batches(recordings(tmp_path), replace(config, train=replace(config.train, seed=1)))
    assert len(found.recordings) == 5
