"""Decoding in stretches gives what decoding at once gives, in few different lengths."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference_cases import AUDIO, RATES, clip, random_weights, small
from torch import Tensor

from sovits.config import AudioConfig, DecoderKind, SynthesizerConfig
from sovits.models import synthesizer as module
from sovits.models.noise import BLOCK, NoiseSource
from sovits.models.synthesizer import Synthesizer, usual_length, windows

KINDS = [*RATES, "harmonic"]


@contextmanager
def window(frames: int) -> Iterator[None]:
    """Decode so many frames at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "WINDOW", frames)
        yield


def made(kind: DecoderKind, **changes: object) -> Synthesizer:
    """Return a small network of random weights that makes 512 samples a frame."""
    config = (
        replace(small("hifi-gan"), decoder=kind) if kind == "harmonic" else small(kind, **changes)
    )
    network = Synthesizer(config, AUDIO, posterior=False).eval()
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    weights = random_weights(shapes)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return network.fold()


def sing(network: Synthesizer, frames: int, kept: slice | None = None) -> Tensor:
    """Return sound with noise, from some phase."""
    heard = clip(frames)
    return network.infer(
        torch.from_numpy(heard.content)[None],
        torch.from_numpy(heard.f0)[None],
        torch.from_numpy(heard.voiced)[None],
        torch.tensor([1]),
        noise=NoiseSource(3, 40),
        phase=torch.tensor([0.3], dtype=torch.float64),
        kept=kept,
    )[0]


@given(
    frames=st.integers(1, 5000),
    bounds=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    reach=st.integers(0, 400),
)
def test_windows_cover_what_is_asked_for_and_what_it_depends_on(
    frames: int, bounds: tuple[float, float], reach: int
) -> None:
    first, last = sorted(round(bound * frames) for bound in bounds)
    at = first
    for start, stop, begin, end in windows(first, last, frames, reach):
        assert begin == at < end
        at = end
        assert 0 <= start <= max(0, begin - reach)
        assert min(frames, end + reach) <= stop <= frames
        assert stop - start <= usual_length(max(module.WINDOW, 4 * reach))
    assert at == last


def test_windows_have_few_lengths() -> None:
    lengths = {
        stop - start
        for frames in map(usual_length, range(1, 2000))
        for kept in range(1, frames - 86, 3)
        for start, stop, _, _ in windows(43, 43 + kept, frames, 16)
    }
    assert len(lengths) <= 12
    assert all(length % 64 == 0 for length in lengths)


@pytest.mark.parametrize("kind", KINDS)
def test_stretches_are_those_of_the_whole(kind: DecoderKind) -> None:
    network, frames = made(kind), 300
    whole = sing(network, frames)
    assert whole.std() > 1e-3
    with window(64):
        longest = max(64, 4 * network.reach)
        assert len(list(windows(0, frames, frames, network.reach))) > 2
        assert longest < frames
        cut, part = sing(network, frames), sing(network, frames, slice(100, 230))
    # Measured: -131, -135, -120, -120 and -95 dB, as the light decoder takes a logarithm.
    for left, right in ((cut, whole), (part, whole[100 * 512 : 230 * 512])):
        assert 20 * math.log10((left - right).std() / whole.std()) < -90


@pytest.mark.parametrize("kind", KINDS)
def test_no_sample_depends_on_more_than_is_said(kind: DecoderKind) -> None:
    network, frames = made(kind), 120
    reach, hop = network.reach, AUDIO.hop_length
    z = torch.randn(1, network.config.inter_channels, frames)
    f0, speaker = torch.full((1, frames), 200.0), torch.randn(1, 8, 1)
    changed = z.clone()
    changed[:, :, 60] += 1
    with torch.no_grad():
        before, after = (network._decode(x, speaker, f0, None, None)[0][0, 0] for x in (z, changed))
    differs = ((before - after).abs() > 1e-6).nonzero()
    low, high = int(differs.min()) / hop, int(differs.max()) / hop
    assert 60 - reach < low < 60 < high < 61 + reach
    assert reach < 3 * max(60 - low, high - 60)  # and not much more is heard than is needed


def test_wide_blocks_reach_far_and_still_end() -> None:
    config = SynthesizerConfig(resblock_dilations=((1, 3, 4096),) * 3)
    reach = module.decoder_reach(config, AudioConfig())
    assert reach > 2000
    assert len(list(windows(0, 50_000, 50_000, reach))) < 20


@given(
    seed=st.integers(0, 5),
    start=st.integers(-1000, 1000),
    frames=st.integers(1, 700),
    cut=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_noise_of_a_stretch_is_that_of_the_whole(
    seed: int, start: int, frames: int, cut: tuple[float, float]
) -> None:
    first, last = sorted(min(frames - 1, int(share * frames)) for share in cut)
    last += 1
    whole, part = NoiseSource(seed, start), NoiseSource(seed, start + first)
    torch.testing.assert_close(
        part.latent(3, last - first), whole.latent(3, frames)[..., first:last], atol=0, rtol=0
    )
    torch.testing.assert_close(
        part.samples(last - first, 7),
        whole.samples(frames, 7)[..., 7 * first : 7 * last],
        atol=0,
        rtol=0,
    )
    assert torch.equal(part.phases(8), whole.phases(8))


def test_noise_is_normal_and_never_the_same_twice() -> None:
    noise = NoiseSource(1).latent(8, 4 * BLOCK)[0]
    assert abs(float(noise.mean())) < 0.05
    assert float(noise.std()) == pytest.approx(1, rel=0.03)
    blocks = noise.unflatten(1, (4, BLOCK)).transpose(0, 1).flatten(1)
    assert float((torch.corrcoef(blocks) - torch.eye(4)).abs().max()) < 0.1
    assert not torch.equal(noise, NoiseSource(2).latent(8, 4 * BLOCK)[0])
    source = NoiseSource(1).samples(BLOCK, 8).view(-1)
    assert (
        abs(float(torch.corrcoef(torch.stack([source, noise[:, :BLOCK].t().flatten()]))[0, 1]))
        < 0.1
    )
