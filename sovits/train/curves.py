"""Curves as pictures that need nothing else (SVG), against steps and against time."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from zlib import crc32

from sovits.train.log import duration

WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 26, 28
MOST_DOTS = 60
SETTLED = 0.2
"""Share of the points at the beginning that may lie outside the picture."""
FAR = 3.0
"""How many times the range of the others they have to make it before they do."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """A stretch of numbers, drawn on a stretch of the picture."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        """Return where a number lies in the picture."""
        return self.begin + (value - self.low) / (self.high - self.low) * (self.end - self.begin)


def chart(
    points: Sequence[Point],
    times: Sequence[Point],
    *,
    title: str,
    digits: int,
    unit: str = "",
    best: float | None = None,
    reference: float | None = None,
) -> str:
    """Return a curve: steps below, time above.

    Args:
        points: Steps with values, in order; at least one.
        times: Steps with the seconds that the training had taken.
        title: What is shown.
        digits: Decimal places of values.
        unit: Of values.
        best: Step that is marked.
        reference: Value that is drawn as a line, if it lies near the others.
    """
    low, high = _range([value for _, value in points], reference)
    x = Axis(0.0, max(points[-1][0], 1.0), LEFT, WIDTH - RIGHT)
    y = Axis(low, high, HEIGHT - BOTTOM, TOP)
    clip = f"c{crc32(title.encode()):08x}"
    inner = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    return "".join(
        [
            f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'aria-label="{escape(_described(title, points, digits, unit), quote=True)}">',
            f'<clipPath id="{clip}"><rect x="{LEFT - 6}" y="{TOP - 4}" width="{inner[0] + 12}" '
            f'height="{inner[1] + 8}"/></clipPath>',
            *_grid(x, y, times, digits),
            f'<g clip-path="url(#{clip})">',
            *_reference(reference, x, y, digits),
            *_best(best, x),
            *_curve(points, times, x, y, digits, unit, best),
            "</g></svg>",
        ]
    )


def ticks(low: float, high: float, most: int) -> list[float]:
    """Return round numbers between two others.

    >>> ticks(0, 1234, 4)
    [0.0, 500.0, 1000.0]
    """
    rough = (high - low) / most
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def seconds_at(step: float, times: Sequence[Point]) -> float:
    """Return how long a training had taken at a step, between known points in a straight line."""
    if not times:
        return 0.0
    after = bisect_left([known for known, _ in times], step)
    if after == 0:
        return times[0][1]
    if after == len(times):
        return times[-1][1]
    (a, begin), (b, end) = times[after - 1], times[after]
    return begin + (end - begin) * (step - a) / (b - a)


def _range(values: Sequence[float], reference: float | None) -> tuple[float, float]:
    """Return between which values to draw; the first may lie outside, if they are far away."""
    settled = values[int(len(values) * SETTLED) :] if len(values) > 4 else values
    low, high = min(settled), max(settled)
    if max(values) - min(values) <= FAR * (high - low):
        low, high = min(values), max(values)
    span = high - low
    if reference is not None and low - 2 * span <= reference <= high + 2 * span:
        low, high = min(low, reference), max(high, reference)
    span = high - low or max(abs(high), 1e-3) * 0.2
    return low - 0.08 * span, high + 0.08 * span


def _grid(x: Axis, y: Axis, times: Sequence[Point], digits: int) -> list[str]:
    """Return lines with values at the left, steps below and times above."""
    parts = []
    marks = ticks(y.low, y.high, 4)
    places = _places(marks, digits)
    for value in marks:
        at = y(value)
        parts.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(
            f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{value:.{places}f}</text>'
        )
    for step in ticks(x.low, x.high, 4):
        at = x(step)
        anchor = "start" if step == 0 else "end" if at > WIDTH - RIGHT - 20 else "middle"
        parts.append(f'<path class="grid" d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        parts.append(
            f'<text x="{at:.1f}" y="{HEIGHT - 12}" text-anchor="{anchor}">{_steps(step)}</text>'
        )
        if step and times:
            took = _time(seconds_at(step, times))
            parts.append(f'<text x="{at:.1f}" y="{TOP - 10}" text-anchor="{anchor}">{took}</text>')
    parts.append(f'<text x="{LEFT - 6}" y="{HEIGHT - 12}" text-anchor="end">step</text>')
    if times:
        parts.append(f'<text x="{LEFT - 6}" y="{TOP - 10}" text-anchor="end">time</text>')
    return parts


def _reference(value: float | None, x: Axis, y: Axis, digits: int) -> list[str]:
    if value is None or not y.low <= value <= y.high:
        return []
    return [
        f'<path class="reference" d="M{x.begin} {y(value):.1f}H{x.end}">'
        f"<title>real recordings: {value:.{digits}f}</title></path>"
    ]


def _best(step: float | None, x: Axis) -> list[str]:
    return (
        [] if step is None else [f'<path class="best" d="M{x(step):.1f} {TOP}V{HEIGHT - BOTTOM}"/>']
    )


def _curve(
    points: Sequence[Point],
    times: Sequence[Point],
    x: Axis,
    y: Axis,
    digits: int,
    unit: str,
    best: float | None,
) -> list[str]:
    line = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in points)
    parts = [f'<polyline class="curve" points="{line}"/>']
    every = -(-len(points) // MOST_DOTS)
    for number, (step, value) in enumerate(points):
        if step != best and number % every and number != len(points) - 1:
            continue
        kind, radius = ("dot chosen", 5) if step == best else ("dot", 3)
        took = f", {duration(seconds_at(step, times))}" if times else ""
        parts.append(
            f'<circle class="{kind}" cx="{x(step):.1f}" cy="{y(value):.1f}" r="{radius}"><title>'
            f"step {step:g}{took}: {value:.{digits}f} {escape(unit)}</title></circle>"
        )
    return parts


def _described(title: str, points: Sequence[Point], digits: int, unit: str) -> str:
    """Return a curve in a sentence, for those who cannot see it."""
    (first, begin), (last, end) = points[0], points[-1]
    return (
        f"{title}: {begin:.{digits}f} {unit} at step {first:g}, {end:.{digits}f} {unit} at step "
        f"{last:g}"
    ).replace("  ", " ")


def _places(marks: Sequence[float], digits: int) -> int:
    """Return the fewest decimal places that tell marks exactly, or two more than a value has."""
    for places in range(digits + 2):
        if all(abs(round(mark, places) - mark) < 1e-9 for mark in marks):
            return places
    return digits + 2


def _steps(step: float) -> str:
    """Return a number of steps as briefly as it can be told."""
    return f"{step / 1000:g}k" if step >= 10_000 else f"{step:g}"


def _time(seconds: float) -> str:
    """Return a time in its largest unit."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            value = seconds / size
            return f"{value:.0f} {unit}" if value >= 9.95 else f"{value:.1f} {unit}"
    return f"{seconds:.0f} s"
