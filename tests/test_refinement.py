"""A refinement is the same however its sound is cut, keeps silence, and forgets what is over."""

from __future__ import annotations

import math
from itertools import pairwise

import made_refiners
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sovits.audio.mel import VOCODER_MEL
from sovits.config import ConvertOptions
from sovits.mixing import Mix
from sovits.models.decoders.source import frame_phases
from sovits.models.noise import NoiseSource
from sovits.refine import MelVocoder, Refiner, Refining
from sovits.refinement import Conditions, Refinement
from sovits.types import F0, Mel, Wave

HOP, FRAMES = 512, 96
REFINER = made_refiners.refiner(n_speakers=3)
ALONE = Mix(("b",), (1,))
OPTIONS = ConvertOptions(refine=0.25, refine_steps=2, sampler="ddim")


class Tones:
    """A vocoder that costs nothing: a tone as loud as the mel of the frames around it."""

    audio, reach = VOCODER_MEL, 3

    def synthesize(
        self, mel: Mel, f0: F0, *, phase: Tensor | None = None, noise: NoiseSource | None = None
    ) -> Wave:
        """Return `[1, frames * hop_length]`."""
        level = F.avg_pool1d(F.pad(mel[:, ::7].mean(1), (3, 3)), 7, stride=1).exp()
        turns = frame_phases(f0, 44_100, HOP, phase)[:, :-1, None]
        steps = torch.arange(HOP) / 44_100
        drawn = torch.zeros(1) if noise is None else 0.01 * noise.samples(f0.shape[1], HOP)[0]
        tone = torch.sin(2 * math.pi * (turns + f0[..., None] * steps)).flatten(1)
        return 4 * level.repeat_interleave(HOP, 1) * (tone + drawn).float()


VOCODER = Tones()


def conditions(frames: int = FRAMES, streams: int = 1) -> Conditions:
    """Return what is known of a melody."""
    random = torch.Generator().manual_seed(3)
    content = torch.randn(streams, 12, frames, generator=random)
    f0 = 220 * 2 ** (torch.linspace(0, 3, frames).sin() / 2).expand(streams, -1)
    return Conditions(content, f0, torch.full((streams, frames), 0.1))


def sound(frames: int = FRAMES, streams: int = 1) -> Wave:
    """Return something to refine."""
    random = torch.Generator().manual_seed(4)
    tone = 0.3 * torch.sin(2 * math.pi * 220 / 44_100 * torch.arange(frames * HOP))
    return tone + 0.01 * torch.randn(streams, frames * HOP, generator=random)


def refined(
    wave: Wave,
    told: list[tuple[int, Conditions]],
    *,
    blocks: list[int] | None = None,
    options: ConvertOptions = OPTIONS,
    mix: Mix = ALONE,
    **settings: int,
) -> Wave:
    """Return a whole sound, refined; `blocks` are where it is cut (samples)."""
    refining = Refining(REFINER, VOCODER, mix, torch.device("cpu"))
    parts: list[Wave] = []
    streams = wave.shape[0]
    refinement = Refinement(refining, options, streams, parts.append, **settings)
    for first, known in told:
        refinement.tell(first, known)
    edges = [0, *sorted(blocks or []), wave.shape[1]]
    for begin, end in pairwise(edges):
        refinement.push(wave[:, begin:end])
    refinement.finish()
    return torch.cat(parts, dim=1)


WHOLE = refined(sound(), [(0, conditions())])


def test_the_two_kinds_of_networks_are_what_refinement_asks_for() -> None:
    kinds: tuple[Refiner, MelVocoder] = (REFINER, made_refiners.vocoder())
    assert kinds[0].audio == kinds[1].audio


def test_it_changes_the_sound_and_nothing_of_its_length() -> None:
    assert WHOLE.shape == sound().shape
    assert float(WHOLE.square().mean().sqrt()) > 0.01
    assert float((WHOLE - sound()).square().mean().sqrt()) > 0.01


@given(blocks=st.lists(st.integers(0, FRAMES * HOP), max_size=5), chunk=st.integers(17, 60))
@settings(max_examples=4)
def test_a_stream_is_refined_as_the_whole(blocks: list[int], chunk: int) -> None:
    """The context is as much as a frame depends on, so nothing tells where chunks begin."""
    streamed = refined(sound(), [(0, conditions())], blocks=blocks, chunk=chunk)
    torch.testing.assert_close(streamed, WHOLE, rtol=0, atol=1e-4)


def test_less_context_than_a_frame_depends_on_makes_no_seam() -> None:
    """Chunks go over into each other, so what differs differs softly."""
    streamed = refined(sound(), [(0, conditions())], chunk=40, context=1)
    error = (streamed - WHOLE).abs()
    steps = (streamed[:, 1:] - streamed[:, :-1]).abs().max()
    assert 0 < float(error.square().mean().sqrt()) < 0.1 * float(WHOLE.square().mean().sqrt())
    assert float(steps) <= 1.05 * float((WHOLE[:, 1:] - WHOLE[:, :-1]).abs().max())


