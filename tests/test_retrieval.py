"""Content moves towards its nearest neighbours, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sovits.errors import ConfigError
from sovits.retrieval import FRAMES_AT_ONCE, VECTORS_AT_ONCE, Index, Lists, Mixture
from sovits.train.index import in_lists

CHANNELS = 12


def like_speech(frames: int, seed: int = 0, sounds: int = 40) -> Tensor:
    """Return `[frames, CHANNELS]` around a few sounds, as content lies."""
    generator = torch.Generator().manual_seed(seed)
    kinds = 3 * torch.randn(sounds, CHANNELS, generator=torch.Generator().manual_seed(7))
    spread = torch.randn(frames, CHANNELS, generator=generator)
    return kinds[torch.randint(sounds, (frames,), generator=generator)] + spread


def listed(vectors: Tensor, count: int, neighbours: int = 4, probed: int = 16) -> Index:
    """Return an index of lists around some of the vectors."""
    bank = in_lists(vectors, vectors[:: len(vectors) // count][:count].float())
    return Index(bank.vectors, neighbours, bank.lists, probed)


def test_cluster_centres_replace_what_is_nearest_to_them() -> None:
    """As so-vits-svc: `r * centre + (1 - r) * content`, with the one nearest centre."""
    index = Index(torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]))
    content = torch.tensor([[1.0, 8.0, 1.0], [1.0, 3.0, 7.0]])
    nearest = torch.tensor([[0.0, 10.0, 0.0], [0.0, 0.0, 10.0]])
    torch.testing.assert_close(index.blend(content, 1.0), nearest)
    torch.testing.assert_close(index.blend(content, 0.25), 0.25 * nearest + 0.75 * content)
    assert torch.equal(index.blend(content, 0.0), content)


def test_weights_by_hand() -> None:
    """Distances 1, 2 and 3 are 1, 4 and 9 squared, so the weights are as 1, 1/16 and 1/81."""
    index = Index(torch.tensor([[1.0, 0.0], [0.0, -2.0], [0.0, 3.0], [50.0, 50.0]]), 3)
    moved = index.nearest(torch.zeros(2, 1))
    total = 1 + 1 / 16 + 1 / 81
    expected = torch.tensor([[1 / total], [(-2 / 16 + 3 / 81) / total]])
    torch.testing.assert_close(moved, expected)


@given(
    size=st.integers(1, 40),
    neighbours=st.integers(1, 9),
    frames=st.integers(0, 60),
    channels=st.integers(1, 12),
    seed=st.integers(0, 1000),
)
def test_neighbours_are_weighted_by_the_inverse_square_of_their_squared_distance(
    size: int, neighbours: int, frames: int, channels: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    bank = random.standard_normal((size, channels))
    content = random.standard_normal((channels, frames))
    expected = np.empty_like(content)
    for i, frame in enumerate(content.T):
        squared = ((bank - frame) ** 2).sum(1)
        near = np.argsort(squared)[:neighbours]
        weights = 1 / np.maximum(squared[near], 1e-9) ** 2
        expected[:, i] = weights @ bank[near] / weights.sum()
    index = Index(torch.from_numpy(bank), neighbours)
    torch.testing.assert_close(
        index.blend(torch.from_numpy(content), 1.0), torch.from_numpy(expected)
    )


@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_the_nearest_are_those_of_exact_arithmetic(offset: float) -> None:
    """Also far from zero, where quick distances in single precision lose most of their digits."""
    vectors = torch.randn(VECTORS_AT_ONCE + 900, 8) + offset
    frames = torch.randn(200, 8) + offset
    near = Index(vectors, 4).search(frames)
    away = (frames.double()[:, None] - vectors.double()).square().sum(-1)
    squared, nearest = away.topk(4, largest=False)
    if not offset:
        assert torch.equal(near.which, nearest)
    torch.testing.assert_close(
        near.squared.double(), squared, rtol=1e-3 if offset else 1e-5, atol=0
    )


def test_lists_find_nearly_all_that_is_nearest() -> None:
    vectors, frames = like_speech(20_000), like_speech(400, seed=1)
    whole, quick = Index(vectors, 4), listed(vectors, 280)
    expected = whole.search(frames)
    found = quick.search(frames)
    same = quick.vectors[found.which][:, :, None] == vectors[expected.which][:, None]
    assert float(same.all(-1).any(1).float().mean()) > 0.95
    assert float((found.squared[:, 0] / expected.squared[:, 0]).mean()) < 1.01


def test_all_lists_are_as_good_as_none() -> None:
    vectors, content = like_speech(3000), like_speech(300, seed=1).t()
    all_lists = listed(vectors, 50, probed=50)
    torch.testing.assert_close(all_lists.nearest(content), Index(vectors, 4).nearest(content))


def test_small_lists_give_what_they_hold() -> None:
    """Four neighbours are wanted where each list holds one or two."""
    vectors = torch.tensor([[0.0], [1.0], [10.0]])
    lists = Lists(torch.tensor([[0.5], [10.0]]), (2, 3))
    index = Index(vectors, 4, lists, probed=1)
    assert index.nearest(torch.tensor([[9.0, 0.1]])).tolist()[0][0] == 10.0
    near = index.search(torch.tensor([[9.0], [0.1]]))
    assert near.squared[:, 0].tolist() == pytest.approx([1.0, 0.01])
    assert near.squared.isinf().sum(dim=1).tolist() == [2, 1]
    everything = Index(vectors, 4, lists, probed=9).nearest(torch.tensor([[9.0, 0.1]]))
    torch.testing.assert_close(everything, Index(vectors, 4).nearest(torch.tensor([[9.0, 0.1]])))


def test_what_is_in_the_index_stays_as_it_is() -> None:
    vectors = torch.randn(50, 16)
    torch.testing.assert_close(Index(vectors, 4).blend(vectors.t(), 1.0), vectors.t())


def test_a_ratio_of_one_leaves_nothing_of_the_source() -> None:
    """What is made of a target's frames lies between them, whatever is asked."""
    vectors = like_speech(500)
    for index in (Index(vectors), Index(vectors, 4), listed(vectors, 20)):
        moved = index.blend(40 * torch.randn(CHANNELS, 90), 1.0).t()
        assert bool((moved <= vectors.amax(0) + 1e-5).all())
        assert bool((moved >= vectors.amin(0) - 1e-5).all())
    one = Index(vectors).blend(torch.randn(CHANNELS, 90), 1.0).t()
    assert bool((one[:, None] == vectors).all(-1).any(-1).all())


