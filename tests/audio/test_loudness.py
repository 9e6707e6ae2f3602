"""Volume is the root mean square around each hop."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from sovits.audio.loudness import frame_rms


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
