"""The benchmark of light voices says what was promised, what holds, and what is missing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import native  # noqa: E402

from sovits.voice import load_voice  # noqa: E402


def figures(stage: str, *_: Any) -> dict[str, float]:
    """Stand in for measuring."""
    return {
        "convert": {"cpu": 0.04, "peak_mb": 450.0},
        "parts": {"encoder": 0.01, "pitch": 0.008, "synthesizer": 0.02, "peak_mb": 1.0},
        "start": {"cpu": 0.4, "wall": 0.5},
        "stream": {
            "difference": 3e-7, "peak": 0.4, "latency": 4864, "latest": 4862, "cpu": 0.2
        },
        "distance": {"bf16": 0.003, "seed": 0.15},
    }[stage]  # fmt: skip


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Be where nothing is measured, and the page is another."""
    monkeypatch.setattr(native, "ours", figures)
    monkeypatch.setattr(native, "make_long", lambda clip, folder: folder / "long.wav")
    monkeypatch.setattr(native, "find_voice", lambda *_: ("voice", []))
    monkeypatch.setattr(native, "WORK", tmp_path)
    monkeypatch.setattr(native, "ROOT", tmp_path)
    monkeypatch.setattr(native, "PAGE", tmp_path / "page.md")
    (tmp_path / "page.md").write_text("# Benchmarks\n\n<!-- others -->\n")
    (tmp_path / "ms-istft").mkdir()
    (tmp_path / "ms-istft" / "G_1.pth").touch()
    return tmp_path / "page.md"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["native.py", *arguments])
    return native.main()


def test_the_fork_that_is_missing_is_said_to_be(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(native, "FORK", page.with_name("nowhere"))
    assert run(monkeypatch, "--write") == 0
    assert "environment is missing" in capsys.readouterr().err
    written = page.read_text()
    assert "not measured: its environment is missing" in written
    assert "| CPU s per s, end to end | 0.040 (0.040 to 0.040) | at most 0.08 | yes |" in written
    assert "declared: 4864 (110 ms)" in written
    assert written.startswith("# Benchmarks\n\n<!-- others -->\n")


def test_ratios_are_of_pairs_and_what_does_not_hold_is_told(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork = page.with_name("fork")
    fork.touch()
    monkeypatch.setattr(native, "FORK", fork)
    costs = iter([0.8, 0.4, 0.2])
    monkeypatch.setattr(native, "measure", lambda *_: {"cpu": next(costs)})
    assert run(monkeypatch, "--write") == 1
    written = page.read_text()
    assert "| times less than the fork | 10.0 (5.0 to 20.0) | at least 12 | **no** |" in written
    costs = iter([0.8] * 3)
    assert run(monkeypatch, "--write") == 0
    again = page.read_text()
    assert "20.0 (20.0 to 20.0)" in again
    assert again.count(native.BEGIN) == again.count(native.END) == 1


def test_random_weights_are_told_and_not_judged(capsys: pytest.CaptureFixture[str]) -> None:
    report = native.Report()
    native.half_precision(report, "voice", Path("sound"), ["the encoder", "the voice"])
    assert "weights of the encoder and the voice are random" in capsys.readouterr().out
    assert report.failed == 0
    assert "Weights of the encoder were random." in " ".join(native.section([], ["the encoder"]))


def test_a_voice_is_made_if_none_is_bundled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SOVITS_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(native, "at_hand", lambda _: False)
    monkeypatch.setattr(native, "list_voices", lambda **_: [])
    path, random = native.find_voice(tmp_path, None)
    assert random == ["the encoder", "the voice"]
    assert load_voice(path).config.content == "sovits-content"
    assert (tmp_path / "sovits-content.safetensors").is_file()
    assert native.find_voice(tmp_path, "mine")[0] == "mine"
