"""What the bundled encoder hears in real recordings of words and of singing."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from sovits.audio.io import read
from sovits.audio.resample import resample
from sovits.features.content import load_content_encoder
from sovits.features.content.student import AUDIO, StudentContent
from sovits.types import Content, Wave

HOP = AUDIO.hop_length
EXAMPLES = Path(__file__).parents[3] / "examples"


class Heard(NamedTuple):
    """A recording, and what the encoder hears in it."""

    wave: Wave
    content: Content
    sounding: Tensor
    """Frames that are no pause."""


@cache
def bundled(*, bf16: bool = False) -> StudentContent:
    encoder = load_content_encoder("sovits-content", bf16=bf16)
    assert isinstance(encoder, StudentContent)
    return encoder


@pytest.fixture(scope="module", params=["speech", "song"])
def heard(request: pytest.FixtureRequest) -> Heard:
    wave, rate = read(EXAMPLES / f"{request.param}.flac", mono=True)
    at_rate = resample(wave[0], rate, AUDIO.sample_rate)
    at_rate = at_rate[: len(at_rate) // (4 * HOP) * 4 * HOP]
    level = at_rate.view(-1, HOP).square().mean(1).sqrt()
    return Heard(at_rate, bundled().encode(at_rate), level > 0.1 * level.quantile(0.95))


def apart(one: Content, other: Content) -> float:
    """Return by how much two contents differ; 2 for any two that have nothing to do with another.

    That is in mean squares, and in variances of the second.
    """
    return float((one - other).square().sum(0).mean() / other.var(1).sum())


def nearest(content: Content) -> Tensor:
    """Return the unit that is nearest to each frame."""
    return torch.cdist(content.T, bundled().network.units).argmin(1)


def test_content_changes_as_fast_as_sounds_of_speech_do(heard: Heard) -> None:
    mean = heard.content[:, heard.sounding].mean(1, keepdim=True)

    def alike(frames: int) -> float:
        one, other = heard.content[:, :-frames] - mean, heard.content[:, frames:] - mean
        both = heard.sounding[:-frames] & heard.sounding[frames:]
        return float(torch.cosine_similarity(one, other, dim=0)[both].mean())

    assert alike(1) > 0.75
    assert alike(1) > alike(2) > alike(4) > alike(8) > alike(16)
    assert alike(16) < 0.25  # 0.19 s
    assert abs(alike(86)) < 0.15  # 1 s
    said = nearest(heard.content)
    changes = (said[1:] != said[:-1]).float().mean() * AUDIO.frame_rate
    assert 15 < changes < 60
    assert len(said[heard.sounding].unique()) > 100


def test_content_belongs_to_the_words_wherever_they_stand(heard: Heard) -> None:
    """With the halves of a recording exchanged, content is that of the other half there."""
    half = heard.content.shape[1] // 2
    first, second = heard.wave[: half * HOP], heard.wave[half * HOP :]
    exchanged = bundled().encode(torch.cat([second, first]))
    back = torch.cat([exchanged[:, half:], exchanged[:, :half]], 1)
    assert apart(back, heard.content) < 0.08
    assert apart(back[:, half // 2 : half], heard.content[:, half // 2 : half]) < 0.03
    assert apart(exchanged, heard.content) > 1.5


@pytest.mark.parametrize(
    ("gain", "most", "same"), [(0.5, 0.03, 0.85), (2.0, 0.03, 0.85), (0.25, 0.1, 0.75)]
)
def test_a_copy_at_another_level_says_nearly_the_same(
    heard: Heard, gain: float, most: float, same: float
) -> None:
    """Nearly, as faint sounds fall below what counts as silent; a whisper of it says less."""
    copy = bundled().encode(gain * heard.wave)
    sounding = heard.sounding
    assert 0 < apart(copy[:, sounding], heard.content[:, sounding]) < most
    found = (nearest(copy) == nearest(heard.content))[sounding].float().mean()
    assert found > same
    faint = bundled().encode(0.003 * heard.wave)
    assert apart(faint[:, sounding], heard.content[:, sounding]) > 4 * most


def test_a_stream_of_words_is_the_whole(heard: Heard) -> None:
    """To a hundredth where two units are as near: there a rounding decides how much each counts."""
    wave, past, parts = heard.wave[: 400 * HOP], None, []
    for chunk in wave.split(1764):  # 40 ms
        content, past = bundled().push(chunk, past)
        parts.append(content)
    streamed = torch.cat(parts, 1)
    whole = heard.content[:, : streamed.shape[1]]
    torch.testing.assert_close(streamed, whole, rtol=0, atol=1e-3)


def test_half_precision_hears_nearly_the_same(heard: Heard) -> None:
    half = bundled(bf16=True)
    rough = half.encode(heard.wave)
    assert rough.dtype == torch.float32
    assert 0 < apart(rough, heard.content) < 0.01
    first, past = half.push(heard.wave[:100_000])
    rest, _ = half.push(heard.wave[100_000:], past)
    found = torch.cat([first, rest], 1)
    assert apart(found, rough[:, : found.shape[1]]) < 0.01


def test_content_lies_among_the_units(heard: Heard) -> None:
    units = bundled().network.units
    directions = torch.cat([torch.randn(200, 192), heard.content.T[::7] - units.mean(0)])
    ends, found = directions @ units.T, directions @ heard.content
    assert (found.amax(1) <= ends.amax(1) + 1e-3 * directions.norm(dim=1)).all()
    # Most frames lie at one unit or between a few: half-way to one from the mean of all is rare.
    gap = torch.cdist(heard.content.T, units).amin(1).square()
    assert gap[heard.sounding].median() < 0.3 * units.var(0).sum()
