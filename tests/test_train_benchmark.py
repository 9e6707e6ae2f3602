"""The benchmarks of training say what was promised, what does not hold, and only once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import train
from section import put

COST = {"fork": 16.0, "fork_mb": 5000.0, "ours": 7.0, "ours_mb": 3000.0, "half": 5.0}


@pytest.mark.parametrize(("ours", "missed"), [(7.0, "none"), (8.5, "hifi-gan")])
def test_promises_that_do_not_hold_are_named(ours: float, missed: str) -> None:
    lines = train.page({"hifi-gan": COST | {"ours": ours}, "ms-istft": COST}, 4, 3)
    assert f"| hifi-gan | 16.00 | {ours:.2f} | {16 / ours:.1f} | 2 | 5.00 | 5000 | 3000 |" in lines
    assert lines[-1] == f"Promises that do not hold: {missed}."
    assert max(map(len, lines)) < 125


def test_each_benchmark_replaces_its_own_part_of_the_page() -> None:
    page = put(put("# Benchmarks\n", "a.py", ["one"]), "b.py", ["two"])
    again = put(page, "a.py", ["three"])
    assert again == page.replace("one", "three")
    assert (again.count("a.py writes"), again.count("two")) == (1, 1)


def test_both_sides_train_with_the_same_batch_and_segment(tmp_path: Path) -> None:
    for kind in train.KINDS:
        config = train.settings(kind, tmp_path, 4)
        assert (config.train.batch_size, config.train.segment_frames) == (4, train.SEGMENT)
        assert config.train.adversarial_from == 0
