from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sovits.errors import PitchError
from sovits.features.pitch.contract import (
    LARGEST_GAIN,
    LEVEL,
    UNVOICED_F0,
    PitchExtractor,
    PitchSpec,
    Track,
    blocks,
    bridge,
    gain,
    silent,
    to_frames,
)


class Planted(PitchExtractor):
    """Finds whatever it was told to."""

    spec = PitchSpec("planted", "for tests")

    def __init__(self, track: Track, sample_rate: int | None = None) -> None:
        self.planted, self.sample_rate = track, sample_rate

    def track(self, wave: Tensor, sample_rate: int) -> Track:
        assert self.sample_rate in (None, sample_rate)
        return self.planted


NOTHING = Track(torch.zeros(1), 0.01)


@given(st.lists(st.one_of(st.just(0.0), st.floats(50, 2000)), min_size=1, max_size=40))
def test_bridged_pitch_is_positive_and_keeps_what_was_measured(values: list[float]) -> None:
    f0, voiced = bridge(torch.tensor(values, dtype=torch.float64))
    assert voiced.tolist() == [value > 0 for value in values]
    assert f0.dtype == torch.float32
    assert (f0 > 0).all()
    measured = [value for value in values if value]
    torch.testing.assert_close(f0[voiced], torch.tensor(measured), rtol=1e-6, atol=0)
    if measured:
        assert f0.min() >= min(measured) * (1 - 1e-6)
        assert f0.max() <= max(measured) * (1 + 1e-6)


def test_bridges_are_straight_in_hz_and_the_ends_are_held() -> None:
    f0, voiced = bridge(torch.tensor([0, 0, 100, 0, 0, 0, 180, 0.0]))
    assert f0.tolist() == [100, 100, 100, 120, 140, 160, 180, 180]
    assert voiced.tolist() == [False, False, True, False, False, False, True, False]


def test_what_is_not_a_number_is_not_voiced() -> None:
    f0, voiced = bridge(torch.tensor([torch.nan, 100, torch.inf, 100, -3]))
    assert f0.tolist() == [100] * 5
    assert voiced.tolist() == [False, True, False, True, False]


def test_a_sound_without_voice_has_the_stated_pitch() -> None:
    wave = torch.rand(1600) - 0.5
    f0, voiced = Planted(NOTHING)(wave, 16_000, 160)
    assert f0.tolist() == [UNVOICED_F0] * 10
    assert not voiced.any()


