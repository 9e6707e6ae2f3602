"""What is measured at a time: long recordings cut at pauses, short ones joined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch

from sovits.audio.io import AudioReader
from sovits.audio.resample import resample
from sovits.audio.split import find_pieces, frame_levels
from sovits.errors import EvaluationError
from sovits.types import Wave

LONGEST = 28.0
"""Longest clip (s): a recogniser hears 30 s at once, and costs the same for less."""
ENOUGH = 14.0
"""A clip of this length takes in no more recordings (s)."""
SHORTEST = 10.0
"""A speaker is not told reliably by less (s)."""
PAUSE = 0.3
"""Silence between two recordings of one clip (s)."""
LONGEST_PIECE = 24.0
"""Longest stretch of a recording that is cut (s)."""
REAL_PAUSE = 1.0
"""Shortest silence that is left out where a recording is cut (s)."""
SILENCE_DB = -60.0
"""How far below the loudest frame silence begins (dB)."""
FLOOR_DB = -90.0
"""Level up to which even the loudest frame is silence (dBFS)."""
LEVELS_PER_SECOND = 50


@dataclass(frozen=True)
class Recording:
    """A source and what was made of it."""

    path: Path
    """As it was named."""
    source: Path
    """The source, in a file that can be read from any sample on."""
    result: Path
    """What was made of it; as long as the source."""
    text: str | None = None
    """What is said in it, if that is known."""

    @property
    def name(self) -> str:
        """Return the name of the file, as it can be printed and written anywhere."""
        return self.path.name.encode("utf-8", "replace").decode("utf-8")


class Stretch(NamedTuple):
    """A part of a recording."""

    recording: int
    """Which one, counted from 0."""
    start: float
    """Where it begins (s)."""
    stop: float
    """Where it ends (s)."""
    whole: bool
    """Whether it is all of the recording."""

    @property
    def seconds(self) -> float:
        """Return how long it is."""
        return self.stop - self.start


@dataclass(frozen=True)
class Clip:
    """Sound that is measured as one."""

    recordings: Sequence[Recording]
    """All recordings there are."""
    stretches: tuple[Stretch, ...]
    """Which parts of them this clip joins."""
    name: str = field(init=False)
    """What it is called in tables."""
    seconds: float = field(init=False)
    """How much sound it holds."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self._named())
        object.__setattr__(self, "seconds", sum(part.seconds for part in self.stretches))

    def source(self) -> tuple[Wave, int]:
        """Return the source, `[samples]`, and its rate (Hz)."""
        return self._joined([record.source for record in self.recordings])

    def result(self) -> tuple[Wave, int]:
        """Return the result, `[samples]`, and its rate (Hz)."""
        return self._joined([record.result for record in self.recordings])

    def sources(self) -> list[Recording]:
        """Return the recordings that it is made of."""
        return [self.recordings[part.recording] for part in self.stretches]

    def _named(self) -> str:
        first, last = self.stretches[0], self.stretches[-1]
        name = self.recordings[first.recording].name
        others = len({part.recording for part in self.stretches}) - 1
        if others:
            return f"{name} and {others} more"
        return name if first.whole else f"{name} {_clock(first.start)}-{_clock(last.stop)}"

    def _joined(self, paths: list[Path]) -> tuple[Wave, int]:
        """Return the stretches of some files one after the other, at the highest of their rates."""
        parts: list[tuple[Wave, int]] = []
        for part in self.stretches:
            with AudioReader(paths[part.recording]) as reader:
                rate = reader.sample_rate
                start, stop = round(part.start * rate), round(part.stop * rate)
                parts.append((reader.read(start, stop - start).mean(0), rate))
        rate = max(rate for _, rate in parts)
        joined: list[Wave] = []
        for wave, own in parts:
            joined += [resample(wave, own, rate), torch.zeros(round(PAUSE * rate))]
        return torch.cat(joined[:-1]), rate


