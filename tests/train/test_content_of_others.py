"""A voice can learn from content as others would say it, so that it does not count on the rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from toy_training import AUDIO, light, light_config

from sovits.config import Config
from sovits.errors import DatasetError
from sovits.train.dataset import Batches, list_recordings


def heard_by_others(folder: Path) -> None:
    """Add content to every clip that is 100 or 200 for others, whatever it was."""
    for path in folder.rglob("*.features.safetensors"):
        held = load_file(path)
        held["content_of_others"] = torch.stack(
            [torch.full_like(held["content"], value) for value in (100.0, 200.0)]
        )
        settings = {
            "content": "toy",
            "sample_rate": str(AUDIO.sample_rate),
            "hop_length": str(AUDIO.hop_length),
        }
        save_file(held, path, settings)


def settings(folder: Path, others: float, moved: float = 0.0) -> Config:
    config = light_config(folder, moved=moved)
    return replace(config, train=replace(config.train, others=others))


def values(config: Config, epochs: int) -> torch.Tensor:
    """Return the first value of content of every crop."""
    made = Batches(list_recordings(Path(config.train.training_files), config), config)
    found = []
    for made.epoch in range(epochs):
        found += [made[index].batch.content[:, 0, 0] for index in range(len(made))]
    return torch.cat(found)


@pytest.mark.parametrize("moved", [0.0, 1.0])
def test_a_share_of_the_crops_is_what_others_say(tmp_path: Path, moved: float) -> None:
    light(tmp_path)
    heard_by_others(tmp_path)
    found = values(settings(tmp_path, 0.6, moved), 40)
    shares = [float((found == value).float().mean()) for value in (100.0, 200.0)]
    assert all(0.2 < share < 0.4 for share in shares)
    assert 0.3 < 1 - sum(shares) < 0.5
    assert not set(values(settings(tmp_path, 0.0, moved), 3).tolist()) & {100.0, 200.0}


def test_what_others_say_must_have_been_heard(tmp_path: Path) -> None:
    light(tmp_path)
    config = settings(tmp_path, 0.5)
    with pytest.raises(DatasetError, match=r"content_of_others missing.*svc pre-hubert"):
        list_recordings(Path(config.train.training_files), config)
