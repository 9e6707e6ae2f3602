"""The commands around a training, on sounds made of sines."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from safetensors import safe_open

from sovits.cli import main
from sovits.cli.progress import training_lines
from sovits.config import NativeConfig
from sovits.legacy.settings import read_config
from sovits.prepare import features
from sovits.train.log import Progress


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Be in an empty folder, on a machine that never fetched anything."""
    monkeypatch.setenv("SOVITS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SOVITS_WEIGHTS", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def record(speaker: str, count: int) -> None:
    folder = Path("dataset_raw") / speaker
    folder.mkdir(parents=True)
    t = np.arange(12_000) / 24_000
    for i in range(count):
        soundfile.write(folder / f"{i}.wav", 0.3 * np.sin(2 * math.pi * (200 + i) * t), 24_000)


def test_recordings_become_features_by_three_commands(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record("alice", 3)
    Path("dataset_raw/stray.wav").touch()
    assert main(["pre-resample", "-n", "1"]) == 0
    out, err = capsys.readouterr()
    assert out == "dataset/44k\n"
    assert "skipped dataset_raw/stray.wav: belongs to no speaker" in err
    assert "3 clips made, 1 files left out." in err

    assert main(["pre-config", "-t", "sovits-small"]) == 0
    out, err = capsys.readouterr()
    assert out == "configs/44k/config.json\n"
    assert "Content encoder: sovits-content, 192 channels." in err
    assert "--speech-encoder contentvec-768l12 fetches it" in err
    assert main(["pre-config"]) == 0
    err = capsys.readouterr().err
    assert "kept as configs/44k/config.json.bak" in err
    assert "Content encoder: sovits-content, 192 channels." in err
    assert "contentvec" not in err
    config, notes = read_config(Path("configs/44k/config.json"))
    assert notes == []
    assert isinstance(config.voice.synthesizer, NativeConfig)

    try:
        assert main(["pre-hubert", "-n", "1"]) == 0
    finally:
        features._tools.cache_clear()
    assert "3 features files made, 0 files left out." in capsys.readouterr().err
    for line in Path(config.train.training_files).read_text().splitlines():
        with safe_open(f"{line}.features.safetensors", framework="pt") as file:
            assert file.metadata()["content"] == config.voice.content
            assert file.get_slice("content").get_shape()[0] == 192
    Path("dataset/44k/alice/bad.wav").write_text("no sound")
    try:
        assert main(["pre-hubert", "-n", "1"]) == 1
    finally:
        features._tools.cache_clear()
    err = capsys.readouterr().err
    assert "0 features files made, 3 were there already, 1 files left out." in err
    assert "remove these, and run svc pre-config again" in err


def test_a_stage_that_makes_nothing_fails(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record("alice", 1)
    soundfile.write("dataset_raw/alice/0.wav", np.zeros(24_000), 24_000)
    assert main(["pre-resample", "-n", "1"]) == 1
    assert "svc: No clips could be made: all 1 files were left out" in capsys.readouterr().err


def test_stale_clips_are_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record("alice", 2)
    assert main(["pre-resample", "-n", "1"]) == 0
    Path("dataset_raw/alice/1.wav").unlink()
    capsys.readouterr()
    assert main(["pre-resample", "-n", "1"]) == 0
    assert "dataset/44k/alice/1.wav is of an earlier run" in capsys.readouterr().err


def fill(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x" * 1_000_000)


def test_clean_never_deletes_what_was_trained(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill("dataset/44k/a/x.wav", "filelists/44k/train.txt", "logs/44k/G_1.pth", "configs/44k/c.json")
    assert main(["clean", "-y"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == ["dataset", "filelists"]
    assert err.splitlines() == ["dataset: 1 files, 1.0 MB", "filelists: 1 files, 1.0 MB"]
    assert sorted(path.name for path in here.iterdir()) == ["configs", "logs"]
    assert main(["clean", "-y", "--logs"]) == 0
    assert [path.name for path in here.iterdir()] == ["configs"]
    assert main(["clean", "-y"]) == 0
    assert "nothing to delete" in capsys.readouterr().err


@pytest.mark.parametrize(("answer", "left"), [("n", True), ("", True), ("y", False), (None, True)])
def test_clean_asks(
    here: Path, monkeypatch: pytest.MonkeyPatch, answer: str | None, left: bool
) -> None:
    def reply(_question: str) -> str:
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr("builtins.input", reply)
    fill("dataset/x.wav")
    assert main(["clean"]) == int(left)
    assert Path("dataset").exists() == left


def test_clean_does_not_follow_a_link(here: Path) -> None:
    fill("precious/x.wav")
    Path("dataset").symlink_to("precious", target_is_directory=True)
    assert main(["clean", "-y"]) == 0
    assert Path("precious/x.wav").exists()
    assert not Path("dataset").exists()


def pretend(monkeypatch: pytest.MonkeyPatch, module: str, **names: Any) -> None:
    fake = ModuleType(module)
    for name, value in names.items():
        setattr(fake, name, value)
    monkeypatch.setitem(sys.modules, module, fake)


def test_train_hands_everything_on(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[Any, ...]] = []

    def fit(config: Path, model: Path, *, on_log: Callable[[str], None], **rest: Any) -> None:
        assert callable(rest.pop("mend"))
        calls.append((config, model, rest))
        on_log("step 1")

    monkeypatch.setattr("sovits.train.fit", fit)
    Path("c.json").touch()
    assert main(["train", "-c", "c.json", "-m", "mine", "-r", "--max-steps", "5"]) == 0
    assert calls == [
        (
            Path("c.json"),
            Path("mine"),
            {
                "reset_optimizer": True,
                "max_steps": 5,
                "max_seconds": None,
                "device": None,
                "devices": None,
                "tensorboard": False,
                "from_scratch": False,
                "on_progress": None,
            },
        )
    ]
    assert capsys.readouterr() == ("mine\n", "step 1\n")


def test_train_names_the_extra_that_is_missing(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("c.json").touch()
    monkeypatch.setattr("sovits.cli.train.find_spec", lambda _name: None)
    assert main(["train", "-c", "c.json"]) == 1
    assert "svc train needs lightning_fabric" in capsys.readouterr().err


def test_train_serves_tensorboard_for_as_long_as_it_lasts(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    class Server:
        def __init__(self, command: list[str], **_: Any) -> None:
            assert command[1:] == ["-m", "tensorboard.main", "--logdir", "logs/44k"]
            events.append("begin")

        def terminate(self) -> None:
            events.append("end")

        def wait(self) -> None: ...

    def fit(*_: Any, tensorboard: bool, **__: Any) -> None:
        assert tensorboard
        events.append("fit")
        raise KeyboardInterrupt

    monkeypatch.setattr("sovits.train.fit", fit)
    monkeypatch.setattr("sovits.cli.train.find_spec", lambda _name: object())
    monkeypatch.setattr("subprocess.Popen", Server)
    Path("c.json").touch()
    assert main(["train", "-t", "-c", "c.json"]) == 130
    assert events == ["begin", "fit", "end"]


def test_export_writes_one_file(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill("logs/44k/G_1.pth", "logs/44k/config.json")
    pretend(
        monkeypatch,
        "sovits.voice",
        load_voice=lambda path, config=None: SimpleNamespace(path=path, remarks=["It is small."]),
        save_voice=lambda path, voice: path.write_text(str(voice)),
    )
    assert main(["export", "-o", "out/voice.safetensors"]) == 0
    out, err = capsys.readouterr()
    assert out == "out/voice.safetensors\n"
    assert err == "Using logs/44k/G_1.pth.\nIt is small.\n"
    assert "logs/44k" in Path("out/voice.safetensors").read_text()


class Terminal(io.StringIO):
    """Looks like one."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_a_training_has_a_bar_below_its_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    now = Progress(20, 80, 2, {"mel": 12.345, "kl": 0.5}, 2.5, 24.0, "512 MB, GPU 1.5 GB")
    with training_lines() as told:
        assert told.on_progress is not None
        told.on_progress(now)
        told.on_log("step 20  [bold]held-out[/bold]\nline")
    shown = screen.getvalue()
    assert "step 20  [bold]held-out[/bold]\\nline\n" in shown
    for words in ("step 20/80", "2.5 it/s  24 s left  512 MB, GPU 1.5 GB", "mel 12.3 kl 0.5"):
        assert words in shown


def test_elsewhere_a_training_has_lines_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with training_lines() as told:
        assert told.on_progress is None
        told.on_log("a line")
    assert capsys.readouterr() == ("", "a line\n")
