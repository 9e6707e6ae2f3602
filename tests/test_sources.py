"""Clips of one recording are known by what cutting programs call them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sovits.sources import LIST, in_order, keep_sources, read_sources, recording_of


@pytest.mark.parametrize(
    "names",
    [
        ("talk_0001", "talk_0002", "talk_10"),
        ("talk-1.25-3.50", "talk-3.50-9.00"),  # svc pre-split of the fork: start and end
        ("talk_0.52_9.31", "talk_9.31_12.0"),
        ("out000", "out001", "out12345"),  # ffmpeg -f segment
        ("talk (1)", "talk (22)"),
        ("talk part 1", "talk_part2", "talk-part-03"),
        ("007", "8", "9_1"),
        ("2024-05-03 talk_1", "2024-05-03 talk_2"),
    ],
)
def test_pieces_of_one_recording_share_a_name(names: tuple[str, ...]) -> None:
    found = {recording_of(Path("dataset", "alice", f"{name}.wav"), {}) for name in names}
    assert len(found) == 1


@pytest.mark.parametrize(
    "names",
    [
        ("song1", "song2"),
        ("one_1", "two_1"),
        ("song1_001", "song2_001"),
        ("depart", "apart"),
        ("Ave Maria", "Ave Verum"),
        ("2024-05-03 talk_1", "2024-05-04 talk_1"),
    ],
)
def test_different_recordings_do_not(names: tuple[str, ...]) -> None:
    found = {recording_of(Path("dataset", "alice", f"{name}.wav"), {}) for name in names}
    assert len(found) == len(names)


def test_speakers_share_no_recording() -> None:
    assert recording_of(Path("alice/1.wav"), {}) != recording_of(Path("bob/1.wav"), {})


def test_what_is_known_of_a_clip_comes_before_its_name(tmp_path: Path) -> None:
    keep_sources(tmp_path, {"alice/1.wav": "alice/may/1.flac", "alice/1_1.wav": "alice/june/1.mp3"})
    keep_sources(tmp_path, {"alice/2.wav": "alice/may/2.flac"})
    keep_sources(tmp_path, {})
    sources = read_sources(tmp_path)
    names = [
        recording_of(tmp_path / "alice" / f"{name}.wav", sources) for name in ("1", "1_1", "2")
    ]
    assert names[0] == names[2] != names[1]
    assert [path.name for path in tmp_path.iterdir()] == [LIST]


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": 1}', "\xff"])
def test_notes_that_cannot_be_read_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / LIST).write_text(text, "latin-1")
    assert read_sources(tmp_path) == {}


def test_clips_are_in_the_order_of_their_numbers() -> None:
    names = ["a1.wav", "a2_9.wav", "a2_10.wav", "a10.wav", "b.wav"]
    assert [path.name for path in sorted(map(Path, reversed(names)), key=in_order)] == names
