"""What is told of a training."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from test_resume import train
from toy_training import set_toy, toy

from sovits.errors import UsageError
from sovits.evaluate.pictures import BANDS
from sovits.train import fit
from sovits.train import log as logs
from sovits.train.log import Progress, duration, memory, read_terms


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.2, "0 s"),
        (59.6, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (3661, "1 h 01 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_lines_tell_terms_speed_and_time_left(tmp_path: Path) -> None:
    config, model = toy(tmp_path, log_interval=2), tmp_path / "model"
    lines = [line for line in train(config, model, 4) if "epoch" in line]
    assert [line.split("  ")[0] for line in lines] == ["step 1", "step 2", "step 4"]
    pattern = r"step 4  epoch 2  mel \d+\.\d{3}  kl .*  f0 .*  features .*  adversarial .*  "
    pattern += r"discriminator \d+\.\d{3}  \(\d+ s, [\d.e+-]+ steps/s, 0 s left, [\d.]+ [MG]B\)"
    assert re.fullmatch(pattern, lines[-1])
    entries = [json.loads(line) for line in (model / "train.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [0, 1, 2, 4, 4]
    assert entries[0].keys() == entries[-1].keys() > {"step", "held_out_mel", "voicing_f1"}
    assert {"step", "epoch", "mel", "kl", "f0", "discriminator"} <= entries[1].keys()


def test_lines_tell_the_mean_of_the_steps_since_the_last(tmp_path: Path) -> None:
    config = toy(tmp_path, log_interval=1, adversarial_from=3)
    train(config, tmp_path / "each", 6)
    train(set_toy(tmp_path, log_interval=3, adversarial_from=3), tmp_path / "some", 6)
    each, some = (
        {
            entry["step"]: entry
            for entry in map(json.loads, (tmp_path / name / "train.jsonl").read_text().splitlines())
            if "mel" in entry
        }
        for name in ("each", "some")
    )
    assert list(some) == [1, 3, 6]
    for name in ("mel", "kl", "f0"):
        mean = (each[4][name] + each[5][name] + each[6][name]) / 3
        assert some[6][name] == pytest.approx(mean, abs=2e-4)
    assert "features" not in some[3]
    assert "features" in some[6]


def test_tensorboard_can_read_the_curves(tmp_path: Path) -> None:
    config, model = toy(tmp_path, name_by_step=True), tmp_path / "model"
    train(config, model, 2, tensorboard=True)
    train(config, model, 4, tensorboard=True)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(model)).Reload()
    tags = events.Tags()
    assert {"loss/mel", "loss/kl", "learning_rate"} <= set(tags["scalars"])
    assert {"evaluation/held_out_mel", "evaluation/similarity"} <= set(tags["scalars"])
    assert set(tags["audio"]) == set(tags["images"]) == {"copy-1", "copy-2"}
    (*_, sound), (*_, picture) = events.Audio("copy-1"), events.Images("copy-1")
    assert (sound.step, sound.sample_rate, picture.step) == (4, 8000, 4)
    assert picture.height == BANDS
    assert [event.step for event in events.Scalars("loss/mel")] == [1, 2, 3, 4]
    told = [json.loads(line) for line in (model / "train.jsonl").read_text().splitlines()]
    wanted = [entry["mel"] for entry in told if "mel" in entry]
    assert [event.value for event in events.Scalars("loss/mel")] == pytest.approx(wanted)
    wanted = [entry["held_out_mel"] for entry in told if "held_out_mel" in entry]
    found = [event.value for event in events.Scalars("evaluation/held_out_mel")]
    assert found == pytest.approx(wanted, abs=1e-5)


def test_whoever_wants_to_know_how_far_it_is_gets_no_lines_of_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MOVES_PER_SECOND", 1e9)
    seen: list[Progress] = []
    config = toy(tmp_path, log_interval=2)
    told = train(config, tmp_path / "model", 6, on_progress=seen.append)
    assert not any("epoch 1  mel" in line for line in told)
    assert any("held-out log-mel distance" in line for line in told)
    assert {one.step for one in seen} == {1, 2, 3, 4, 5, 6}
    assert [one.step for one in seen] == sorted(one.step for one in seen)
    last = seen[-1]
    assert (last.last, last.left) == (6, 0.0)
    assert {"mel", "kl", "discriminator"} <= last.terms.keys()
    assert last.speed > 0
    assert re.fullmatch(r"[\d.]+ [MG]B", last.memory)


def test_memory_is_told_where_the_system_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    now = memory(cpu)
    monkeypatch.setattr(Path, "read_text", lambda *_: "")  # elsewhere there is no such file
    assert re.fullmatch(r"[\d.]+ [MG]B", memory(cpu))
    monkeypatch.setitem(sys.modules, "resource", None)
    assert (memory(cpu), now != "") == ("", True)


def test_terms_of_steps_that_were_done_again_are_read_once(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    assert read_terms(path) == {}
    lines = [
        {"step": 1, "epoch": 1, "mel": 9.0},
        {"step": 2, "epoch": 1, "mel": 8.0},
        {"step": 3, "epoch": 1, "mel": 7.0},
        {"step": 3, "held_out_mel": 1.0},
        {"step": 2, "epoch": 1, "mel": 6.0},
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 4, "me')
    assert read_terms(path) == {1: {"mel": 9.0}, 2: {"mel": 6.0}}


def test_tensorboard_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"needs tensorboard, .* pip install 'sovits\[train\]'"):
        fit(toy(tmp_path), tmp_path / "model", tensorboard=True, device="cpu", on_log=print)