def test_silence_stays_silence_and_is_not_computed() -> None:
    """Two phrases with a pause between them, each begun within a frame."""
    wave = torch.zeros(1, 200 * HOP + 77)
    wave[:, 10 * HOP + 100 : 50 * HOP] = sound()[:, : 40 * HOP - 100]
    wave[:, 120 * HOP : 170 * HOP - 9] = sound()[:, : 50 * HOP - 9]
    known = conditions(200)
    told = [(10, known.cut(10, 50)), (120, known.cut(120, 170))]
    whole = refined(wave, told)
    streamed = refined(wave, told, blocks=list(range(0, 200 * HOP, 7000)), chunk=20)
    assert whole.shape == wave.shape
    torch.testing.assert_close(streamed, whole, rtol=0, atol=1e-4)
    silent = torch.ones(wave.shape[1], dtype=torch.bool)
    silent[8 * HOP : 52 * HOP] = silent[118 * HOP : 172 * HOP] = False
    assert not bool(whole[:, silent].any())
    assert float(whole[:, 20 * HOP : 40 * HOP].abs().max()) > 0.01
    assert float(whole[:, 130 * HOP : 160 * HOP].abs().max()) > 0.01


def test_frames_may_be_told_again_and_bit_by_bit() -> None:
    """Pieces overlap where a phrase was cut; it stays one run, and what came first counts."""
    known = conditions()
    told = [(0, known.cut(0, 41)), (39, known.cut(39, 70)), (70, known.cut(70))]
    torch.testing.assert_close(refined(sound(), told), WHOLE)


def test_channels_are_refined_each_by_itself_and_a_silent_one_not_at_all() -> None:
    wave = torch.cat([sound(), torch.zeros(1, FRAMES * HOP)])
    known = conditions(streams=2)
    both = refined(wave, [(0, known)], chunk=50)
    alone = refined(sound(), [(0, Conditions(*(part[:1] for part in known)))], chunk=50)
    torch.testing.assert_close(both[:1], alone, rtol=0, atol=1e-5)
    assert not bool(both[1].any())


def test_a_seed_gives_the_same_sound() -> None:
    again = refined(sound(), [(0, conditions())])
    other = ConvertOptions(refine=0.25, refine_steps=2, sampler="ddim", seed=1)
    assert torch.equal(again, WHOLE)
    assert not torch.equal(refined(sound(), [(0, conditions())], options=other), WHOLE)


def test_speakers_go_over_into_each_other() -> None:
    """A timeline is one speaker before it and another after it."""
    after = FRAMES * HOP / 44_100
    timeline = Mix(("a", "b"), (0, 1), (after, after + 1), ((1.0, 0.0), (0.0, 1.0)))
    first = refined(sound(), [(0, conditions())], mix=Mix(("a",), (0,)))
    mixed = refined(sound(), [(0, conditions())], mix=timeline)
    torch.testing.assert_close(mixed, first, rtol=0, atol=1e-4)
    assert float((first - WHOLE).abs().max()) > 1e-3
    half = Mix(("a", "b"), (0, 1), (0.0,), ((0.5, 0.5),))
    assert float((refined(sound(), [(0, conditions())], mix=half) - WHOLE).abs().max()) > 1e-3


def test_loudness_may_be_that_of_the_sound_itself() -> None:
    louder = conditions()._replace(volume=torch.full((1, FRAMES), 0.9))
    own = refined(sound(), [(0, louder)], own_volume=True)
    assert torch.equal(own, refined(sound(), [(0, conditions())], own_volume=True))
    assert not torch.equal(refined(sound(), [(0, louder)]), WHOLE)
    streamed = refined(sound(), [(0, louder)], own_volume=True, chunk=20, blocks=[9000])
    torch.testing.assert_close(streamed, own, rtol=0, atol=1e-4)


def test_all_may_be_drawn_from_noise() -> None:
    """Then nothing but conditions counts, and where there is sound."""
    options = ConvertOptions(only_refiner=True, refine_steps=2)
    one = refined(sound(), [(0, conditions())], options=options)
    other = refined(0.1 * sound().flip(1), [(0, conditions())], options=options)
    assert torch.equal(one, other)
    assert float(one.abs().max()) > 0.01


def test_memory_does_not_grow_with_the_sound() -> None:
    refining = Refining(REFINER, VOCODER, ALONE, torch.device("cpu"))
    written: list[int] = []
    refinement = Refinement(
        refining, OPTIONS, 1, lambda wave: written.append(wave.shape[1]), chunk=32
    )
    held = []
    for number in range(6):
        refinement.tell(number * FRAMES, conditions())
        refinement.push(sound())
        run = refinement.runs[0]
        held.append(refinement.wave.shape[1] + run.told.f0.shape[1] + run.mel.shape[-1])
    assert max(held[2:]) <= held[2] + 2 * HOP * 32
    assert sum(written) >= 6 * FRAMES * HOP - refinement.latency
    refinement.finish()
    assert sum(written) == 6 * FRAMES * HOP


@pytest.mark.parametrize("frames", [1, 2, 17])
def test_short_sounds_are_refined_too(frames: int) -> None:
    wave = sound(frames)[:, : frames * HOP - 5]
    found = refined(wave, [(0, conditions(frames))])
    assert found.shape[1] == frames * HOP
    assert bool(found.isfinite().all())