@given(
    samples=st.integers(0, 5000),
    hop_length=st.integers(1, 700),
    rates=st.sampled_from([(16_000, 16_000), (44_100, 16_000), (8000, 16_000), (48_000, None)]),
    n=st.integers(1, 20),
)
def test_there_is_one_frame_for_each_whole_hop(
    samples: int, hop_length: int, rates: tuple[int, int | None], n: int
) -> None:
    extract = Planted(Track(torch.full((n,), 200.0), 0.01), rates[1])
    f0, voiced = extract(0.1 * torch.ones(samples), rates[0], hop_length)
    assert f0.shape == voiced.shape == (samples // hop_length,)
    assert f0.dtype == torch.float32
    assert voiced.dtype == torch.bool


@given(step=st.floats(0.002, 0.02), start=st.floats(0, 0.02), frame=st.floats(0.003, 0.03))
def test_a_glide_is_read_at_the_centres_of_frames(step: float, start: float, frame: float) -> None:
    times = start + step * torch.arange(200, dtype=torch.float64)
    found = to_frames(Track(100 + 50 * times, step, start), 20, frame)
    centres = (torch.arange(20) + 0.5) * frame
    inside = (centres >= times[0]) & (centres <= times[-1])
    torch.testing.assert_close(found[inside], 100 + 50 * centres.double()[inside])


def test_nothing_is_invented_between_a_note_and_its_octave_or_a_consonant() -> None:
    track = Track(torch.tensor([100.0, 100, 200, 200, 0, 0, 150]), 0.01)
    found = to_frames(track, 140, 0.0005)
    assert sorted(set(found.tolist())) == [0, 100, 150, 200]


def test_an_empty_track_is_unvoiced() -> None:
    assert to_frames(Track(torch.zeros(0), 0.01), 3, 0.01).tolist() == [0, 0, 0]


def test_silence_is_told_from_sound_frame_by_frame() -> None:
    wave = torch.zeros(44_100)
    wave[20_000:30_000] = 0.01
    frames = silent(wave, 44_100, 86, 512 / 44_100)
    centres = (torch.arange(86) + 0.5) * 512
    assert not frames[(centres > 20_000) & (centres < 30_000)].any()
    assert frames[(centres < 19_000) | (centres > 31_000)].all()


def test_a_pitch_found_in_silence_does_not_count() -> None:
    track = Track(torch.full((100,), 200.0), 0.01)
    assert not Planted(track)(1e-4 * torch.rand(16_000), 16_000, 160).voiced.any()
    assert Planted(track)(1e-2 * torch.ones(16_000), 16_000, 160).voiced.all()


@given(st.integers(1, 300), st.integers(1, 50), st.integers(0, 20))
def test_blocks_keep_each_frame_once(frames: int, length: int, context: int) -> None:
    kept = []
    for left, right, core in blocks(frames, length, context):
        assert 0 <= left < right <= frames
        computed = list(range(left, right))
        assert len(computed) <= length + 2 * context
        kept += computed[core]
        assert left == 0 or core.start == min(context, left + core.start)
    assert kept == list(range(frames))


def test_channels_are_refused() -> None:
    with pytest.raises(PitchError, match=r"one channel.*\[2, 100\]"):
        Planted(NOTHING)(torch.zeros(2, 100), 16_000, 10)


def test_broken_samples_are_refused() -> None:
    wave = torch.zeros(100)
    wave[3] = torch.nan
    wave[7] = torch.inf
    with pytest.raises(PitchError, match="2 of 100 samples"):
        Planted(NOTHING)(wave, 16_000, 10)


def test_what_was_measured_may_condition_something_that_learns() -> None:
    gain = torch.ones((), requires_grad=True)
    f0, _ = Planted(Track(torch.full((100,), 200.0), 0.01))(torch.ones(1600), 16_000, 160)
    (gain * f0).sum().backward()
    assert gain.grad == 2000


class Hears(PitchExtractor):
    """Remembers what it was given."""

    heard: Tensor

    def __init__(self, *, levelled: bool) -> None:
        self.spec = PitchSpec("hears", "for tests", levelled=levelled)

    def track(self, wave: Tensor, sample_rate: int) -> Track:
        self.heard = wave
        return Track(torch.full((100,), 200.0), 0.01)


@given(db=st.floats(-120, 20))
def test_quiet_recordings_are_raised_and_loud_ones_are_left_alone(db: float) -> None:
    wave = 10 ** (db / 20) * torch.sin(torch.arange(16_000) * 0.1) * 2**0.5
    extract = Hears(levelled=True)
    voiced = extract(wave, 16_000, 160).voiced
    raised = 10 * extract.heard.square().mean().log10().item()
    if db > LEVEL + 0.1:
        assert torch.equal(extract.heard, wave)
    elif db > LEVEL - LARGEST_GAIN + 0.1:
        assert abs(raised - LEVEL) < 0.1
    else:
        assert raised <= db + LARGEST_GAIN + 0.1
    # What is silent is so beside the rest of the recording, but for what no gain may reach.
    assert bool(voiced[10:90].all()) == (db > -103) or -104 < db < -102
    untouched = Hears(levelled=False)
    untouched(wave, 16_000, 160)
    assert torch.equal(untouched.heard, wave)


def test_a_part_of_a_recording_is_raised_as_the_recording_is() -> None:
    pause = 1e-3 * torch.randn(8000)
    extract = Hears(levelled=True)
    extract(pause, 16_000, 160, level=-20.0)
    assert torch.equal(extract.heard, pause)
    extract(pause, 16_000, 160, level=-35.0)
    torch.testing.assert_close(extract.heard, gain(-35.0) * pause)
    extract(pause, 16_000, 160)
    assert extract.heard.square().mean() > 100 * pause.square().mean()
