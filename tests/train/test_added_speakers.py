"""Speakers are added to a voice or a base, and the rows of others stay as they are to the bit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from test_base import base_for
from test_resume import contents, train
from toy_training import light, light_config, make_features, toy

from sovits.train import fit


def add(folder: Path, config: Path, name: str, spk: str, rows: int, **changes: Any) -> None:
    """Let a training hear a new speaker alone."""
    clips = [folder / name / f"{i}.wav" for i in range(3)]
    for i, clip in enumerate(clips):
        make_features(clip, 40, 170.0, seed=20 + i)
    (folder / "train.txt").write_text("".join(f"{clip}\n" for clip in clips[1:]))
    (folder / "val.txt").write_text(f"{clips[0]}\n")
    text = re.sub(r'"spk": \{[^}]*\}', f'"spk": {spk}', config.read_text())
    text = re.sub(r'"n_speakers": \d+', f'"n_speakers": {rows}', text)
    for key, value in changes.items():
        text = re.sub(rf'"{key}": [^,]*', f'"{key}": {value}', text)
    config.write_text(text)


def table(model: Path, key: str = "model") -> torch.Tensor:
    found: torch.Tensor = contents(model)[0][key]["emb_g.weight"]
    return found


@pytest.mark.parametrize("kind", [toy, light])
def test_rows_of_others_are_as_they_were_right_after_the_start_and_later(
    tmp_path: Path, kind: Any
) -> None:
    """Moments of earlier steps and decay of weights would move rows that have no gradient."""
    model = tmp_path / "model"
    config = kind(tmp_path, name_by_step=True, learning_rate=0.01, average=0.5)
    train(config, model, 3)
    before, averaged = table(model), table(model, "average")
    spk = '{"alice": 0, "bob": 1, "zoe": 3}'
    add(tmp_path, config, "zoe", spk, 4)
    told = train(config, model, 4)
    assert any("table of speakers has 4 rows now, and had 3. New ones" in line for line in told)
    after = table(model)
    assert len(after) == 4
    assert torch.equal(after[:3], before)
    assert not torch.equal(after[3], before.mean(0))  # it learns
    train(config, model, 9)
    assert torch.equal(table(model)[:3], before)
    assert not torch.equal(table(model)[3], after[3])
    moved = table(model, "average")[:3]
    assert (moved - before).abs().max() <= (averaged - before).abs().max()


def test_rows_of_those_who_are_heard_are_trained(tmp_path: Path) -> None:
    model = tmp_path / "model"
    config = toy(tmp_path, name_by_step=True, learning_rate=0.01)
    train(config, model, 1)
    first = table(model)
    train(config, model, 5)
    assert not torch.equal(table(model)[0], first[0])
    assert not torch.equal(table(model)[1], first[1])
    assert torch.equal(table(model)[2], first[2])  # nobody's


def test_a_speaker_is_added_to_a_published_base_of_others(tmp_path: Path) -> None:
    """G_0.pth has a row for each of its speakers; only the row of the new one is moved."""
    model = tmp_path / "model"
    config = toy(tmp_path, name_by_step=True, learning_rate=0.01)
    train(config, model, 2)
    for letter in "GD":
        (model / f"{letter}_2.pth").rename(model / f"{letter}_0.pth")
    state = torch.load(model / "G_0.pth", weights_only=True)["model"]["emb_g.weight"]
    (model / "config.json").unlink()
    add(tmp_path, config, "zoe", '{"zoe": 3}', 4)
    train(config, model, 2)
    made = torch.load(model / "G_2.pth", weights_only=True)["model"]["emb_g.weight"]
    assert torch.equal(made[:3], state)
    assert not torch.equal(made[3], state.mean(0))


def test_a_speaker_begins_as_the_mean_of_the_bundled_bases(tmp_path: Path) -> None:
    config = light(tmp_path, name_by_step=True, learning_rate=0.01)
    path, generator = base_for(tmp_path, light_config(tmp_path))
    mean = generator.state_dict()["emb_g.weight"].mean(0).half().float()
    model = tmp_path / "model"
    add(tmp_path, config, "zoe", '{"zoe": 0}', 2)
    fit(config, model, max_steps=2, base=path, on_log=lambda _: None)
    rows = table(model)
    torch.testing.assert_close(rows[1], mean, atol=2e-3, rtol=0)  # nobody's
    assert not torch.allclose(rows[0], mean, atol=2e-3, rtol=0)
