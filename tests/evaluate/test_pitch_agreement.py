"""Melodies are compared where both sounds are voiced, in cents, and moved as was asked."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from recordings import RATE, clips_of, vowel

from sovits.errors import PitchError
from sovits.evaluate.pitch import choose_judge, compare_pitch, measure_pitch, melody
from sovits.features.pitch import load_pitch_extractor
from sovits.types import Pitch

STEPS = torch.linspace(0, 6, 100)  # semitones
SUNG = Pitch(220 * 2 ** (STEPS / 12), torch.ones(100, dtype=torch.bool))


def moved(cents: float) -> Pitch:
    """Return the melody `cents` above."""
    return Pitch(SUNG.f0 * 2 ** (cents / 1200), SUNG.voiced)


def test_the_same_melody_agrees_at_any_pitch() -> None:
    for semitones in (-12.0, 0.0, 7.0):
        found = compare_pitch(SUNG, moved(100 * semitones), semitones)
        assert found.correlation == pytest.approx(1, abs=1e-6)
        assert found.error_cents == pytest.approx(0, abs=1e-2)
        assert found.frames == 100


def test_what_is_out_of_tune_is_measured_in_cents() -> None:
    assert compare_pitch(SUNG, moved(30)).error_cents == pytest.approx(30, abs=0.01)
    assert compare_pitch(SUNG, Pitch(SUNG.f0.flip(0), SUNG.voiced)).correlation == pytest.approx(-1)


def test_only_frames_voiced_in_both_count() -> None:
    source = Pitch(SUNG.f0.clone(), SUNG.voiced.clone())
    source.f0[:30], source.voiced[:30] = 900, False
    result = Pitch(SUNG.f0.clone()[:80], SUNG.voiced.clone()[:80])
    result.f0[70:], result.voiced[70:] = 60, False
    found = compare_pitch(source, result)
    assert found.frames == 40
    assert found.error_cents == pytest.approx(0, abs=1e-3)


def test_without_a_common_melody_nothing_is_claimed() -> None:
    silent = Pitch(SUNG.f0, ~SUNG.voiced)
    found = compare_pitch(SUNG, silent)
    assert (found.correlation, found.frames) == (0, 0)
    assert math.isnan(found.error_cents)


def test_melodies_are_read_every_ten_milliseconds() -> None:
    time = torch.arange(32_000) / 16_000
    wave = sum(torch.sin(2 * math.pi * 220 * k * time) / k for k in range(1, 8)) / 4
    found = melody(load_pitch_extractor("swift"), torch.as_tensor(wave), 16_000)
    assert found.f0.shape == (200,)
    assert float((1200 * (found.f0[found.voiced] / 220).log2()).abs().median()) < 10


def test_an_octave_is_an_octave_error_and_no_fine_one() -> None:
    moved_up = Pitch(SUNG.f0.clone(), SUNG.voiced)
    moved_up.f0[:25] *= 2
    found = compare_pitch(SUNG, moved_up)
    assert found.octave_errors == pytest.approx(0.25)
    assert found.fine_error_cents == pytest.approx(0, abs=1e-2)
    assert found.error_cents == pytest.approx(600, abs=0.1)
    below = compare_pitch(SUNG, moved(-1200))
    assert below.octave_errors == 1
    assert math.isnan(below.fine_error_cents)
    assert compare_pitch(SUNG, moved(-1200), -12).octave_errors == 0


def test_voicing_is_compared_by_f1() -> None:
    result = Pitch(SUNG.f0, SUNG.voiced.clone())
    result.voiced[:40] = False
    assert compare_pitch(SUNG, result).voicing_f1 == pytest.approx(2 * 60 / (2 * 60 + 40))
    assert compare_pitch(SUNG, SUNG).voicing_f1 == 1
    silent = Pitch(SUNG.f0, ~SUNG.voiced)
    assert compare_pitch(silent, silent).voicing_f1 == 0


def test_the_judge_is_never_the_method_that_sang_unless_asked_for() -> None:
    assert choose_judge("swift") == "crepe-tiny"
    assert choose_judge("crepe-tiny") == "swift"
    assert choose_judge("harvest") == "crepe-tiny"
    assert choose_judge("swift", "swift") == "swift"
    with pytest.raises(PitchError, match="There is no pitch method swfit"):
        measure_pitch([], "swfit", 0.0, lambda _: None)


def test_clips_are_measured_as_melodies_are(tmp_path: Path) -> None:
    source, low, octave = (vowel(14, hz) for hz in (220, 220 * 2 ** (3 / 12), 440))
    clips = clips_of(tmp_path, (source, low), (source, octave))
    shares: list[float] = []
    measures = {m.key: m.result for m in measure_pitch(clips, "swift", 3.0, shares.append)}
    assert shares == [0.5, 1.0]
    swift = load_pitch_extractor("swift")
    for index, wave in enumerate((low, octave)):
        expected = compare_pitch(melody(swift, source, RATE), melody(swift, wave, RATE), 3.0)
        assert measures["f0_correlation"].values[index] == pytest.approx(expected.correlation)
        assert measures["f0_rmse_cents"].values[index] == pytest.approx(expected.error_cents)
        assert measures["octave_errors"].values[index] == pytest.approx(expected.octave_errors)
        assert measures["voicing_f1"].values[index] == pytest.approx(expected.voicing_f1)
    assert measures["f0_fine_rmse_cents"].values[0] < 15
    assert measures["octave_errors"].values[0] == 0
    assert measures["octave_errors"].values[1] > 0.95
    assert measures["octave_errors"].estimate.value == pytest.approx(0.5, abs=0.05)
