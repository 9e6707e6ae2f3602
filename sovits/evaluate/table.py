"""What an evaluation found, as a table for a terminal."""

from __future__ import annotations

import math

from rich import box
from rich.table import Table

from sovits.evaluate.bootstrap import CONFIDENCE, Estimate
from sovits.evaluate.results import Column, Evaluation, Measure

NOTHING = "-"
"""What stands where there is no number."""


def table(evaluation: Evaluation) -> Table:
    """Return a row for each measurement, in groups, no wider than 80 columns."""
    made = Table(
        title=headline(evaluation),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    made.add_column("measure", no_wrap=True)
    made.add_column("best")
    for name in ("source", "result", f"{CONFIDENCE:.0%} interval", "change"):
        made.add_column(name, justify="right", no_wrap=True)
    for number, measure in enumerate(evaluation.measures):
        after = evaluation.measures[number + 1 : number + 2]
        made.add_row(
            f"{measure.label} ({measure.unit})" if measure.unit else measure.label,
            "high" if measure.better == "higher" else "low",
            value(measure, measure.source),
            f"[bold]{value(measure, measure.result)}[/bold]",
            interval(measure, measure.result),
            value(measure, measure.change, sign=True),
            end_section=bool(after) and after[0].metric != measure.metric,
        )
    return made


def headline(evaluation: Evaluation) -> str:
    """Return what was evaluated, in a line."""
    clips = evaluation.clips
    seconds = sum(clip.seconds for clip in clips)
    recordings = len(evaluation.recordings)
    of = "1 recording" if recordings == 1 else f"{recordings} recordings"
    cut = "1 clip" if len(clips) == 1 else f"{len(clips)} clips"
    return f"{evaluation.voice['name'] or 'voice'}: {of}, {seconds:.1f} s in {cut}"


def value(measure: Measure, column: Column | None, *, sign: bool = False) -> str:
    """Return a measurement as it is shown."""
    return NOTHING if column is None else number(column.estimate.value, measure.digits, sign=sign)


def interval(measure: Measure, column: Column | None) -> str:
    """Return the interval of a measurement as it is shown."""
    found = Estimate(math.nan, None, None, 0) if column is None else column.estimate
    if found.low is None or found.high is None:
        return NOTHING
    return f"{number(found.low, measure.digits)} to {number(found.high, measure.digits)}"


def number(x: float, digits: int, *, sign: bool = False) -> str:
    """Return a number with so many decimal places; nothing if it is none."""
    if not math.isfinite(x):
        return NOTHING
    return f"{x:+.{digits}f}" if sign else f"{x:.{digits}f}"