def test_frames_that_are_equal_or_far_away_make_no_nan() -> None:
    twice = Index(torch.ones(9, 3), 4)
    for level in (1.0, 1e-30, 1e18):
        moved = twice.blend(torch.full((3, 2), level), 1.0)
        assert torch.equal(moved, torch.ones(3, 2))


@pytest.mark.parametrize("lists", [0, 60])
def test_a_stream_is_moved_as_the_whole_is(lists: int) -> None:
    """A pure function of frames: how many come at once changes nothing."""
    vectors, content = like_speech(4000), like_speech(FRAMES_AT_ONCE + 77, seed=1).t()
    index = listed(vectors, lists) if lists else Index(vectors, 4)
    whole = index.blend(content, 0.7)
    for size, until in ((1, 90), (100, whole.shape[1])):
        parts = [index.blend(part, 0.7) for part in content[:, :until].split(size, dim=1)]
        torch.testing.assert_close(torch.cat(parts, dim=1), whole[:, :until], atol=1e-6, rtol=0)


def test_vectors_in_half_precision_move_content_in_single() -> None:
    vectors, content = like_speech(3000).half(), like_speech(60, seed=1).t()
    for index in (Index(vectors, 4), listed(vectors, 30, probed=30)):
        moved = index.blend(content, 0.5)
        assert moved.dtype == torch.float32
        torch.testing.assert_close(moved, Index(vectors.float(), 4).blend(content, 0.5))


def test_an_index_can_move_to_a_device() -> None:
    index = listed(like_speech(300), 9)
    assert index.to("cpu") is index
    beside = index.to("meta")
    assert (beside.vectors.device.type, beside.lists) == ("meta", None)


# Several speakers


def test_one_speaker_alone_is_a_mixture_of_one() -> None:
    content = like_speech(70, seed=1).t()
    alice, bob = Index(like_speech(300, seed=2), 4), Index(like_speech(200, seed=3), 4)
    for shares in (torch.tensor([2.0, 0.0]), torch.tensor([[2.0], [0.0]]).expand(2, 70)):
        moved = Mixture((alice, bob), shares).blend(content, 0.6)
        torch.testing.assert_close(moved, alice.blend(content, 0.6))
    assert torch.equal(Mixture((alice, bob), torch.ones(2)).blend(content, 0.0), content)


def test_speakers_are_mixed_by_their_shares_frame_by_frame() -> None:
    content = like_speech(50, seed=1).t()
    alice, bob = Index(torch.ones(1, CHANNELS)), Index(-torch.ones(1, CHANNELS))
    still = Mixture((alice, bob), torch.tensor([3.0, 1.0])).nearest(content)
    torch.testing.assert_close(still, torch.full((CHANNELS, 50), 0.5))
    rising = torch.linspace(0, 1, 50)
    moved = Mixture((alice, bob), torch.stack([rising, 1 - rising])).nearest(content)
    torch.testing.assert_close(moved, (2 * rising - 1).expand(CHANNELS, 50))


@pytest.mark.parametrize("shares", [[1.0, -0.1], [0.0, 0.0], [float("nan"), 1.0]])
def test_shares_that_are_none_are_refused(shares: list[float]) -> None:
    index = Index(torch.ones(1, CHANNELS))
    with pytest.raises(ConfigError, match=r"shares is .*, but must be at least 0, and not all 0"):
        Mixture((index, index), torch.tensor(shares))
