"""Long recordings are cut at pauses, short ones joined; no sound is lost, no texts are mixed."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from recordings import RATE, recorded, vowel

from sovits.audio.io import write
from sovits.errors import EvaluationError
from sovits.evaluate.clips import LONGEST, PAUSE, SHORTEST, Recording, Stretch, cut, readings


def noise(seconds: float) -> torch.Tensor:
    return 0.1 * torch.randn(round(seconds * RATE))


def test_a_recording_of_usual_length_is_one_clip(tmp_path: Path) -> None:
    made = recorded(tmp_path, "talk", noise(20), -noise(20))
    (clip,) = cut([made])
    assert (clip.name, clip.seconds) == ("talk.wav", 20)
    wave, rate = clip.source()
    assert (wave.shape, rate) == ((20 * RATE,), RATE)
    assert clip.sources() == [made]
    assert not torch.equal(clip.result()[0], wave)


def test_short_recordings_are_joined_until_a_speaker_can_be_told(tmp_path: Path) -> None:
    made = [recorded(tmp_path, f"r{i}", noise(2)) for i in range(12)]
    clips = cut(made)
    assert [len(clip.stretches) for clip in clips] == [7, 5]
    assert clips[0].name == "r0.wav and 6 more"
    assert all(SHORTEST <= clip.seconds <= LONGEST for clip in clips)
    wave, _ = clips[0].source()
    assert len(wave) == round((7 * 2 + 6 * PAUSE) * RATE)
    assert not wave[2 * RATE : round((2 + PAUSE) * RATE)].any()


def test_a_rest_that_is_too_short_joins_the_clip_before(tmp_path: Path) -> None:
    made = [recorded(tmp_path, f"r{i}", noise(seconds)) for i, seconds in enumerate((15, 3))]
    assert [clip.seconds for clip in cut(made)] == [18]


def test_a_long_recording_is_cut_where_it_is_silent(tmp_path: Path) -> None:
    phrases = [noise(16), torch.zeros(2 * RATE), noise(17), torch.zeros(2 * RATE), noise(20)]
    clips = cut([recorded(tmp_path, "song", torch.cat(phrases))])
    bounds = [time for clip in clips for time in clip.stretches[0][1:3]]
    assert bounds == pytest.approx([0, 16.2, 17.8, 35.2, 36.8, 57], abs=0.05)
    assert [clip.name for clip in clips][1] == "song.wav 0:17-0:35"


def test_phrases_of_one_recording_are_joined_without_the_silence_between(tmp_path: Path) -> None:
    phrases = [noise(4), torch.zeros(9 * RATE)] * 4
    (clip,) = cut([recorded(tmp_path, "talk", torch.cat(phrases))])
    assert len(clip.stretches) == 4
    assert clip.seconds == pytest.approx(4 * 4 + 7 * 0.2, abs=0.1)
    assert clip.name == "talk.wav 0:00-0:43"


def test_sound_without_pauses_is_cut_without_a_loss(tmp_path: Path) -> None:
    wave = noise(70)
    clips = cut([recorded(tmp_path, "drone", wave)])
    parts = [clip.source()[0] for clip in clips]
    torch.testing.assert_close(torch.cat(parts), wave)
    assert all(len(part) <= LONGEST * RATE for part in parts)


@given(st.lists(st.floats(0.5, 40), min_size=1, max_size=8), st.integers(0, 255))
def test_every_second_is_in_one_clip(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[float], texts: int
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    made = []
    for i, seconds in enumerate(lengths):
        path = folder / f"{i}.wav"
        write(path, torch.full((round(seconds * 1000),), 0.5), 1000)
        made.append(Recording(path, path, path, "a" if texts >> i & 1 else None))
    clips = cut(made)
    assert all(clip.seconds <= LONGEST + 1e-9 for clip in clips)
    parts = [part for clip in clips for part in clip.stretches]
    assert parts == sorted(parts)
    for i in range(len(made)):
        own = [part for part in parts if part.recording == i]
        assert own[0].start == 0
        assert own[-1].stop == pytest.approx(round(lengths[i] * 1000) / 1000)
        assert all(a.stop == b.start for a, b in pairwise(own))
        assert all(part.whole == (len(own) == 1 and own[0].seconds <= LONGEST) for part in own)
    for clip in clips:
        assert len({record.text for record in clip.sources()}) == 1


def test_recordings_of_two_rates_are_joined_at_the_higher(tmp_path: Path) -> None:
    made = [
        recorded(tmp_path, "low", vowel(4)),
        recorded(tmp_path, "high", vowel(4, rate=32_000), rate=32_000),
    ]
    (clip,) = cut(made)
    wave, rate = clip.source()
    assert rate == 32_000
    assert len(wave) == round((8 + PAUSE) * rate)


def test_texts_stay_with_what_they_are_the_texts_of(tmp_path: Path) -> None:
    made = [
        recorded(tmp_path, "a", noise(5), text="one"),
        recorded(tmp_path, "b", noise(5), text="two"),
        recorded(tmp_path, "long", noise(60), text="a whole story"),
        recorded(tmp_path, "c", noise(5), text="three"),
        recorded(tmp_path, "d", noise(5)),
    ]
    clips = cut(made)
    found = readings(clips)
    assert [part.text for part in found] == ["one two", "a whole story", "three", None]
    assert [len(part.clips) > 1 for part in found] == [False, True, False, False]
    assert [number for part in found for number in part.clips] == list(range(len(clips)))


def test_two_long_recordings_with_texts_are_two_readings(tmp_path: Path) -> None:
    made = [recorded(tmp_path, name, noise(40), text=name) for name in ("x", "y")]
    assert [part.text for part in readings(cut(made))] == ["x", "y"]


def test_silence_cannot_be_measured(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"quiet\.wav is silent from end to end"):
        cut([recorded(tmp_path, "quiet", torch.zeros(RATE))])


def test_names_that_cannot_be_written_are_made_so(tmp_path: Path) -> None:
    record = Recording(Path("bad\udcff.wav"), tmp_path, tmp_path)
    assert record.name == "bad?.wav"
    assert Stretch(0, 1.0, 3.5, True).seconds == 2.5