class Reading(NamedTuple):
    """Clips that one known text belongs to, or one clip of which none is known."""

    clips: tuple[int, ...]
    text: str | None


def cut(recordings: Sequence[Recording]) -> list[Clip]:
    """Return clips of at most 28 s, and where there is enough sound of at least 10 s.

    Each recording with a known text is either in one clip as a whole, or has clips of its own.

    Raises:
        EvaluationError: A recording is silent.
    """
    groups: list[list[Stretch]] = []
    kinds: list[object] = []
    for number, recording in enumerate(recordings):
        found = _stretches(number, recording)
        kind: object = recording.text is not None
        if kind and len(found) > 1:
            kind = recording.path, number
        for part in found:
            full = bool(groups) and (
                _seconds(groups[-1]) >= ENOUGH or _seconds([*groups[-1], part]) > LONGEST
            )
            if not groups or full or kinds[-1] != kind:
                groups.append([])
                kinds.append(kind)
            groups[-1].append(part)
    _spread_rests(groups, kinds)
    return [Clip(recordings, tuple(_merged(group))) for group in groups]


def one_by_one(clips: Sequence[Clip]) -> tuple[tuple[int, ...], ...]:
    """Return which clips each measurement is of, where each is of one."""
    return tuple((number,) for number in range(len(clips)))


def readings(clips: Sequence[Clip]) -> list[Reading]:
    """Return what is to be compared with one text, or with one transcript, each."""
    found: list[Reading] = []
    owner: int | None = None
    for number, clip in enumerate(clips):
        texts = [record.text for record in clip.sources()]
        first = clip.stretches[0]
        if texts[0] is not None and not first.whole:
            if owner == first.recording:
                found[-1] = Reading((*found[-1].clips, number), found[-1].text)
            else:
                owner = first.recording
                found.append(Reading((number,), texts[0]))
            continue
        known = [text for text in texts if text is not None]
        found.append(Reading((number,), " ".join(known) if known else None))
    return found


def _stretches(number: int, recording: Recording) -> list[Stretch]:
    """Return all of a recording if it is short, else its parts between pauses."""
    with AudioReader(recording.source) as reader:
        rate, total = reader.sample_rate, reader.frames
        hop = max(1, rate // LEVELS_PER_SECOND)
        levels = frame_levels(reader, hop)
    if levels.max() <= FLOOR_DB:
        raise EvaluationError.silent(recording.path)
    if total <= LONGEST * rate:
        return [Stretch(number, 0.0, total / rate, True)]
    pieces = find_pieces(
        levels,
        hop=hop,
        total=total,
        silence_db=max(float(levels.max()) + SILENCE_DB, FLOOR_DB),
        silence_seconds=REAL_PAUSE,
        max_seconds=LONGEST_PIECE,
        sample_rate=rate,
    )
    return [Stretch(number, start / rate, stop / rate, False) for start, stop in pieces]


def _spread_rests(groups: list[list[Stretch]], kinds: list[object]) -> None:
    """Join what is too short to know a speaker by to the clip before it, if there is room."""
    for number in range(len(groups) - 1, 0, -1):
        rest, before = groups[number], groups[number - 1]
        fits = _seconds(before) + _seconds(rest) <= LONGEST
        if kinds[number] == kinds[number - 1] and fits and _seconds(rest) < SHORTEST:
            before += rest
            del groups[number], kinds[number]


def _merged(stretches: Sequence[Stretch]) -> Iterator[Stretch]:
    """Yield stretches with those joined again between which nothing lies."""
    held = stretches[0]
    for part in stretches[1:]:
        if part.recording == held.recording and part.start == held.stop:
            held = held._replace(stop=part.stop)
        else:
            yield held
            held = part
    yield held


def _seconds(stretches: Sequence[Stretch]) -> float:
    """Return how long stretches are together."""
    return sum(part.seconds for part in stretches)


def _clock(seconds: float) -> str:
    """Return a time as minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
