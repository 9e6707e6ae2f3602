"""Resampling keeps length, pitch, phase and level, whole or in blocks."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import resample_poly

from sovits.audio.resample import StreamResampler, resample, resampled_length

RATES = (8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000)


def sine(hz: float, rate: int, samples: int) -> torch.Tensor:
    """Return a sine of amplitude 0.5 that starts at phase 0."""
    time = torch.arange(samples, dtype=torch.float64) / rate
    return (0.5 * torch.sin(2 * math.pi * hz * time)).float()


@given(st.integers(0, 5000), st.sampled_from(RATES), st.sampled_from(RATES))
def test_length_is_exactly_the_duration(samples: int, from_rate: int, to_rate: int) -> None:
    wave = resample(torch.rand(2, samples), from_rate, to_rate)
    assert wave.shape == (2, round(samples * to_rate / from_rate))
    assert wave.dtype == torch.float32


@pytest.mark.parametrize("to_rate", RATES)
@pytest.mark.parametrize("from_rate", RATES)
def test_a_sine_keeps_frequency_phase_and_level(from_rate: int, to_rate: int) -> None:
    seconds = 0.5
    heard = resample(sine(1000, from_rate, int(seconds * from_rate)), from_rate, to_rate)
    expected = sine(1000, to_rate, len(heard))
    edge = int(0.02 * to_rate)
    torch.testing.assert_close(heard[edge:-edge], expected[edge:-edge], atol=2e-4, rtol=0)


@given(
    sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=8),
    from_rate=st.sampled_from(RATES),
    to_rate=st.sampled_from(RATES),
    channels=st.integers(1, 3),
)
def test_blocks_join_to_the_whole(
    sizes: list[int], from_rate: int, to_rate: int, channels: int
) -> None:
    wave = torch.rand(channels, sum(sizes)) - 0.5
    stream = StreamResampler(from_rate, to_rate, channels)
    blocks = list(wave.split(sizes, dim=1))
    heard = [stream.push(block) for block in blocks[:-1]] + [stream.push(blocks[-1], last=True)]
    torch.testing.assert_close(torch.cat(heard, 1), resample(wave, from_rate, to_rate))


def test_agrees_with_another_resampler() -> None:
    wave = sine(440, 48_000, 9600) + sine(3000, 48_000, 9600)
    other = torch.from_numpy(resample_poly(wave.double().numpy(), 1, 3)).float()
    ours = resample(wave, 48_000, 16_000)
    torch.testing.assert_close(ours[200:-200], other[200:-200], atol=5e-3, rtol=0)


def test_what_the_lower_rate_cannot_hold_is_gone() -> None:
    assert resample(sine(12_000, 44_100, 44_100), 44_100, 16_000)[500:-500].abs().max() < 1e-4


def test_a_constant_stays_one() -> None:
    wave = resample(torch.full((3, 2, 20_000), 0.25), 44_100, 48_000)
    torch.testing.assert_close(wave[..., 1000:-1000], torch.full_like(wave, 0.25)[..., 2000:])


def test_the_same_rate_changes_nothing() -> None:
    wave = torch.rand(2, 100)
    assert torch.equal(resample(wave, 44_100, 44_100), wave)
    assert torch.equal(StreamResampler(8000, 8000, 2).push(wave, last=True), wave)


def test_the_ends_of_hours_are_exact() -> None:
    assert resampled_length(3 * 3600 * 192_000, 192_000, 44_100) == 3 * 3600 * 44_100
