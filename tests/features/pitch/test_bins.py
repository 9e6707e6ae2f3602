from __future__ import annotations

from itertools import pairwise, product
from math import log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sovits.features.pitch import bins
from sovits.features.pitch.bins import BINS, best_path, bin_to_hz, local_average


def test_an_octave_is_sixty_bins() -> None:
    hz = bin_to_hz(torch.arange(BINS))
    torch.testing.assert_close(hz[60:], 2 * hz[:-60])
    assert hz[0] == pytest.approx(31.70, abs=0.01)
    assert hz[-1] == pytest.approx(2005.5, abs=0.5)


@given(st.floats(8, BINS - 9))
def test_a_pitch_between_bins_is_found(centre: float) -> None:
    chances = torch.exp(-((torch.arange(BINS) - centre) ** 2) / (2 * 1.25**2))[None]
    found = local_average(chances, chances.argmax(1))
    assert found.item() == pytest.approx(centre, abs=0.02)


@pytest.mark.parametrize("edge", [0, BINS - 1])
def test_a_pitch_at_the_edge_stays_in_range(edge: int) -> None:
    chances = torch.zeros(1, BINS)
    chances[0, edge] = 1
    assert local_average(chances, torch.tensor([edge])).item() == pytest.approx(edge, abs=0.01)


def score(path: tuple[int, ...], chances: torch.Tensor) -> float:
    """Log probability of a path, term by term."""
    total = sum(log(max(chances[i, bin_].item(), 1e-5)) for i, bin_ in enumerate(path))
    for a, b in pairwise(path):
        leap = bins.LEAP / chances.shape[1]
        reach = bins.REACH + 1
        step = (reach - abs(a - b)) / reach**2 * (1 - bins.LEAP) if abs(a - b) < reach else 0.0
        total += log(max(step, leap))
    return total


@settings(max_examples=6)
@given(st.integers(0, 10_000))
def test_the_search_finds_what_trying_every_path_finds(seed: int) -> None:
    chances = torch.rand(3, 16, generator=torch.Generator().manual_seed(seed)) ** 4
    found = tuple(best_path(chances).tolist())
    best = max(product(range(16), repeat=3), key=lambda path: score(path, chances))
    assert score(found, chances) == pytest.approx(score(best, chances))


def test_one_wrong_frame_does_not_leave_the_path() -> None:
    chances = torch.full((21, BINS), 0.01)
    chances[:, 150] = 0.5
    chances[10, 210] = 0.9  # an octave above, stronger, for 10 ms
    assert best_path(chances).tolist() == [150] * 21


def test_an_octave_that_lasts_is_followed_at_once() -> None:
    chances = torch.full((40, BINS), 0.01)
    chances[:20, 150] = chances[20:, 210] = 0.9
    assert best_path(chances).tolist() == [150] * 20 + [210] * 20


def test_one_frame_is_a_path() -> None:
    assert best_path(torch.eye(5)[3:4]).tolist() == [3]
