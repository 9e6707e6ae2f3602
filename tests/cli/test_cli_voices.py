"""svc voices tells what is at hand, and -m takes the names that it tells."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from made_library import NATIVE, legacy, native, raw, repo

import sovits
from sovits import library
from sovits.cli import main
from sovits.cli.models import choose

ROOT = Path(sovits.__file__).parents[1]
CHECK = """
import sys
from sovits.cli import main
assert main(sys.argv[1:]) == 0
heavy = {"torch", "numpy", "safetensors", "huggingface_hub"} & set(sys.modules)
assert not heavy, heavy
"""
CARD = {"licence": "CC0-1.0", "median_f0_hz": 110.4, "f0_range_hz": [80, 220.5]}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Be in an empty folder, with a package and a hub cache that are empty too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(library, "VOICES", tmp_path / "assets")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def fill(here: Path) -> None:
    """Have a voice of every kind, and one that is damaged."""
    native(here / "assets/low.safetensors", NATIVE, CARD)
    legacy(here / "logs/44k/G_9.pth", {"alice": 0})
    native(repo(here / "hub", "me/voice") / "x.safetensors", NATIVE)
    raw(here / "logs/odd/odd.safetensors", b"{garbage}")


def test_elsewhere_than_on_a_terminal_it_is_a_line_for_each(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(here)
    assert main(["voices"]) == 0
    out, err = capsys.readouterr()
    assert [line.split("\t") for line in out.splitlines()] == [
        [
            *["low", "bundled", "high, low", "48000", "110 (80-220)", "4"],
            f"{here}/assets/low.safetensors",
        ],
        ["alice", "trained", "alice", "44100", "-", "-", f"{here}/logs/44k/G_9.pth"],
        ["odd", "trained", "-", "-", "-", "-", f"{here}/logs/odd/odd.safetensors"],
        [
            *["hub:me/voice", "hub", "high, low", "48000", "-", "4"],
            str(repo(here / "hub", "me/voice") / "x.safetensors"),
        ],
    ]  # fmt: skip
    assert err.startswith("odd cannot be used: ")
    assert err.count("\n") == 1


def test_programs_get_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(here)
    assert main(["voices", "--json"]) == 0
    out, err = capsys.readouterr()
    table = json.loads(out)
    assert err == ""
    assert [entry["name"] for entry in table] == ["low", "alice", "odd", "hub:me/voice"]
    assert table == [voice.to_json() for voice in library.list_voices()]
    assert main(["voices", "--bundled", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == table[:1]


def test_where_nothing_is_that_is_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["voices"]) == 0
    assert capsys.readouterr() == (
        "",
        "There are none: no voice is bundled, logs holds none, and none is cached from the hub.\n",
    )
    assert main(["voices", "--bundled"]) == 0
    assert capsys.readouterr() == ("", "There are none: no voice is bundled.\n")
    assert main(["voices", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_gets_a_table_that_fits(
    here: Path, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(here)
    long = f"some-body-of-the-hub/{'a-very-long-name-' * 4}"
    card = {"median_f0_hz": 1210, "f0_range_hz": [1080, 1220.5]}
    names = {f"[bold]singer\x1b[2J{i}": i for i in range(9)}
    native(repo(here / "hub", long) / "x.safetensors", NATIVE | {"speakers": names}, card)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    assert main(["voices"]) == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert all(len(line) <= width for line in lines)
    text = "\n".join(lines)
    assert "\x1b[2J" not in text
    end = lines[1].index(" kind")
    assert f"hub:{long}" in "".join(line[:end].strip() for line in lines)  # folded, not cut
    for shown in ("low", "alice", "odd", "high, low", "110 (80-220)", "1210 (1080-1220)", "4"):
        assert f" {shown} " in f" {text} ".replace("\n", " ")
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["voices"]) == 0
    assert capsys.readouterr().out.startswith("low\tbundled\t")


def cpu_seconds() -> float:
    """Return what all children have used, which other programs do not change much."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_it_is_quick_and_loads_nothing_heavy(here: Path) -> None:
    fill(here)
    for argv in (["voices"], ["voices", "--json"], ["voices", "--bundled"]):
        begin = cpu_seconds()
        result = subprocess.run(
            [sys.executable, "-c", CHECK, *argv],
            capture_output=True,
            text=True,
            env={"PYTHONPATH": str(ROOT), "HF_HUB_CACHE": str(here / "hub")},
            check=False,
        )
        assert result.returncode == 0, result.stderr
        assert "heart" in result.stdout
        assert cpu_seconds() - begin < 1  # 0.2 s where nothing else runs
    assert "hub:me/voice" not in result.stdout


def test_names_that_are_listed_are_chosen(here: Path) -> None:
    fill(here)
    Path("c.json").touch()
    beside: dict[str, Any] = {
        "low": here / "assets/low.safetensors",
        "bundled/low": here / "assets/low.safetensors",
        "alice": here / "logs/44k",
        "odd": here / "logs/odd",
        "hub:me/voice": "hub:me/voice",
        "logs/44k": Path("logs/44k"),
        "logs/44k/G_9.pth": Path("logs/44k/G_9.pth"),
    }
    for name, path in beside.items():
        assert choose(name, None) == (path, None, "")
        assert choose(name, Path("c.json")) == (path, Path("c.json"), "")
    usual = Path("configs/44k/config.json")
    usual.parent.mkdir(parents=True)
    Path("logs/44k/config.json").rename(usual)
    assert choose("alice", None) == (here / "logs/44k", usual.absolute(), "")
    assert choose("alice", Path("c.json")).config == Path("c.json")


@pytest.mark.parametrize("command", [["infer", "song.wav"], ["export", "-o", "x.safetensors"]])
def test_a_name_of_several_is_refused_before_any_work(
    command: list[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(here)
    Path("song.wav").touch()
    native(here / "logs/low/low.safetensors")
    assert main([*command, "-m", "low"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("svc: low may be any of several voices. Name one in full: bundled/low (")
    assert str(here / "logs/low/low.safetensors") in err
