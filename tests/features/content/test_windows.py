from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sovits.errors import AudioError
from sovits.features.content import stretch
from sovits.features.content.encoder import ContentSpec, WindowedEncoder, windows
from sovits.weights import WeightsFile

HOP, REACH = 320, 6


class Local:
    """A network whose frames depend on REACH frames to each side, and on silence beyond."""

    def __init__(self) -> None:
        self.longest = 0

    def count(self, samples: int) -> int:
        return samples // HOP

    def listen(self, wave: Tensor) -> Callable[[int, int], Tensor]:
        return lambda first, stop: wave[first * HOP : stop * HOP].view(1, -1, HOP)

    def __call__(self, heard: Tensor) -> Tensor:
        self.longest = max(self.longest, heard.shape[1])
        means = torch.stack([heard.mean(-1), heard.square().mean(-1)], 1)
        kernel = torch.linspace(1, 2, 2 * REACH + 1).view(1, 1, -1).repeat(2, 1, 1)
        return torch.nn.functional.conv1d(means, kernel, padding=REACH, groups=2)


def encoder(network: Local, window: float = 2.0, overlap: float = 0.6) -> WindowedEncoder:
    spec = ContentSpec(
        "local",
        2,
        WeightsFile("local", "x", "MIT"),
        window_seconds=window,
        overlap_seconds=overlap,
    )
    return WindowedEncoder(spec, network, torch.device("cpu"))


@given(st.integers(0, 5000), st.integers(2, 900), st.integers(0, 800))
def test_windows_cover_every_frame_in_order(frames: int, window: int, overlap: int) -> None:
    overlap = min(overlap, window - 1)
    found = windows(frames, window, overlap)
    if not frames:
        assert not found
        return
    assert found[0][0] == 0
    assert found[-1][1] == frames
    assert all(stop - first <= window for first, stop in found)
    for (first, stop), (after, end) in pairwise(found):
        assert first < after
        assert stop - after >= overlap
        assert end > stop
    lengths = [stop - first for first, stop in found]
    assert max(lengths) == min(lengths)


@given(st.floats(0, 12), st.floats(1.5, 4), st.floats(0.6, 1.2))
def test_windows_of_a_network_that_hears_little_join_to_the_whole(
    seconds: float, window: float, overlap: float
) -> None:
    wave = torch.randn(round(seconds * 16_000))
    whole = encoder(Local(), window=100).encode(wave)
    parts = encoder(Local(), window, overlap).encode(wave)
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-5)


def test_memory_does_not_grow_with_the_sound() -> None:
    network = Local()
    content = encoder(network).encode(torch.zeros(16_000 * 600))
    assert content.shape == (2, 30_000)
    assert network.longest <= 100


def test_a_join_fades_between_windows_that_disagree() -> None:
    class Counting(Local):
        """Gives each window another constant."""

        calls = 0

        def __call__(self, heard: Tensor) -> Tensor:
            self.calls += 1
            return torch.full((1, 2, heard.shape[1]), float(self.calls))

    content = encoder(Counting()).encode(torch.zeros(16_000 * 5))[0]
    steps = content.diff()
    assert content[0] == 1
    assert content[-1] == 4
    assert (steps >= 0).all()
    assert steps.max() < 0.1


@pytest.mark.parametrize("shape", [(1, 1000), (2, 1000), ()])
def test_only_one_channel_is_encoded(shape: tuple[int, ...]) -> None:
    with pytest.raises(AudioError, match="one channel"):
        encoder(Local()).encode(torch.zeros(shape))


def test_no_sound_has_no_content() -> None:
    assert encoder(Local()).encode(torch.zeros(0)).shape == (2, 0)


# Stretching.


@given(st.integers(1, 400), st.integers(0, 900))
def test_stretching_takes_the_frame_at_the_same_share_of_time(found: int, frames: int) -> None:
    content = torch.arange(float(found))[None]
    expected = [i * found // frames for i in range(frames)]
    assert stretch(content, frames)[0].tolist() == expected


def test_stretching_to_the_same_length_changes_nothing() -> None:
    content = torch.randn(3, 77)
    assert torch.equal(stretch(content, 77), content)


def test_the_known_case_of_ten_seconds() -> None:
    index = stretch(torch.arange(499.0)[None], 861)[0]
    assert index[:5].tolist() == [0, 0, 1, 1, 2]
    assert index[-1] == 498
    assert index.unique().numel() == 499


def test_nothing_cannot_be_stretched() -> None:
    assert stretch(torch.zeros(4, 0), 0).shape == (4, 0)
    with pytest.raises(AudioError, match="at least 25 ms"):
        stretch(torch.zeros(4, 0), 3)
