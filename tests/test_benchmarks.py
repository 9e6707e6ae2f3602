"""The page that `make bench` writes says what was measured."""

from __future__ import annotations

import importlib.util
from pathlib import Path

RUN = Path(__file__).parents[1] / "benchmarks" / "run.py"


def test_a_row_gives_both_sides_and_their_ratio() -> None:
    spec = importlib.util.spec_from_file_location("bench_run", RUN)
    assert spec is not None
    assert spec.loader is not None
    run = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run)
    fork, ours = {"cpu": 0.6, "peak_mb": 1500.4}, {"cpu": 0.4, "peak_mb": 800.0}
    line = run.row("synthesizer", fork, ours)
    assert line == "| synthesizer | 0.600 | 0.400 | 1.50 | 1500 | 800 |"
    assert line in run.page([line], [])
