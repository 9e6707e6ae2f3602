"""Kills at any moment of a training cost the steps since the last checkpoint, and nothing else."""

from __future__ import annotations

import random
from pathlib import Path

from killed_training import KEPT, Life, train_through
from test_resume import contents, same
from toy_training import toy


def test_a_training_that_is_killed_again_and_again_makes_the_same_weights(tmp_path: Path) -> None:
    settings = {"name_by_step": True, "eval_interval": 3, "patience": 0, "average": 0.9}
    config = toy(tmp_path, keep_checkpoints=KEPT, **settings)
    whole = Life(config, tmp_path / "whole", 24)
    deaths = train_through(config, tmp_path / "parts", 24, 4, random.Random(0))
    assert (deaths.kills, deaths.trouble) == (4, [])
    whole.listen()
    whole.process.join()
    assert same(contents(tmp_path / "whole"), contents(tmp_path / "parts"))
    names = {path.name for path in (tmp_path / "parts").iterdir()}
    assert not [name for name in names if name.endswith(".part")]
    assert {name[1:] for name in names if name[0] == "G"} == {n[1:] for n in names if n[0] == "D"}
