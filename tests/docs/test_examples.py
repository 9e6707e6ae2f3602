"""Examples in the documentation and in docstrings run, with a small voice of random weights."""

from __future__ import annotations

import doctest
import importlib
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from documents import GUIDE, README, ROOT, blocks, commands
from safetensors.torch import save_file

import sovits
from sovits import library
from sovits.cli import main
from sovits.config import AudioConfig, Config, SynthesizerConfig, VoiceConfig
from sovits.legacy.settings import write_config
from sovits.models.synthesizer import Synthesizer
from sovits.separation.spleeter import Spleeter
from sovits.separation.unet import UNet
from sovits.voice import Voice, save_voice

SECONDS, RATE = 1.2, 22_050
NAMES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "sovits").rglob("*.py")
    if ">>>" in path.read_text("utf-8")
)


def small_voice(speaker: str) -> Voice:
    """Return a voice that hears what the bundled encoder does, and makes no sense of it."""
    synthesizer = SynthesizerConfig(
        content_channels=192,
        inter_channels=4,
        hidden_channels=8,
        filter_channels=8,
        n_layers=1,
        speaker_channels=4,
        n_speakers=1,
        upsample_initial_channels=32,
        decoder="harmonic",
    )
    audio = AudioConfig(sample_rate=16_000, hop_length=256, n_fft=512)
    config = VoiceConfig(audio, synthesizer, "sovits-content", {speaker: 0})
    made = Synthesizer(synthesizer, audio)
    return Voice(config, made.fold(), {"licence": "CC0-1.0"})


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Be in a folder with all that the examples speak of, and with `heart` made small."""
    monkeypatch.chdir(tmp_path)
    t = torch.arange(round(SECONDS * RATE)) / RATE
    wave = 0.3 * torch.sin(2 * math.pi * 220 * t) * torch.sin(math.pi * t / SECONDS)
    Path("examples").mkdir()
    for name in ("examples/speech.flac", "examples/song.flac", "song.wav"):
        sovits.write(name, wave, RATE)
    Path("voices").mkdir()
    save_voice("voices/heart.safetensors", small_voice("heart"))
    save_voice("alice.safetensors", small_voice("alice"))
    monkeypatch.setattr(library, "VOICES", tmp_path / "voices")
    small = Spleeter((UNet((2, 3)), UNet((3, 2))), torch.device("cpu"))
    monkeypatch.setattr("sovits.separation.registry.load_spleeter", lambda _: small)
    features = Path("dataset/44k/alice/1.wav.features.safetensors")
    features.parent.mkdir(parents=True)
    content = {"content": "sovits-content"}
    save_file({"content": torch.randn(192, 90).half()}, features, content)
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.mark.parametrize("path", [README, GUIDE], ids=lambda path: path.name)
def test_examples_in_python_run(path: Path, studio: Path) -> None:
    for block in blocks(path, "python"):
        exec(compile(block, path.name, "exec"), {})
    for made in studio.glob("*.out.wav"):
        wave, rate = sovits.read(made)
        assert (wave.shape, rate) == ((1, round(SECONDS * RATE)), RATE)


def test_conversions_in_the_readme_run(studio: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = [argv for argv in commands(README) if argv[0] == "infer"]
    assert len(ran) >= 2
    for argv in ran:
        assert main(argv) == 0
        made = Path(capsys.readouterr().out.strip())
        wave, rate = sovits.read(made)
        assert (wave.shape, rate) == ((1, round(SECONDS * RATE)), RATE)


def test_retrieval_works_as_the_guide_has_it(
    studio: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alice = small_voice("alice")
    for folder in ("configs/44k", "logs/44k"):
        Path(folder).mkdir(parents=True)
    write_config(Path("configs/44k/config.json"), Config(alice.config))
    save_voice("logs/44k/alice_1.safetensors", alice)
    makers = ("train-index", "train-cluster")
    users = [argv for argv in commands(GUIDE) if argv[0] == "infer" and "-r" in argv]
    ran = [argv for argv in commands(GUIDE) if argv[0] in makers or argv in users]
    assert [argv[0] for argv in ran] == ["train-index", "infer", "train-cluster", "infer"]
    for argv in ran:
        assert main(argv) == 0
        assert Path(capsys.readouterr().out.strip()).is_file()


@pytest.mark.parametrize("name", NAMES)
def test_examples_in_docstrings_run(name: str, studio: Path) -> None:
    result = doctest.testmod(importlib.import_module(name), raise_on_error=False)
    assert result.attempted
    assert not result.failed
