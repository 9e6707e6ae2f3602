"""How long a training takes, as it is typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sovits import train as training
from sovits.cli import main
from sovits.cli.parse import parse
from sovits.cli.pre_config import PreConfig
from sovits.cli.train import Train, seconds_of
from sovits.config import Config
from sovits.errors import ConfigError
from sovits.legacy.presets import PRESETS
from sovits.legacy.settings import config_from_json, config_to_json
from sovits.prepare.lengths import LENGTHS, STANDARD, of_length


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30m", 1800),
        ("30min", 1800),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1h 30m 5s", 5405),
        ("0.5h", 1800),
        (" 1H30M ", 5400),
    ],
)
def test_times_are_understood(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "30", "m", "-5m", "0s", "30m1h", "1e3s", "soon", "nan", "٣m x"]
)
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--max-time is .* a time such as 90s, 30m, 2h or 1h30m"):
        seconds_of(text)


def test_a_limit_of_time_reaches_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: dict[str, Any] = {}
    monkeypatch.setattr(training, "fit", lambda *_args, **settings: told.update(settings))
    config = tmp_path / "config.json"
    config.write_text("{}")
    argv = ["train", "-c", str(config), "-m", str(tmp_path / "logs")]
    assert main([*argv, "--max-time", "1h30m", "--max-steps", "5"]) == 0
    assert (told["max_seconds"], told["max_steps"]) == (5400, 5)
    assert main(argv) == 0
    assert told["max_seconds"] is None
    capsys.readouterr()
    assert main([*argv, "--max-time", "30"]) == 1
    assert "--max-time is '30'" in capsys.readouterr().err


def made(kind: str) -> Config:
    encoder = "sovits-content" if kind == "sovits-native" else "contentvec-768l12"
    return PRESETS[kind](encoder, {"alice": 0})


@pytest.mark.parametrize("kind", PRESETS)
def test_a_longer_preset_trains_longer(kind: str) -> None:
    quick, standard, best = (of_length(made(kind), name, 60).train for name in LENGTHS)
    assert standard == made(kind).train
    assert quick.epochs < standard.epochs <= best.epochs
    assert 0 < quick.patience < standard.patience < best.patience
    assert quick.keep_checkpoints < standard.keep_checkpoints < best.keep_checkpoints
    assert best.average == 0.999
    for name in LENGTHS:
        config = of_length(made(kind), name, 60)
        assert config_from_json(config_to_json(config))[0] == config


@pytest.mark.parametrize(
    ("clips", "epochs"), [(1, 1000), (16, 1000), (17, 500), (60, 250), (10**6, 1)]
)
def test_the_quick_one_ends_after_so_many_steps_whatever_there_is(clips: int, epochs: int) -> None:
    assert of_length(made("sovits-native"), "quick", clips).train.epochs == epochs


def test_there_is_no_other_preset(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="--preset is 'fast', but must be one of quick, standard"):
        of_length(made("quickvc"), "fast", 60)
    command = parse(["pre-config", "-p", "best"])
    assert isinstance(command, PreConfig)
    assert command.preset == "best"
    assert PreConfig().preset == STANDARD
    assert main(["pre-config", "--preset", "fast"]) == 1
    assert "quick" in capsys.readouterr().err


def test_help_has_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 100
    for name in Train.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in shown
    assert "docs/config.md" in shown
