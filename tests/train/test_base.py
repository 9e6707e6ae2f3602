"""A new training begins with a base that fits it, and only then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from toy_training import light, light_config

from sovits.config import Config
from sovits.models.build import make_synthesizer
from sovits.models.discriminator import Discriminator
from sovits.train import fit
from sovits.train.base import fits, write_base


def base_for(folder: Path, config: Config) -> tuple[Path, torch.nn.Module]:
    """Write a base of five speakers for a training."""
    torch.manual_seed(3)
    network = replace(config.voice.synthesizer, n_speakers=5)
    generator = make_synthesizer(network, config.voice.audio)
    path = folder / "base.safetensors"
    write_base(path, generator, Discriminator(config.discriminator), config, {"licence": "CC0"})
    return path, generator


def trained(folder: Path, path: Path | None) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Return the weights and the log of a training that makes one hardly noticeable step."""
    log: list[str] = []
    places = folder / "config.json", folder / "logs"
    if path is None:
        fit(*places, max_steps=1, from_scratch=True, on_log=log.append)
    else:
        fit(*places, max_steps=1, base=path, on_log=log.append)
    newest = sorted((folder / "logs").glob("G_*.pth"))[-1]
    return torch.load(newest, weights_only=True)["model"], log


def test_a_training_begins_with_the_base(tmp_path: Path) -> None:
    light(tmp_path, learning_rate=1e-9)
    config = light_config(tmp_path)
    path, generator = base_for(tmp_path, config)
    weights, log = trained(tmp_path, path)
    expected = generator.state_dict()
    mean = expected["emb_g.weight"].mean(0, keepdim=True)
    expected["emb_g.weight"] = mean.expand_as(weights["emb_g.weight"])
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, atol=2e-3, rtol=2e-3)  # fp16 in the file
    assert any(line.startswith("Starting from base.safetensors: ") for line in log)


def test_without_one_it_begins_at_random(tmp_path: Path) -> None:
    light(tmp_path)
    config = light_config(tmp_path)
    _, generator = base_for(tmp_path, config)
    weights, log = trained(tmp_path, None)
    assert not torch.allclose(weights["content.weight"], generator.content.weight, atol=1e-2)
    assert any(line.startswith("Starting from random weights") for line in log)


def test_a_training_that_has_begun_goes_on(tmp_path: Path) -> None:
    light(tmp_path)
    config = light_config(tmp_path)
    before, _ = trained(tmp_path, None)
    path, _ = base_for(tmp_path, config)
    log: list[str] = []
    fit(tmp_path / "config.json", tmp_path / "logs", max_steps=1, base=path, on_log=log.append)
    newest = sorted((tmp_path / "logs").glob("G_*.pth"))[-1]
    after = torch.load(newest, weights_only=True)["model"]
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any("base.safetensors" in line for line in log)


def test_a_base_fits_its_own_shape_only(tmp_path: Path) -> None:
    config = light_config(tmp_path)
    path, _ = base_for(tmp_path, config)
    assert fits(config, path)
    voice = config.voice
    more = replace(voice.synthesizer, n_speakers=9)
    assert fits(replace(config, voice=replace(voice, synthesizer=more)), path)
    wider = replace(voice.synthesizer, width=16)
    assert not fits(replace(config, voice=replace(voice, synthesizer=wider)), path)
    assert not fits(replace(config, voice=replace(voice, content="another")), path)
    assert not fits(config, tmp_path / "none.safetensors")
