"""Blocks compute a stream as they compute a whole, and look ahead exactly as far as they say."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sovits.convnext import Block, DepthwiseConv, Stack, spread

CHANNELS, FRAMES = 6, 40


def stack(ahead: tuple[int, ...], kernel_size: int = 5) -> Stack:
    """Return blocks whose every part is heard."""
    torch.manual_seed(3)
    made = Stack(CHANNELS, ahead, kernel_size, expansion=2)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, 0, 0.5)
    return made.requires_grad_(False)


def sound(seed: int = 0) -> Tensor:
    return torch.randn(2, FRAMES, CHANNELS, generator=torch.Generator().manual_seed(seed))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.sampled_from([(0,), (2, 1, 0)]))
def test_a_stream_of_any_chunks_is_the_whole(chunks: list[int], ahead: tuple[int, ...]) -> None:
    network, x = stack(ahead), sound()
    whole, _ = network(x)
    parts, past, begin = [], None, 0
    for size in [*chunks, FRAMES]:
        if begin == FRAMES:
            break
        part, past = network(x[:, begin : begin + size], past)
        parts.append(part)
        begin = min(begin + size, FRAMES)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("ahead", [(0, 0), (1, 0), (2, 2), (4, 3)])
def test_a_frame_depends_on_its_context_and_its_future_and_on_no_more(
    ahead: tuple[int, ...],
) -> None:
    network, x = stack(ahead), sound()
    changed, at = x.clone(), 17
    changed[:, at] += 1
    moved = (network(changed)[0] - network(x)[0]).abs().amax((0, 2))
    # Output comes `look_ahead` late, so that no frame moves before the one that changed.
    assert not moved[:at].any()
    assert moved[at] > 0
    assert moved[at + network.context] > 0
    assert not moved[at + network.context + 1 :].any()
    assert network.look_ahead == sum(ahead)


def test_what_looks_ahead_answers_that_much_later() -> None:
    block = Block(CHANNELS, 5, 3).requires_grad_(False)
    torch.nn.init.zeros_(block.scale)
    x = sound()
    late, _ = block(x)
    torch.testing.assert_close(late[:, 3:], x[:, :-3], rtol=0, atol=0)
    assert not late[:, :3].any()


def test_the_depthwise_convolution_is_the_usual_one_over_the_past() -> None:
    conv, x = DepthwiseConv(CHANNELS, 4).requires_grad_(False), sound()
    padded = F.pad(x.transpose(1, 2), (3, 0))
    usual = F.conv1d(padded, conv.conv.weight[:, :, 0], conv.conv.bias, groups=CHANNELS)
    torch.testing.assert_close(conv(x)[0], usual.transpose(1, 2), rtol=1e-5, atol=1e-6)


def test_the_shift_is_added_where_it_is_said_to_be() -> None:
    network, x = stack((1, 0)), sound()
    shift = torch.randn(2, 1, CHANNELS)
    whole, _ = network(x, shift=shift)
    parts, past = [], None
    for part in x.split(7, 1):
        y, past = network(part, past, shift)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-5)
    assert not torch.allclose(whole, network(x)[0])


def test_the_past_does_not_keep_the_whole_and_is_not_changed() -> None:
    network, x = stack((2, 0)), sound()
    _, past = network(x[:, :9])
    kept = [tensor.clone() for tensor in past]
    network(x[:, 9:], past)
    assert all(map(torch.equal, past, kept))
    assert all(tensor.shape == (2, 4, CHANNELS) for tensor in past)


def test_half_precision_is_near_and_its_past_is_float32() -> None:
    network, x = stack((1, 1)), sound()
    with torch.autocast("cpu", torch.bfloat16):
        half, past = network(x)
    whole, _ = network(x)
    assert (half - whole).abs().mean() < 0.03 * whole.abs().mean()
    assert all(tensor.dtype == torch.float32 for tensor in past)


@given(st.integers(0, 30), st.integers(1, 12))
def test_looking_ahead_is_spread_evenly_the_first_most(ahead: int, blocks: int) -> None:
    shares = spread(ahead, blocks)
    assert (len(shares), sum(shares)) == (blocks, ahead)
    assert sorted(shares, reverse=True) == list(shares)
    assert max(shares) - min(shares) <= 1
