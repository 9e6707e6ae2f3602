"""The card of a voice can be completed without touching its weights."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import struct
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from made_library import raw, settings
from made_voices import synthesizer_config, voice
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from stand_ins import tone

import sovits
from sovits.config import AudioConfig, VoiceConfig
from sovits.header import read_header
from sovits.voice import load_voice, save_voice

OURS = VoiceConfig(AudioConfig(mel_max=22_050.0), synthesizer_config(content_channels=9), "unheard")


@pytest.fixture(scope="module")
def card() -> ModuleType:
    """Return `tools/pretrain/card.py`."""
    path = Path(sovits.__file__).parents[1] / "tools/pretrain/card.py"
    spec = importlib.util.spec_from_file_location("card", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("more", ["", "é", "歌手", "x" * 1000])
def test_a_card_changes_and_nothing_else(card: ModuleType, more: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    made = voice(OURS)
    made.card = {"licence": "CC0-1.0", "median_f0_hz": 1.0}
    save_voice(path, made)
    before, tensors = path.read_bytes(), load_file(path)
    card.rewrite_card(path, {"median_f0_hz": 220.0, "more": more})
    after = load_file(path)
    assert tensors.keys() == after.keys()
    assert all(torch.equal(tensors[name], after[name]) for name in tensors)
    content = path.read_bytes()
    old, new = (struct.unpack("<Q", data[:8])[0] for data in (before, content))
    assert content[8 + new :] == before[8 + old :]
    assert new % 8 == 0
    header = read_header(path)
    assert header is not None
    assert header["card"] == {"licence": "CC0-1.0", "median_f0_hz": 220.0, "more": more}
    assert load_voice(path).config == OURS
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_what_is_no_voice_is_left_alone(card: ModuleType, tmp_path: Path) -> None:
    path = raw(tmp_path / "a.safetensors", {"x": settings()["x"]}, data=bytes(8))
    before = path.read_bytes()
    with pytest.raises(SystemExit, match="is no voice"):
        card.rewrite_card(path, {"a": 1})
    assert path.read_bytes() == before


def test_weights_that_are_no_voice_get_a_card_too(
    card: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, told = tmp_path / "a.safetensors", {"licence": "CC0-1.0", "data": ["é", "歌"], "n": None}
    tensors = {"x": torch.randn(3, 5), "y": torch.arange(4, dtype=torch.int8)}
    save_file(tensors, path)
    (tmp_path / "card.json").write_text(json.dumps(told), "utf-8")
    words = ["card.py", str(path), "--card", str(tmp_path / "card.json")]
    monkeypatch.setattr(sys, "argv", words)
    card.main()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert capsys.readouterr().out.split() == [str(path), digest]
    card.main()  # again, and nothing changes
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    after = load_file(path)
    assert all(torch.equal(tensors[name], after[name]) for name in tensors)
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["card"]) == told
    assert read_header(path) is None
    save_voice(path, voice(OURS))
    with pytest.raises(SystemExit, match="is a voice"):
        card.write_card(path, told)


def test_pitch_is_measured_over_all_voiced_frames(
    card: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "a.safetensors"
    save_voice(path, voice(OURS))
    rate, recordings = 16_000, []
    for seconds, frequency in ((1.0, 150.0), (2.0, 200.0), (1.0, 300.0)):
        wave = sum(tone(seconds, rate, k * frequency, 0.2 / k) for k in range(1, 6))
        recordings.append(tmp_path / f"{frequency}.wav")
        sovits.write(recordings[-1], torch.nn.functional.pad(wave, (0, rate)), rate)
    words = ["card.py", str(path), "--recordings", *map(str, recordings)]
    monkeypatch.setattr(sys, "argv", words)
    card.main()
    told = json.loads(capsys.readouterr().out.partition(" ")[2])
    header = read_header(path)
    assert header is not None
    assert header["card"] == told
    assert told["median_f0_hz"] == pytest.approx(200, rel=0.01)
    assert told["f0_range_hz"] == [pytest.approx(150, rel=0.01), pytest.approx(300, rel=0.01)]
