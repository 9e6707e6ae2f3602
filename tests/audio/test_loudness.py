"""Volume is the root mean square around each hop."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from sovits.audio.loudness import LEVELS_PER_SECOND, frame_rms, recording_level
from sovits.audio.split import frame_levels


@given(st.floats(-1, 1, width=32), st.integers(1, 50), st.integers(0, 500))
def test_a_constant_has_its_own_volume(level: float, hop: int, samples: int) -> None:
    volume = frame_rms(torch.full((2, samples), level), hop)
    torch.testing.assert_close(volume, torch.full((2, samples // hop), abs(level)))


def test_a_sine_has_its_amplitude_by_root_two() -> None:
    wave = 0.8 * torch.sin(2 * math.pi * 100 * torch.arange(44_100) / 44_100)
    torch.testing.assert_close(
        frame_rms(wave, 441), torch.full((100,), 0.8 / math.sqrt(2)), atol=1e-4, rtol=0
    )


@given(st.integers(1, 40), st.integers(0, 300))
def test_agrees_with_frames_cut_by_hand(hop: int, samples: int) -> None:
    wave = torch.rand(samples)
    frames = samples // hop
    if not frames:
        assert frame_rms(wave, hop).shape == (0,)
        return
    padded = np.pad(wave.double().numpy(), (hop // 2, (hop + 1) // 2), mode="reflect")
    expected = [np.sqrt(np.mean(padded[hop * i : hop * (i + 1)] ** 2)) for i in range(frames)]
    torch.testing.assert_close(frame_rms(wave, hop), torch.tensor(expected).float())


def test_a_frame_is_around_the_start_of_its_hop() -> None:
    wave = torch.zeros(1000)
    wave[349], wave[450] = 1.0, 1.0
    assert frame_rms(wave, 100).nonzero().flatten().tolist() == [3, 5]


def level(wave: torch.Tensor, rate: int = 16_000) -> float:
    return recording_level(frame_levels(wave, rate // LEVELS_PER_SECOND))


def song(seconds: float) -> torch.Tensor:
    """A tone that swells and fades twice a second between -34 and -14 dBFS."""
    time = torch.arange(round(16_000 * seconds)) / 16_000
    swell = 10 ** ((-24 - 10 * torch.cos(4 * math.pi * time)) / 20)
    return math.sqrt(2) * swell * torch.sin(2 * math.pi * 200 * time)


@given(st.floats(-60, 20))
def test_the_level_of_a_recording_is_that_of_its_loud_parts(db: float) -> None:
    wave = song(10.0)
    assert -15 < level(wave) < -13.9
    assert abs(level(wave * 10 ** (db / 20)) - level(wave) - db) < 1e-3


def test_pauses_and_knocks_do_not_move_the_level_of_a_recording() -> None:
    wave = song(10.0)
    pauses = torch.cat([wave, 1e-4 * torch.randn(60 * 16_000)])
    assert abs(level(pauses) - level(wave)) < 0.1
    knocked = 0.01 * wave
    knocked[48_000:51_200] += torch.randn(3200)  # 0.2 s at 0 dBFS
    assert abs(level(knocked) - level(wave) + 40) < 0.5
    knocked[90_000] = 1.0
    assert abs(level(knocked) - level(wave) + 40) < 0.5


@given(st.integers(1, 200))
def test_the_level_of_a_short_recording_is_that_of_its_loudest_tenth(frames: int) -> None:
    levels = np.linspace(-60, -20, frames, dtype=np.float32)
    np.random.default_rng(frames).shuffle(levels)
    count = min(25, max(1, round(frames / 10)))
    assert recording_level(levels) == sorted(levels)[-count]
    assert recording_level(np.full(frames, -200, np.float32)) == -200
