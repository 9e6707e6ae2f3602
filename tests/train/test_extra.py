"""Refiners and vocoders are trained on what is there, go on exactly, and keep their best."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from toy_training import light

from sovits.audio.mel import VOCODER_MEL
from sovits.config import (
    AudioConfig,
    DiscriminatorConfig,
    RefinerConfig,
    VocoderConfig,
)
from sovits.errors import ConfigError, Interrupted, SovitsError, TrainingError
from sovits.legacy.settings import read_config
from sovits.models.refiner import read_refiner
from sovits.models.vocoder import read_vocoder
from sovits.train import fit
from sovits.train.checkpoint import list_checkpoints
from sovits.train.dataset import list_recordings
from sovits.train.extra import Best
from sovits.train.own_mels import Pairs, louder, make_pairs, mel_of, worse
from sovits.train.refiner import fit_refiner
from sovits.train.vocoder import fit_vocoder
from sovits.voice import load_voice, save_voice

SMALL = RefinerConfig(width=12, blocks=1, kernel_size=3, expansion=1, speaker_channels=4)
LITTLE = VocoderConfig(width=8, blocks=1, harmonic_bands=8, noise_bands=6)
JUDGES = DiscriminatorConfig(periods=(2,), width=0.05, scale=False, spectra=(64,))


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a configuration, and the folder of a voice that has learnt next to nothing."""
    folder = tmp_path_factory.mktemp("voice")
    config = light(folder, name_by_step=True)
    fit(config, folder / "logs", max_steps=1, device="cpu", on_log=lambda _: None)
    return config, folder / "logs"


def set_train(config: Path, folder: Path, **train: Any) -> Path:
    """Write the same configuration with other settings of the training."""
    settings = json.loads(config.read_text())
    settings["train"] |= train
    path = folder / "config.json"
    path.write_text(json.dumps(settings))
    return path


def refine(voice: tuple[Path, Path], steps: int, **rest: Any) -> list[str]:
    told: list[str] = []
    config, logs = voice
    fit_refiner(
        config, logs, max_steps=steps, network=SMALL, device="cpu", on_log=told.append, **rest
    )
    return told


def copy_of(voice: tuple[Path, Path], folder: Path, **train: Any) -> tuple[Path, Path]:
    """Return the same voice in a folder of its own."""
    config, logs = voice
    new = folder / "logs"
    new.mkdir()
    for path in logs.glob("*_1.pth"):
        (new / path.name).write_bytes(path.read_bytes())
    settings = set_train(config, folder, **train)
    (new / "config.json").write_text(settings.read_text())
    return settings, new


def weights(folder: Path) -> dict[str, Any]:
    """Return what the newest checkpoint holds of the generator."""
    held: dict[str, Any] = torch.load(list_checkpoints(folder)[-1].generator, weights_only=True)
    return held


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def test_pairs_are_made_once_for_a_voice(voice: tuple[Path, Path], tmp_path: Path) -> None:
    config, logs = voice
    read = load_voice(logs, config)
    settings, _ = read_config(config)
    recordings = list_recordings(Path(settings.train.training_files), settings)
    seen: list[tuple[int, int]] = []
    pairs = make_pairs(recordings, read, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(pairs), len(recordings))
    with safe_open(pairs[0].mels, framework="pt") as file:
        made, real = file.get_tensor("made"), file.get_tensor("real")
    assert made.shape == (1, 128, pairs[0].frames)
    assert real.shape == made.shape[1:]
    before = [pair.mels.stat().st_mtime_ns for pair in pairs]
    features = [pair.features.stat().st_mtime_ns for pair in pairs]
    make_pairs(recordings, read)
    assert [pair.mels.stat().st_mtime_ns for pair in pairs] == before
    pairs[1].mels.write_bytes(pairs[1].mels.read_bytes()[:-9])  # one that was cut off
    make_pairs(recordings, read)
    with torch.no_grad():
        read.synthesizer.emb_g.weight += 1  # another voice
    make_pairs(recordings, read)
    assert all(
        pair.mels.stat().st_mtime_ns > then for pair, then in zip(pairs, before, strict=True)
    )
    assert [pair.features.stat().st_mtime_ns for pair in pairs] == features


def test_crops_go_by_their_number(voice: tuple[Path, Path]) -> None:
    config, logs = voice
    settings, _ = read_config(config)
    recordings = list_recordings(Path(settings.train.training_files), settings)
    pairs = make_pairs(recordings, load_voice(logs, config))
    crops = Pairs(pairs, 30, seed=5)
    first, again, other = crops.batch(1, 3), Pairs(pairs, 30, seed=5).batch(1, 3), crops.batch(2, 3)
    assert same(tuple(first), tuple(again))
    assert not same(tuple(first), tuple(other))
    assert first.made.shape == first.real.shape == (3, 128, 30)
    assert first.content.shape == (3, 6, 30)
    plain = crops.batch(1, 40, plain=True)
    short = plain.mask.sum((1, 2)) < 30  # clips of fewer frames are padded
    assert short.any()
    assert (plain.f0 > 0).all()


@pytest.mark.parametrize("seed", range(6))
def test_worse_is_near(seed: int) -> None:
    mel = torch.randn(128, 40).cumsum(0) * 0.1 - 4
    made = worse(mel, random.Random(seed))
    assert made.shape == mel.shape
    assert (made - mel).abs().mean() < 1.5


