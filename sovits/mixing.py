"""Who sings, in which shares, and how these change over time."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sovits.config import ConvertOptions
from sovits.errors import ConfigError, VoiceError
from sovits.types import Shares

MAX_BYTES = 4 << 20
"""Timelines larger than this (bytes) are no timelines."""
Row = Callable[[str | None], int]
"""Finds the row of a speaker in the speaker table; raises VoiceError if there is none."""


@dataclass(frozen=True)
class Mix:
    """Speakers, and the share of each at some points of time.

    Between two points shares change in a straight line; before the first and after the last they
    stay as they are there. They depend on the time alone, so a stream is mixed as a whole sound is.
    """

    names: tuple[str | None, ...]
    """Speakers, as they were asked for; None is the first of the voice."""
    rows: tuple[int, ...]
    """Their rows in the speaker table."""
    times: tuple[float, ...] = (0.0,)
    """Points of time (s), each later than the one before it."""
    shares: tuple[tuple[float, ...], ...] = ((1.0,),)
    """The share of each speaker at each of them; they add up to 1."""

    @property
    def alone(self) -> int | None:
        """Row of the only speaker there is; None if there are several."""
        return self.rows[0] if len(self.rows) == 1 else None

    def at(self, seconds: Tensor) -> Tensor:
        """Return `[speakers, n]` for times `[n]`; `[speakers, 1]` if they never change."""
        shares = torch.tensor(self.shares, dtype=torch.float64)
        if len(self.times) == 1:
            return shares.t().float()
        times = torch.tensor(self.times, dtype=torch.float64)
        after = torch.searchsorted(times, seconds.double(), right=True).clamp(1, len(times) - 1)
        begin, end = times[after - 1], times[after]
        way = ((seconds - begin) / (end - begin)).clamp(0, 1)[:, None]
        return torch.lerp(shares[after - 1], shares[after], way).t().float()

    def frames(self, rows: int, first: int, count: int, frame_rate: float) -> Shares:
        """Return the shares of all rows of a table, `[1, rows, count or 1]`.

        Args:
            rows: Rows of the speaker table.
            first: Number of the first frame in the whole sound; may lie before its beginning.
            count: Frames.
            frame_rate: Frames per second (Hz).
        """
        shares = self.at((torch.arange(first, first + count) + 0.5) / frame_rate)
        table = torch.zeros(rows, shares.shape[1])
        return table.index_add_(0, torch.tensor(self.rows), shares)[None]


def mix_of(options: ConvertOptions, row: Row) -> Mix:
    """Return who is asked for: one speaker, a blend such as `alice:0.7,bob:0.3`, or a timeline.

    Raises:
        VoiceError: There is no such speaker.
        ConfigError: The blend or the timeline cannot be understood.
    """
    asked = options.speaker
    if options.mix is not None:
        if asked is not None:
            raise ConfigError.speaker_and_mix(asked, options.mix)
        return _mix(read_timeline(Path(options.mix)), row)
    try:
        return Mix((asked,), (row(asked),))
    except VoiceError:
        if asked is None or not set(asked) & {":", "="}:
            raise
    return _mix([(0.0, read_shares(asked.split(",")))], row)


def read_shares(words: Sequence[str]) -> dict[str, float]:
    """Return the shares in words such as `alice:0.7` or `alice=0.7`; they add up to 1.

    >>> read_shares(["alice:3", "bob=1"])
    {'alice': 0.75, 'bob': 0.25}

    Raises:
        ConfigError: A word is no share, a name is there twice, or all shares are 0.
    """
    text, found = ",".join(words), dict[str, float]()
    for word in words:
        end = max(word.rfind(":"), word.rfind("="))
        name, number = word[: max(end, 0)].strip(), word[end + 1 :].strip()
        try:
            share = float(number)
        except ValueError:
            share = math.nan
        if not name or not share >= 0:
            raise ConfigError.not_a_mix(text, f"{word.strip()} has no share of at least 0")
        if name in found:
            raise ConfigError.not_a_mix(text, f"{name} is there twice")
        found[name] = share
    if (problem := _wrong_total(found)) is not None:
        raise ConfigError.not_a_mix(text, problem)
    return _normal(found)


def read_timeline(path: Path) -> list[tuple[float, dict[str, float]]]:
    """Return the points of a timeline: seconds, and shares that add up to 1.

    The file holds a JSON list such as `[{"time": 0, "speakers": {"alice": 1}}, {"time": 8.5,
    "speakers": {"alice": 1, "bob": 3}}]`. Who is not named at a point has no share there.

    Raises:
        ConfigError: The file cannot be read or is no such list, times are not in order, or shares
            are negative or all 0.
    """
    points: list[tuple[float, dict[str, float]]] = []
    for number, point in enumerate(_json(path), start=1):
        where = f"its point {number}"
        if not isinstance(point, dict) or set(point) != {"time", "speakers"}:
            raise ConfigError.not_a_timeline(path, f"{where} has not just a time and speakers")
        time, speakers = point["time"], point["speakers"]
        if not _is_number(time) or time < 0:
            raise ConfigError.not_a_timeline(path, f"{where} has a time that is not 0 s or later")
        if points and time <= points[-1][0]:
            raise ConfigError.not_a_timeline(
                path, f"{where} is at {time:g} s, not after the one before it"
            )
        if not isinstance(speakers, dict):
            raise ConfigError.not_a_timeline(path, f"{where} has speakers that are no object")
        for name, share in speakers.items():
            if not _is_number(share) or share < 0:
                raise ConfigError.not_a_timeline(
                    path, f"{where} gives {name[:80]} a share that is not 0 or more"
                )
        if (problem := _wrong_total(speakers)) is not None:
            raise ConfigError.not_a_timeline(path, f"{where}: {problem}")
        points.append((float(time), _normal(speakers)))
    if not points:
        raise ConfigError.not_a_timeline(path, "it has no point")
    return points


def _mix(points: Sequence[tuple[float, Mapping[str, float]]], row: Row) -> Mix:
    """Return points as a mix, once each speaker is known to be there."""
    names = tuple(dict.fromkeys(name for _, shares in points for name in shares))
    table = tuple(tuple(shares.get(name, 0.0) for name in names) for _, shares in points)
    return Mix(names, tuple(map(row, names)), tuple(time for time, _ in points), table)


def _json(path: Path) -> list[Any]:
    """Return the JSON list in a file."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ConfigError.not_a_timeline(path, "a name stands twice in one of its points")
        return dict(pairs)

    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError.not_a_timeline(path, "it is too large")
        points = json.loads(path.read_text("utf-8-sig"), object_pairs_hook=once)
    except OSError as error:
        because = error.strerror or "it cannot be opened"
        raise ConfigError.not_a_timeline(path, because) from error
    except UnicodeDecodeError as error:
        raise ConfigError.not_a_timeline(path, "it is not UTF-8 text") from error
    except json.JSONDecodeError as error:
        because = f"line {error.lineno}: {error.msg}"
        raise ConfigError.not_a_timeline(path, because) from error
    except (RecursionError, ValueError) as error:
        raise ConfigError.not_a_timeline(path, "it is nested too deeply, or too long") from error
    if not isinstance(points, list):
        raise ConfigError.not_a_timeline(path, "it holds no list")
    return points


def _is_number(value: object) -> bool:
    """Return whether a JSON value is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= 1e9


def _wrong_total(shares: Mapping[str, float]) -> str | None:
    """Return what is wrong with the sum of some shares, if anything is."""
    total = sum(shares.values())
    if not shares:
        return "there is no speaker"
    if not total:
        return "all shares are 0"
    return None if total <= 1e12 else "shares are too large"


def _normal(shares: Mapping[str, float]) -> dict[str, float]:
    """Return shares that add up to 1, without those that are nothing."""
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items() if share}
