"""Speakers are heard as evenly as is asked for, whoever of them has more clips."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_training import make_features, toy_config

from sovits.config import Config
from sovits.train.dataset import Batches, list_recordings, quotas


def uneven(folder: Path, balance: float) -> tuple[Config, Batches]:
    """Write ten clips of one speaker and two of another."""
    clips = [folder / "alice" / f"{i}.wav" for i in range(10)]
    clips += [folder / "bob" / f"{i}.wav" for i in range(2)]
    for i, clip in enumerate(clips):
        make_features(clip, 24, 110.0, seed=i)
    (folder / "train.txt").write_text("".join(f"{clip}\n" for clip in clips))
    config = toy_config(folder, batch_size=3, balance=balance)
    return config, Batches(list_recordings(folder / "train.txt", config), config)


@given(st.dictionaries(st.integers(0, 9), st.integers(1, 60), min_size=1), st.floats(0, 1))
def test_an_epoch_is_as_long_as_ever_and_forgets_nobody(
    clips: dict[int, int], balance: float
) -> None:
    found = quotas(clips, balance)
    assert sum(found.values()) == sum(clips.values())
    assert min(found.values()) >= 1
    assert quotas(clips, 0.0) == clips
    even = quotas(clips, 1.0).values()
    assert max(even) - min(even) <= 1
    ordered = sorted(clips, key=clips.__getitem__)
    for fewer, more in itertools.pairwise(ordered):
        assert found[fewer] <= found[more] + 1


@pytest.mark.parametrize(("balance", "bobs"), [(1.0, 6), (0.5, 4), (0.0, 2)])
def test_speakers_are_heard_as_evenly_as_asked(tmp_path: Path, balance: float, bobs: int) -> None:
    _, batches = uneven(tmp_path, balance)
    assert len(batches) == 4
    heard: Counter[int] = Counter()
    for epoch in range(10):
        batches.epoch = epoch
        order = batches.order()
        assert len(order) == 12
        assert sum(number >= 10 for number in order) == bobs
        heard.update(order)
        seen = sum(int((batches[i].batch.speaker == 1).sum()) for i in range(3))
        assert seen <= bobs  # the last of ten batches is of long crops, and fewer
    for speaker in (range(10), range(10, 12)):
        counts = [heard[number] for number in speaker]
        assert max(counts) - min(counts) <= 1


def test_the_order_depends_on_seed_and_epoch_alone(tmp_path: Path) -> None:
    config, batches = uneven(tmp_path, 1.0)
    orders = []
    for epoch in (3, 4, 3):
        batches.epoch = epoch
        orders.append(batches.order())
    assert orders[0] == orders[2] != orders[1]
    other = replace(config, train=replace(config.train, seed=5))
    again = Batches(batches.recordings, other)
    again.epoch = 3
    assert again.order() != orders[0]
    ranks = [Batches(batches.recordings, config, rank=rank, ranks=2) for rank in (0, 1)]
    for part in ranks:
        part.epoch = 3
        assert part.order() == orders[0]
