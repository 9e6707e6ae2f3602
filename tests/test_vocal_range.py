"""What lies outside a voice's range is told before it is sung, and can be moved inside."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from stand_ins import Singer, tone, whistler

from sovits.cli import main
from sovits.config import ConvertOptions, VoiceConfig
from sovits.convert import into_range, range_fit
from sovits.ends import WaveSound
from sovits.errors import VoiceError
from sovits.library import pitch_range, trained_pitches
from sovits.vocal_range import STEP, fit
from sovits.voice import Voice, load_voice

LOW, HIGH = 110.0, 220.0


@dataclass
class Ranged(Singer):
    """A voice that tells its range."""

    told: tuple[float, float] | None = (LOW, HIGH)

    def f0_range(self, speaker: str | None) -> tuple[float, float] | None:
        return self.told


def ranged(told: tuple[float, float] | None = (LOW, HIGH)) -> Ranged:
    voice = whistler()
    return Ranged(voice.synthesizer, voice.config, told=told)


def song(hz: float, seconds: float = 4.0) -> WaveSound:
    """Return a note with harmonics."""
    return WaveSound(sum(tone(seconds, 24_000, k * hz, 0.3 / k) for k in range(1, 6))[None], 24_000)


@pytest.mark.parametrize(
    ("hz", "semitones", "above", "below", "better"),
    [
        (150.0, 0, False, False, 0),
        (250.0, 0, False, False, 0),  # a little beyond the range
        (440.0, 0, True, False, -9),
        (440.0, -12, False, False, -12),
        (55.0, 0, False, True, 9),
        (150.0, 24, True, False, 9),
    ],
)
def test_what_lies_outside_is_counted_and_the_least_move_is_proposed(
    hz: float, semitones: float, above: bool, below: bool, better: float
) -> None:
    found = fit(torch.full((500,), hz), LOW, HIGH, semitones)
    assert (found.above > 0, found.below > 0) == (above, below)
    assert found.above + found.below in (0, pytest.approx(500 * STEP))
    assert found.better == better
    assert found.fits is not (above or below)


def test_the_sentence_says_how_much_and_what_to_try() -> None:
    pitches = torch.cat([torch.full((3_000,), 200.0), torch.full((1_000,), 400.0)])
    found = fit(pitches, LOW, HIGH, 0)
    assert found.sentence() == ("16 s lie above this voice's range (110 to 220 Hz); try -t -8.")
    both = torch.cat([torch.full((1_000,), 40.0), torch.full((1_000,), 600.0)])
    assert (
        fit(both, LOW, HIGH, 0).sentence()
        == ("16 s lie above and 16 s lie below this voice's range (110 to 220 Hz).")
        or fit(both, LOW, HIGH, 0).better != 0
    )
    assert fit(torch.zeros(0), LOW, HIGH, 3).fits


def test_a_sound_is_measured_and_moved() -> None:
    voice = ranged()
    found = range_fit(voice, song(430), ConvertOptions())
    assert found is not None
    assert found.above == pytest.approx(4, abs=0.2)
    moved = into_range(voice, song(430), ConvertOptions(auto_transpose=True, seed=3))
    assert moved == ConvertOptions(semitones=-9, seed=3)
    assert into_range(voice, song(150), ConvertOptions(auto_transpose=True)).semitones == 0
    assert range_fit(ranged(None), song(430), ConvertOptions()) is None


def test_without_a_range_nothing_is_guessed() -> None:
    for voice, options in (
        (ranged(None), ConvertOptions(auto_transpose=True)),
        (ranged(), ConvertOptions(auto_transpose=True, auto_f0=True)),
    ):
        with pytest.raises(VoiceError, match="no range of pitch to transpose to"):
            into_range(voice, song(430), options)


def test_a_conversion_is_sung_where_the_voice_is() -> None:
    from sovits.convert import convert

    voice = ranged()
    convert(voice, song(430).wave, 24_000, ConvertOptions(auto_transpose=True))
    asked = torch.cat([sung.f0.flatten() for sung in voice.synthesizer.asked])
    assert float(asked.median()) == pytest.approx(430 * 2 ** (-9 / 12), rel=0.02)


def test_svc_infer_tells_before_it_converts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import sovits

    sovits.write(tmp_path / "high.wav", song(400, 2.0).wave, 24_000)
    argv = ["infer", str(tmp_path / "high.wav"), "-m", "kumo"]
    assert main(argv) == 0
    said = capsys.readouterr().err
    assert "high.wav: 2 s lie above this voice's range" in said
    assert "; try -t -" in said
    assert main([*argv, "--auto-transpose"]) == 0
    assert "high.wav: transposed by -" in capsys.readouterr().err


def test_ranges_come_from_cards_and_from_trainings(tmp_path: Path) -> None:
    heart = load_voice("heart")
    low, high = heart.f0_range(None) or (0, 0)
    assert [low, high] == heart.card["f0_range_hz"]
    config = heart.config
    network = replace(config.synthesizer, n_speakers=2)
    both = VoiceConfig(config.audio, network, config.content, {"a": 0, "b": 1})
    card = {"speakers": {"b": {"f0_range_hz": [90, 180]}}, "f0_range_hz": [1, 2]}
    many = Voice(both, heart.synthesizer, card)
    assert many.f0_range("b") == (90, 180)
    assert many.f0_range("a") is None
    assert trained_pitches(tmp_path) == {}
    told: dict[str, Any] = {"a": {"f0_range_hz": [90, 180], "median_f0_hz": 120}, "b": {}}
    (tmp_path / "verdict.json").write_text(json.dumps({"pitches": told}))
    assert trained_pitches(tmp_path) == {"a": told["a"]}
    for damage in ("[]", "{", '{"pitches": 3}', '{"pitches": {"a": 3}}'):
        (tmp_path / "verdict.json").write_text(damage)
        assert trained_pitches(tmp_path) == {}
    assert pitch_range({"f0_range_hz": [True, 3]}) is None
