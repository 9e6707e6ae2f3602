"""The benchmark of refiners and vocoders measures what it says."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import refining as bench

FRAMES = 90


def tone(hertz: float) -> torch.Tensor:
    times = torch.arange(FRAMES * bench.HOP).double() / bench.RATE
    partials = (torch.sin(2 * math.pi * k * hertz * times) / k for k in range(1, 9))
    return (0.1 * sum(partials)).float()  # type: ignore[union-attr]


def compared(copy: torch.Tensor) -> bench.Copy:
    f0, voiced = torch.full((FRAMES,), 220.0), torch.ones(FRAMES, dtype=torch.bool)
    return bench.compare(tone(220.0), copy, f0, voiced, None)


def test_a_perfect_copy_has_no_error() -> None:
    found = compared(tone(220.0))
    assert found.mel == 0
    assert found.stft == pytest.approx(0, abs=1e-6)
    assert found.cents < 10


def test_a_copy_out_of_tune_is_found_out() -> None:
    assert compared(tone(220.0 * 2 ** (50 / 1200))).cents == pytest.approx(50, abs=10)


def test_rows_are_means_and_errors_add_up_in_power() -> None:
    a = bench.Copy(0.2, 1.0, 3.0, 1.0, (3.0, 2.0), None)
    b = bench.Copy(0.4, 2.0, 4.0, 3.0, None, 2.5)
    assert bench.row("x", [a, b]) == "| x | 0.300 | 1.500 | 3.5 (2.0) | 2.00 (3.00) | 2.50 |"
    assert bench.row("y", [b]).endswith("| - | 2.50 |")