def test_louder_mels_are_those_of_louder_sound() -> None:
    from sovits.audio.mel import VOCODER_POWER_FLOOR, LogMel

    log_mel = LogMel(VOCODER_MEL, VOCODER_POWER_FLOOR)
    wave = 0.1 * torch.randn(1, 8192)
    torch.testing.assert_close(
        louder([log_mel(wave)], 3.0)[0], log_mel(3 * wave), atol=1e-3, rtol=1e-3
    )


def test_a_refiner_learns_is_kept_and_refines(voice: tuple[Path, Path], tmp_path: Path) -> None:
    mine = copy_of(voice, tmp_path, eval_interval=20)
    told = refine(mine, 60)
    path = mine[1] / "refiner.safetensors"
    refiner = read_refiner(path)
    assert refiner.content == "toy"
    assert refiner.speakers == {"alice": 0, "bob": 1}
    assert refiner.audio == mel_of(AudioConfig(8000, 64, 256, 20))
    assert refiner.card["held_out"]["unrefined"] > 0
    assert any("log-mel distance of held-out clips" in line for line in told)
    lines = (mine[1] / "refiner" / "train.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    losses = [entry["flow"] for entry in entries if "flow" in entry]
    assert sum(losses[-20:]) < sum(losses[:20])
    best = Best.of(mine[1] / "refiner")
    assert best.step == refiner.card["step"]
    frames = 20
    refined = refiner.refine(
        torch.full((1, 128, frames), -4.0),
        torch.zeros(1, 6, frames),
        torch.full((1, frames), 200.0),
        torch.full((1, frames), 0.2),
        torch.tensor([0]),
    )
    assert refined.isfinite().all()
    assert "Nothing to do" in refine(mine, 60)[-1]


def test_a_refiner_that_goes_on_is_one_that_never_stopped(
    voice: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, parts = copy_of(voice, tmp_path / "a"), copy_of(voice, tmp_path / "b")
    refine(whole, 6)
    for steps in (1, 4, 6):
        torch.manual_seed(steps)
        refine(parts, steps)
    assert same(weights(whole[1] / "refiner"), weights(parts[1] / "refiner"))


def vocode(voice: tuple[Path, Path], steps: int, **rest: Any) -> list[str]:
    told: list[str] = []
    config, logs = voice
    how = {"network": LITTLE, "judges": JUDGES} | rest
    fit_vocoder(config, logs, max_steps=steps, device="cpu", on_log=told.append, **how)
    return told


def test_a_vocoder_goes_on_and_is_kept(
    voice: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sovits.train import vocoder

    monkeypatch.setitem(vocoder.SETTINGS, "adversarial_from", 3)
    monkeypatch.setitem(vocoder.SETTINGS, "batch_size", 2)
    monkeypatch.setitem(vocoder.SETTINGS, "segment_frames", 20)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, parts = copy_of(voice, tmp_path / "a"), copy_of(voice, tmp_path / "b")
    told = vocode(whole, 5)
    assert "log-mel distance of copies" in told[-1]
    for steps in (2, 5):
        torch.manual_seed(steps)
        vocode(parts, steps)
    assert same(weights(whole[1] / "vocoder"), weights(parts[1] / "vocoder"))
    kept = read_vocoder(whole[1] / "vocoder.safetensors")
    assert kept.config == LITTLE
    wave = kept.synthesize(torch.full((1, 128, 9), -3.0), torch.full((1, 9), 200.0))
    assert wave.shape == (1, 9 * 64)
    assert len(list_checkpoints(whole[1])) == 1  # the voice's own are left alone


@pytest.mark.parametrize("train", [refine, vocode])
def test_who_asks_for_the_end_gets_it_and_loses_nothing(
    voice: tuple[Path, Path], tmp_path: Path, train: Callable[..., list[str]]
) -> None:
    mine = copy_of(voice, tmp_path, log_interval=1)

    asked: list[int] = []

    def ask(_progress: object) -> None:
        if not asked:  # a second time would not wait for the end of the step
            asked.append(signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        train(mine, 50, on_progress=ask)
    folder = mine[1] / ("refiner" if train is refine else "vocoder")
    done = weights(folder)["progress"]["step"]
    assert 1 <= done < 50
    assert not list(folder.glob(".*.part"))


def test_training_ends_when_nothing_is_gained(voice: tuple[Path, Path], tmp_path: Path) -> None:
    mine = copy_of(voice, tmp_path, eval_interval=1, patience=2)
    refine(mine, 1)
    best = Best(1, 0.0, "as good as it gets")
    best.write(mine[1] / "refiner")
    refine(mine, 50)
    assert weights(mine[1] / "refiner")["progress"]["step"] == 3


def test_time_can_run_out(voice: tuple[Path, Path], tmp_path: Path) -> None:
    mine = copy_of(voice, tmp_path)
    refine(mine, 50, max_seconds=0.0)
    assert weights(mine[1] / "refiner")["progress"]["step"] == 1


def test_what_cannot_be_trained_is_refused(voice: tuple[Path, Path], tmp_path: Path) -> None:
    mine = copy_of(voice, tmp_path)
    with pytest.raises(ConfigError, match="max_steps"):
        refine(mine, 0)
    config, _ = read_config(mine[0])
    other = load_voice(mine[1], mine[0])
    other.config = replace(other.config, content="toy-2")
    save_voice(mine[1] / "G_9.safetensors", other)
    (mine[1] / "G_1.pth").unlink()
    with pytest.raises(TrainingError, match=f"toy-2, not {config.voice.content}"):
        refine(mine, 1)
    with pytest.raises(SovitsError):
        refine((mine[0], tmp_path / "nothing"), 1)
