"""Melodies are compared where both sounds are voiced, in cents, and moved as was asked."""

from __future__ import annotations

import math

import pytest
import torch

from sovits.evaluate.pitch import compare_pitch, melody
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
