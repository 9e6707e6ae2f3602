"""Attention by blocks is attention, in memory that grows with time and not with its square."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sovits.models import transformer
from sovits.models.transformer import WINDOW, CausalAttention, RelativeAttention

CHANNELS, HEADS = 12, 2


def attention(seed: int = 0) -> RelativeAttention:
    """Return attention whose relative terms are as loud as the others."""
    torch.manual_seed(seed)
    made = RelativeAttention(CHANNELS, HEADS, 0.1).double().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
    return made


def by_definition(made: RelativeAttention, x: Tensor, mask: Tensor) -> Tensor:
    """Return the sums of Shaw 2018, one query, key and head at a time."""
    width = CHANNELS // HEADS
    project = {
        name: torch.einsum("oc,bct->bot", conv.weight[:, :, 0], x) + conv.bias[:, None]
        for name, conv in (("q", made.conv_q), ("k", made.conv_k), ("v", made.conv_v))
    }
    batch, _, frames = x.shape
    out = torch.zeros_like(x)
    for b in range(batch):
        for head in range(HEADS):
            part = slice(head * width, (head + 1) * width)
            q, k, v = (project[name][b, part].t() for name in "qkv")
            for i in range(frames):
                scores, values = [], []
                for j in range(frames):
                    near = abs(i - j) <= WINDOW
                    key = k[j] + made.emb_rel_k[0, j - i + WINDOW] if near else k[j]
                    value = v[j] + made.emb_rel_v[0, j - i + WINDOW] if near else v[j]
                    score = q[i] @ key / width**0.5
                    scores.append(score if mask[b, 0, j] else torch.full_like(score, -1e4))
                    values.append(value)
                weights = torch.stack(scores).softmax(0)
                out[b, part, i] = weights @ torch.stack(values)
    merged = torch.einsum("oc,bct->bot", made.conv_o.weight[:, :, 0], out)
    return merged + made.conv_o.bias[:, None]  # type: ignore[index]


@pytest.mark.parametrize("frames", [1, 2, WINDOW, WINDOW + 1, 2 * WINDOW + 1, 23])
@pytest.mark.parametrize("queries", [1, 3, WINDOW, 7, 1000])
def test_blocks_make_what_the_definition_says(
    queries: int, frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformer, "QUERIES_AT_ONCE", queries)
    made, x = attention(), torch.randn(2, CHANNELS, frames, dtype=torch.float64)
    mask = torch.ones(2, 1, frames, dtype=torch.float64)
    mask[1, :, -(frames // 3) :] = 0 if frames > 2 else 1
    with torch.no_grad():
        wanted = by_definition(made, x, mask)
        torch.testing.assert_close(made(x, mask), wanted, atol=1e-10, rtol=0)


@given(frames=st.integers(1, 90), queries=st.integers(1, 95), seed=st.integers(0, 9))
def test_blocks_of_any_size_make_the_same(frames: int, queries: int, seed: int) -> None:
    made, x = attention(seed), torch.randn(1, CHANNELS, frames, dtype=torch.float64)
    mask = torch.ones(1, 1, frames, dtype=torch.float64)
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        whole = made(x, mask)
        patch.setattr(transformer, "QUERIES_AT_ONCE", queries)
        torch.testing.assert_close(made(x, mask), whole, atol=1e-10, rtol=0)


def test_gradients_flow_through_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    made, x = attention(), torch.randn(1, CHANNELS, 11, dtype=torch.float64)
    mask, found = torch.ones(1, 1, 11, dtype=torch.float64), []
    for queries in (100, 4):
        monkeypatch.setattr(transformer, "QUERIES_AT_ONCE", queries)
        made.zero_grad()
        made(x, mask).square().sum().backward()
        found.append([parameter.grad.clone() for parameter in made.parameters()])  # type: ignore[union-attr]
    for whole, blocks in zip(*found, strict=True):
        torch.testing.assert_close(blocks, whole)
        assert whole.any()


def test_causal_attention_does_not_look_ahead() -> None:
    torch.manual_seed(0)
    made = CausalAttention(CHANNELS, HEADS, 0.1).double().eval()
    x = torch.randn(1, CHANNELS, 20, dtype=torch.float64)
    changed = x.clone()
    changed[..., 13:] += 1
    with torch.no_grad():
        before, after = (made(y, torch.ones(1, 1, 20)) for y in (x, changed))
    torch.testing.assert_close(after[..., :13], before[..., :13], atol=1e-12, rtol=0)
    assert ((after - before)[..., 13:].abs().amax(1) > 1e-3).all()


MEASURE = """
    import resource
    from pathlib import Path
    import torch
    torch.set_num_threads(1)
    from sovits.config import SynthesizerConfig
    from sovits.models.encoders import PriorEncoder

    encoder = PriorEncoder(SynthesizerConfig()).eval()
    status = Path("/proc/self/status")

    def peak():
        # Linux counts the parent's memory in ru_maxrss of a child.
        if status.exists():
            line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
            return int(line.split()[1])
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @torch.inference_mode()
    def peak_after(frames):
        f0, mask = torch.full((1, frames), 200.0), torch.ones(1, 1, frames)
        encoder(torch.randn(1, 192, frames), f0, mask)
        return peak()

    before = peak_after(8)
    print(*(peak_after(frames) - before for frames in (2584, 5168)))
"""


@pytest.mark.slow
def test_a_minute_in_one_piece_needs_little_memory() -> None:
    """Elsewhere each relative tensor of 60 s takes 0.43 GB; here all takes 0.2 GB (measured)."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEASURE)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    half_a_minute, minute = map(int, done.stdout.split())  # KiB
    assert minute < 400_000
    assert minute < 2.5 * half_a_minute
