"""Loudness agrees with the standard and with another implementation of it."""

from __future__ import annotations

import math

import numpy as np
import pyloudnorm
import pytest
import torch

from sovits.audio.lufs import Loudness, true_peaks


def measured(wave: torch.Tensor, rate: int, block: int = 7_001) -> Loudness:
    loudness = Loudness(rate, len(wave))
    for part in wave.split(block, dim=-1):
        loudness.push(part)
    return loudness


def test_a_full_scale_sine_of_1_khz_in_one_channel_has_minus_3_lufs() -> None:
    rate = 48_000
    time = torch.arange(3 * rate) / rate
    wave = torch.stack([torch.sin(2 * torch.pi * 997 * time), torch.zeros(3 * rate)])
    assert measured(wave, rate).lufs == pytest.approx(-3.01, abs=0.03)


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_it_agrees_with_pyloudnorm(rate: int) -> None:
    white = torch.randn(2, 6 * rate)
    wave = 0.3 * white + 0.3 * torch.nn.functional.avg_pool1d(white, 9, 1, 4)
    wave[:, 2 * rate : 4 * rate] *= 1e-3  # which is gated
    expected = pyloudnorm.Meter(rate, filter_class="DeMan").integrated_loudness(
        wave.numpy().T.astype(np.float64)
    )
    assert measured(wave, rate).lufs == pytest.approx(expected, abs=0.05)


def test_it_does_not_matter_how_a_programme_is_cut() -> None:
    wave = 0.1 * torch.randn(1, 40_000)
    results = {round(measured(wave, 16_000, block).lufs, 6) for block in (100, 6_400, 40_000)}
    assert len(results) == 1


def test_silence_has_no_loudness_and_no_peak() -> None:
    loudness = measured(torch.zeros(2, 20_000), 16_000)
    assert loudness.lufs == loudness.peak_db == -math.inf


def test_a_peak_between_samples_is_found() -> None:
    # A quarter of the rate, sampled at 45 degrees: every sample is 3 dB below the peak.
    rate = 48_000
    wave = torch.sin(torch.pi / 2 * torch.arange(rate) + torch.pi / 4)[None]
    assert wave.abs().max() < 0.72
    assert measured(wave, rate).peak_db == pytest.approx(0.0, abs=0.15)
    peaks = true_peaks(wave, rate)
    assert peaks.shape == (rate,)
    assert peaks[100:-100].min() > 0.98
