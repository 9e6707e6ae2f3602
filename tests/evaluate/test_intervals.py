"""Intervals hold the truth about as often as they say, and statistics are those of all clips."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovits.evaluate import bootstrap
from sovits.evaluate.bootstrap import estimate

RANDOM = np.random.default_rng(3)


def means(values: np.ndarray) -> np.ndarray:
    return np.stack([values, np.ones_like(values)], 1)


def test_intervals_of_a_mean_hold_it_as_often_as_they_say() -> None:
    trials, held = 300, 0
    for _ in range(trials):
        found = estimate(means(RANDOM.normal(5, 2, 40)), bootstrap.ratio, resamples=400)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 5 <= found.high
    assert 0.90 <= held / trials <= 0.98


def test_intervals_are_as_wide_as_theory_has_them() -> None:
    values = RANDOM.normal(0, 1, 400)
    found = estimate(means(values), bootstrap.ratio, resamples=4000)
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.05)


def test_the_same_seed_draws_the_same_clips() -> None:
    sums = means(RANDOM.normal(0, 1, 12))
    assert estimate(sums, bootstrap.ratio) == estimate(sums, bootstrap.ratio)
    assert estimate(sums, bootstrap.ratio) != estimate(sums, bootstrap.ratio, seed=1)


def test_one_clip_has_no_interval() -> None:
    assert estimate(means(np.array([0.7])), bootstrap.ratio)[:3] == (0.7, None, None)
    nowhere = estimate(np.zeros((4, 2)), bootstrap.ratio)
    assert np.isnan(nowhere.value)
    assert (nowhere.low, nowhere.high, nowhere.clips) == (None, None, 4)


def test_equal_clips_vary_by_nothing() -> None:
    found = estimate(means(np.full(9, 0.25)), bootstrap.ratio)
    assert found[:3] == pytest.approx((0.25, 0.25, 0.25))


def test_draws_in_which_nothing_is_left_are_passed_over() -> None:
    sums = np.array([[1.0, 2.0], [0.0, 0.0], [0.0, 0.0]])  # two clips without any reference
    found = estimate(sums, bootstrap.ratio)
    assert found[:3] == (0.5, 0.5, 0.5)


def test_long_clips_weigh_more() -> None:
    assert bootstrap.ratio(np.array([[1.0, 10.0], [30.0, 90.0]]).sum(0)) == pytest.approx(0.31)


@given(st.integers(2, 30), st.integers(0, 1000))
def test_correlation_is_that_of_all_pairs(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    a, noise = random.normal(size=(2, count))
    b = 0.6 * a + noise
    halves = np.split(np.arange(count), [count // 2])
    sums = np.array([bootstrap.correlation_sums(a[i], b[i]) for i in halves])
    expected = np.corrcoef(a, b)[0, 1]
    assert bootstrap.correlation(sums.sum(0)) == pytest.approx(expected, abs=1e-9)


def test_what_stands_still_has_no_correlation() -> None:
    for value in (0.0, 7.643856, -1.3):
        sums = bootstrap.correlation_sums(np.full(50, value), RANDOM.normal(size=50))
        assert np.isnan(bootstrap.correlation(np.array(sums)))


def test_rates_and_roots_and_scores() -> None:
    assert bootstrap.root_ratio(np.array([9.0, 4.0])) == pytest.approx(1.5)
    assert bootstrap.change_of_ratio(np.array([3.0, 4.0, 1.0, 2.0])) == pytest.approx(0.25)
    assert bootstrap.f_score(np.array([6.0, 4.0])) == pytest.approx(0.75)
    assert np.isnan(bootstrap.f_score(np.array([0.0, 0.0])))
