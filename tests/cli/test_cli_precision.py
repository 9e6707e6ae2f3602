"""svc infer says what automatic precision is, and why; and nothing if it was asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from made_voices import light, voice

from sovits import device
from sovits.cli import main


@pytest.mark.parametrize(
    ("there", "told"),
    [
        (True, "Precision: bf16, as this processor multiplies in it itself, and the sound stays"),
        (False, "Precision: fp32, as this processor does not multiply in bfloat16 itself."),
    ],
)
def test_automatic_precision_is_told(
    there: bool,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def convert_file(*given: Any, on_progress: Any) -> None:
        asked.append(given[3].precision)

    asked: list[str] = []
    made = voice(light())
    for name in ("voice", "convert"):
        module: Any = ModuleType(f"sovits.{name}")
        module.load_voice = lambda *_, **__: made
        module.convert_file = convert_file
        monkeypatch.setitem(sys.modules, f"sovits.{name}", module)
    # These sounds are none, and have no range; test_vocal_range.py has some that do.
    monkeypatch.setattr("sovits.cli.infer.transposed", lambda _voice, _source, options: options)
    monkeypatch.setattr(device, "has_bf16", lambda _: there)
    monkeypatch.chdir(tmp_path)
    for name in ("song.wav", "G_3.pth"):
        Path(name).touch()
    for precision in ("auto", "bf16", "fp32"):
        command = ["infer", "song.wav", "-m", "G_3.pth", "-d", "cpu", "--precision", precision]
        assert main(command) == 0
        said = capsys.readouterr().err
        assert (told in said) == ("Precision" in said) == (precision == "auto")
    assert asked == ["auto", "bf16", "fp32"]
