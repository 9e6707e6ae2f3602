"""Content moves towards its nearest neighbours, and nowhere else."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from sovits.retrieval import FRAMES_AT_ONCE, Index


def test_cluster_centres_replace_what_is_nearest_to_them() -> None:
    """As so-vits-svc: `r * centre + (1 - r) * content`, with the one nearest centre."""
    index = Index(torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]))
    content = torch.tensor([[1.0, 8.0, 1.0], [1.0, 3.0, 7.0]])
    nearest = torch.tensor([[0.0, 10.0, 0.0], [0.0, 0.0, 10.0]])
    torch.testing.assert_close(index.blend(content, 1.0), nearest)
    torch.testing.assert_close(index.blend(content, 0.25), 0.25 * nearest + 0.75 * content)
    assert torch.equal(index.blend(content, 0.0), content)


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


def test_what_is_in_the_index_stays_as_it_is() -> None:
    vectors = torch.randn(50, 16)
    torch.testing.assert_close(Index(vectors, 4).blend(vectors.t(), 1.0), vectors.t())


def test_long_content_is_blended_like_short() -> None:
    index, content = Index(torch.randn(30, 8), 4), torch.randn(8, FRAMES_AT_ONCE + 77)
    whole = index.blend(content, 0.7)
    parts = [index.blend(part, 0.7) for part in content.split(100, dim=1)]
    torch.testing.assert_close(whole, torch.cat(parts, dim=1), atol=1e-4, rtol=1e-4)
