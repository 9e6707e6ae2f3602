"""What is told of a training."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from test_resume import train
from toy_training import set_toy, toy

from sovits.errors import UsageError
from sovits.train import fit
from sovits.train.log import duration


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
    pattern += r"discriminator \d+\.\d{3}  \(\d+ s, [\d.e+-]+ steps/s, 0 s left\)"
    assert re.fullmatch(pattern, lines[-1])
    entries = [json.loads(line) for line in (model / "train.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [0, 1, 2, 4, 4]
    assert entries[0].keys() == entries[-1].keys() == {"step", "held_out_mel"}
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
    assert {"loss/mel", "loss/kl", "held_out/mel", "learning_rate"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("loss/mel")] == [1, 2, 3, 4]
    told = [json.loads(line) for line in (model / "train.jsonl").read_text().splitlines()]
    wanted = [entry["mel"] for entry in told if "mel" in entry]
    assert [event.value for event in events.Scalars("loss/mel")] == pytest.approx(wanted)


def test_tensorboard_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"needs tensorboard, .* pip install 'sovits\[train\]'"):
        fit(toy(tmp_path), tmp_path / "model", tensorboard=True, device="cpu", on_log=print)
