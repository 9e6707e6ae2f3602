"""What an evaluation found, as numbers, and as JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sovits.config import ConvertOptions, to_dict
from sovits.evaluate.bootstrap import CONFIDENCE, Estimate, Statistic, Sums, estimate
from sovits.evaluate.clips import Clip, Recording

SCHEMA = "sovits-evaluation-1"
"""Which keys the JSON has; another number if one changes its meaning."""

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Column:
    """One measurement of all clips."""

    sums: Sums
    """What each clip contributes, `[clips, terms]`."""
    statistic: Statistic
    """What to make of their sum."""

    @cached_property
    def estimate(self) -> Estimate:
        """Return the measurement with its interval."""
        return estimate(self.sums, self.statistic)

    @cached_property
    def values(self) -> list[float]:
        """Return the measurement of each clip alone."""
        return [float(value) for value in np.atleast_1d(self.statistic(self.sums))]


@dataclass(frozen=True)
class Measure:
    """One row of the report."""

    key: str
    """Its name in JSON."""
    label: str
    """Its name for people."""
    metric: str
    """What it belongs to, by the name in `METRICS`."""
    better: Better
    """Which way is better for the result."""
    units: tuple[str, ...]
    """Names of what was measured one by one: clips, recordings, or texts."""
    result: Column
    """Of the result."""
    source: Column | None = None
    """Of the source, where that tells something."""
    change: Column | None = None
    """Of the result less that of the source."""
    unit: str = ""
    """In what it is measured."""
    digits: int = 3
    """Decimal places that are shown."""
    explanation: str = ""
    """How to read it, in a sentence."""
    clips: tuple[tuple[int, ...], ...] = ()
    """Which clips each unit is made of; nothing if units are recordings."""

    def columns(self) -> dict[str, Column | None]:
        """Return its columns by name."""
        return {"source": self.source, "result": self.result, "change": self.change}


@dataclass(frozen=True)
class Transcript:
    """What a recogniser understood."""

    recogniser: str
    name: str
    """Of the clip or recording."""
    clips: tuple[int, ...]
    """Which clips those are, counted from 0."""
    reference: str
    """What the result should say."""
    given: bool
    """Whether the reference is a given text; else it is what was understood of the source."""
    source: str
    """What was understood of the source."""
    result: str
    """What was understood of the result."""


@dataclass
class Evaluation:
    """All that was found out about one voice."""

    voice: dict[str, Any]
    """Its name, path, speaker, sample rate and content encoder."""
    options: ConvertOptions
    """How it was asked to convert."""
    machine: dict[str, Any]
    """Where it was measured, and with what."""
    date: str
    """When (ISO 8601, UTC)."""
    metrics: tuple[str, ...]
    """What was asked for."""
    recordings: list[Recording]
    """The sources and their results."""
    clips: list[Clip]
    """What was measured at a time."""
    measures: list[Measure] = field(default_factory=list)
    """What was found."""
    methods: dict[str, Any] = field(default_factory=dict)
    """By which means."""
    target: dict[str, Any] | None = None
    """What is known of the recordings of the target."""
    target_sample: Path | None = None
    """One of them, to listen to."""
    transcripts: list[Transcript] = field(default_factory=list)
    """What was understood."""
    notes: list[str] = field(default_factory=list)
    """What to keep in mind, one sentence each."""

    def to_json(self) -> dict[str, Any]:
        """Return everything but the sounds as plain JSON types."""
        return {
            "schema": SCHEMA,
            "date": self.date,
            "machine": self.machine,
            "voice": self.voice,
            "options": to_dict(self.options),
            "metrics": list(self.metrics),
            "methods": self.methods,
            "target": self.target,
            "sources": [
                {"name": record.name, "path": _plain(record.path), "text": record.text}
                for record in self.recordings
            ],
            "clips": [
                {
                    "name": clip.name,
                    "seconds": round(clip.seconds, 3),
                    "sources": [record.name for record in clip.sources()],
                }
                for clip in self.clips
            ],
            "confidence": CONFIDENCE,
            "measures": [_measure(measure) for measure in self.measures],
            "transcripts": [vars(transcript) for transcript in self.transcripts],
            "notes": self.notes,
        }


def _measure(measure: Measure) -> dict[str, Any]:
    table: dict[str, Any] = {
        "key": measure.key,
        "label": measure.label,
        "metric": measure.metric,
        "unit": measure.unit,
        "better": measure.better,
        "units": list(measure.units),
    }
    for name, column in measure.columns().items():
        table[name] = None if column is None else _column(column)
    return table


def _column(column: Column) -> dict[str, Any]:
    found = column.estimate
    return {
        "value": _number(found.value),
        "low": _number(found.low),
        "high": _number(found.high),
        "values": [_number(value) for value in column.values],
    }


def _number(value: float | None) -> float | None:
    """Return a number as JSON has it, which knows no NaN."""
    return None if value is None or not math.isfinite(value) else value


def _plain(path: Path) -> str:
    """Return a path as text that can be written in UTF-8."""
    return str(path).encode("utf-8", "replace").decode("utf-8")
