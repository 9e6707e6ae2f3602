"""A training as one page of HTML that needs nothing else: verdict, curves, sounds, data."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from sovits.evaluate.style import STYLE
from sovits.notes import histogram
from sovits.train.curves import Point, chart
from sovits.train.ears import MEASURES, Values
from sovits.train.gallery import Gallery
from sovits.train.log import LOSSES, duration, read_terms
from sovits.train.probe import Probe
from sovits.train.style import MORE
from sovits.train.verdict import GAIN, Best, Evaluation, number

Table = dict[str, Any]

MOST_POINTS = 240
"""Points of one curve; of more, the means of neighbours."""
MOST_ROWS = 200
"""Rows of the table; of more, the newest."""


@dataclass(frozen=True)
class Standing:
    """All that the page tells."""

    name: str
    """What is trained, in words."""
    step: int
    seconds: float
    evaluations: Sequence[Evaluation]
    best: Best | None
    there: frozenset[str]
    """Names of checkpoints that are on the disk."""
    shown: Sequence[int]
    """Steps of which there are sounds."""
    probes: Sequence[Probe]
    references: Values
    facts: Table
    remarks: Sequence[str] = ()
    """What is to be kept in mind."""
    stopped: str | None = None
    """Why training has ended, if it was not asked to."""
    settings: dict[str, str] = field(default_factory=dict)
    """How it was measured."""


def page(standing: Standing, gallery: Gallery, log: Path) -> str:
    """Return the page.

    Args:
        standing: What is known.
        gallery: What was sung.
        log: `train.jsonl`.
    """
    title = f"Training of {standing.name}"
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{escape(title)}</title>\n<style>{STYLE}{MORE}</style>\n</head>\n<body>\n"
        f"<main>\n<header><h1>{escape(title)}</h1>",
        f"<p>{standing.step} steps in {duration(standing.seconds)}, "
        f"{_counted(len(standing.evaluations), 'evaluation')}.</p></header>",
        *_verdict(standing),
        *_curves(standing),
        *_listen(standing, gallery),
        *_numbers(standing),
        *_data(standing.facts),
        *_losses(standing, log),
        *_how(standing),
        "</main>\n</body>\n</html>",
    ]
    return "\n".join(parts)


def _verdict(standing: Standing) -> Iterable[str]:
    """Yield which checkpoint to take."""
    yield '<section class="verdict" aria-label="Verdict">'
    if standing.best is None:
        yield "<strong>There is no checkpoint yet.</strong>"
    else:
        name = Path(standing.best.evaluation.checkpoint or "").stem
        yield f"<strong>Best checkpoint: <code>{escape(name)}</code></strong>"
        yield f"<p>because {escape(standing.best.because)}.</p>"
    if standing.stopped:
        yield f"<p>{escape(standing.stopped)}</p>"
    for remark in standing.remarks:
        yield f'<p class="faint">{escape(remark)}</p>'
    yield "</section>"


def _curves(standing: Standing) -> Iterable[str]:
    """Yield a curve for each measurement."""
    yield '<section aria-labelledby="curves"><h2 id="curves">Curves</h2><div class="charts">'
    times = _times(standing.evaluations)
    best = standing.best.evaluation.step if standing.best else None
    for key, measure in MEASURES.items():
        points = [(float(e.step), e.values[key]) for e in standing.evaluations if key in e.values]
        if not points:
            continue
        better = "lower is better" if measure.point < 0 else "higher is better"
        unit = f"{measure.unit}, " if measure.unit else ""
        curve = chart(
            points,
            times,
            title=measure.title,
            digits=measure.digits,
            unit=measure.unit,
            best=best if any(step == best for step, _ in points) else None,
            reference=standing.references.get(key),
        )
        yield (
            f"<figure><figcaption>{escape(measure.title)} <small>{escape(unit + better)}</small>"
            f"</figcaption>{curve}</figure>"
        )
    yield "</div>"
    if standing.references:
        yield (
            '<p class="faint">Dotted: what real recordings get: held-out ones in similarity, and '
            "the sources in DNSMOS. Dashed: the best checkpoint.</p>"
        )
    yield "</section>"


def _listen(standing: Standing, gallery: Gallery) -> Iterable[str]:
    """Yield players and spectrograms of each probe."""
    best = standing.best.evaluation.step if standing.best else None
    newest = standing.shown[-1] if standing.shown else None
    first = [step for step in (best, newest) if step is not None and step in standing.shown]
    first = list(dict.fromkeys(first))
    rest = [step for step in standing.shown if step not in first]
    yield '<section class="listen" aria-labelledby="listen"><h2 id="listen">Listen</h2>'
    by_step = {evaluation.step: evaluation for evaluation in standing.evaluations}
    for probe in sorted(standing.probes, key=lambda probe: not probe.foreign):
        yield f"<article><h3>{escape(_asked(probe))}</h3>"
        label = "Source" if probe.foreign else "Recording"
        yield f'<div class="pair">{_figure(gallery, None, probe, label, {}, "")}'
        for step in first:
            yield _of_step(gallery, step, probe, by_step, best, newest)
        yield "</div>"
        if rest:
            yield f"<details><summary>{_counted(len(rest), 'other evaluation')}</summary>"
            yield '<div class="pair">'
            for step in rest:
                yield _of_step(gallery, step, probe, by_step, best, newest)
            yield "</div></details>"
        yield "</article>"
    yield "</section>"


def _of_step(
    gallery: Gallery,
    step: int,
    probe: Probe,
    by_step: dict[int, Evaluation],
    best: int | None,
    newest: int | None,
) -> str:
    tag = "best" if step == best else "newest" if step == newest else ""
    evaluation = by_step.get(step)
    values = evaluation.each.get(probe.key, {}) if evaluation else {}
    return _figure(gallery, step, probe, f"Step {step}", values, tag)


def _figure(
    gallery: Gallery, step: int | None, probe: Probe, label: str, values: Values, tag: str
) -> str:
    """Return a sound with its spectrogram; nothing if it is not kept."""
    sound, picture = gallery.sound(step, probe.key), gallery.picture(step, probe.key)
    if sound is None or picture is None:
        return ""
    title = escape(f"{label}, {probe.title}, {probe.speaker}", quote=True)
    numbers = " · ".join(
        f"{MEASURES[key].title.lower()} {number(values[key], key)}"
        for key in ("held_out_mel", "similarity", "pitch_cents")
        if key in values
    )
    marked = f'<span class="tag">{tag}</span>' if tag else ""
    below = f"<small>{escape(numbers)}</small>" if numbers else ""
    seconds = len(probe.source) / probe.source_rate
    return (
        f'<figure class="{"source" if step is None else "made"}">'
        f"<figcaption>{escape(label)}{marked}</figcaption>"
        f'<audio controls preload="metadata" aria-label="{title}" '
        f'src="{_address("audio/ogg", sound)}"></audio><div class="spectrogram">'
        f'<img alt="Spectrogram of {title}" loading="lazy" '
        f'src="{_address("image/png", picture)}"><span>0 s</span><span>{seconds:.1f} s</span></div>'
        f"{below}</figure>"
    )


def _asked(probe: Probe) -> str:
    """Return what a probe is, in words."""
    if not probe.foreign:
        return f"Copy of {probe.title}, {probe.speaker}"
    moved = f", moved by {probe.semitones:+g} semitones" if probe.semitones else ""
    return f"{probe.title} as {probe.speaker}{moved}"


def _numbers(standing: Standing) -> Iterable[str]:
    """Yield a row for each evaluation."""
    rows = list(standing.evaluations)[-MOST_ROWS:]
    keys = [key for key in MEASURES if any(key in row.values for row in rows)]
    yield '<section aria-labelledby="numbers"><h2 id="numbers">Numbers</h2>'
    yield '<div class="wide" role="region" tabindex="0" aria-labelledby="numbers">'
    yield '<table class="rows"><thead><tr><th scope="col">Step</th><th scope="col">Time</th>'
    yield '<th scope="col">Checkpoint</th>'
    for key in keys:
        measure = MEASURES[key]
        unit = f"<small>{escape(measure.unit)}</small>" if measure.unit else ""
        yield f'<th scope="col">{escape(measure.title)}{unit}</th>'
    yield "</tr></thead><tbody>"
    for row in reversed(rows):
        chosen = standing.best is not None and row.step == standing.best.evaluation.step
        yield (
            f'<tr class="chosen"><th scope="row">{row.step}</th>'
            if chosen
            else (f'<tr><th scope="row">{row.step}</th>')
        )
        kept = row.checkpoint is not None and row.checkpoint in standing.there
        name = Path(row.checkpoint or "").stem
        yield f"<td>{duration(row.seconds)}</td>"
        yield f"<td>{f'<code>{escape(name)}</code>' if kept else '–'}</td>"
        for key in keys:
            shown = f"{row.values[key]:.{MEASURES[key].digits}f}" if key in row.values else "–"
            yield f"<td>{shown.replace('-', '−')}</td>"
        yield "</tr>"
    yield "</tbody></table></div>"
    yield '<p class="faint">–: not measured, or the checkpoint is no longer kept.</p></section>'


def _data(facts: Table) -> Iterable[str]:
    """Yield what there is to learn from."""
    yield '<section aria-labelledby="data"><h2 id="data">Data</h2><dl class="facts">'
    for name, value in (
        ("Trained on", f"{facts['minutes']:.1f} min in {_counted(facts['clips'], 'clip')}"),
        (
            "Held out",
            f"{facts['held_out_minutes']:.1f} min in {_counted(facts['held_out_clips'], 'clip')}",
        ),
        ("Speakers", str(len(facts["speakers"]))),
        ("Content encoder", facts["content"]),
        ("Sample rate", f"{facts['sample_rate']} Hz"),
    ):
        yield f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
    yield '</dl><div class="people">'
    for speaker in facts["speakers"]:
        yield f"<article><h3>{escape(speaker['name'])}</h3>"
        yield (
            f"<p>{speaker['minutes']:.1f} min in {_counted(speaker['clips'], 'clip')} of "
            f"{speaker['shortest_seconds']:.1f} to {speaker['longest_seconds']:.1f} s."
        )
        if speaker["median_f0_hz"] is not None:
            low, high = speaker["f0_range_hz"]
            yield (
                f" Median pitch {speaker['median_f0_hz']:.0f} Hz; nine tenths lie between "
                f"{low:.0f} and {high:.0f} Hz.</p>"
            )
            yield histogram(speaker["name"], speaker["notes"])
        else:
            yield " Nothing voiced in them.</p>"
        yield "</article>"
    yield "</div></section>"


def _losses(standing: Standing, log: Path) -> Iterable[str]:
    """Yield the terms of the loss."""
    terms = read_terms(log)
    curves = {
        name: _fewer([(float(step), found[name]) for step, found in terms.items() if name in found])
        for name in LOSSES
    }
    if not any(curves.values()):
        return
    times = _times(standing.evaluations)
    yield '<section aria-labelledby="losses"><h2 id="losses">Losses</h2><details>'
    yield "<summary>Terms that training minimises; they tell little of the sound</summary>"
    yield '<div class="charts">'
    for name, points in curves.items():
        if not points:
            continue
        curve = chart(points, times, title=f"Loss: {name}", digits=3)
        yield f"<figure><figcaption>{escape(name)}</figcaption>{curve}</figure>"
    yield "</div></details></section>"


def _fewer(points: list[Point]) -> list[Point]:
    """Return means of neighbours, if there are many points."""
    size = max(1, -(-len(points) // MOST_POINTS))
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def _how(standing: Standing) -> Iterable[str]:
    """Yield the rule, and by what it was measured."""
    yield '<section aria-labelledby="how"><h2 id="how">How it is judged</h2>'
    yield (
        "<p>At each evaluation the voice sings the same sounds, with the weights that would "
        "convert. Each measurement is worth a point for so much of it; the checkpoint with the "
        "most points is the best. An evaluation gains if it has at least "
        f"{GAIN:g} points more than all before it.</p>"
    )
    yield '<div class="wide"><table><thead><tr><th scope="col">Measure</th>'
    yield '<th scope="col">One point is</th></tr></thead><tbody>'
    for measure in MEASURES.values():
        sign = "less" if measure.point < 0 else "more"
        size = f"{abs(measure.point):g} {measure.unit}".strip()
        yield (
            f'<tr><th scope="row">{escape(measure.title)}<small>{escape(measure.explanation)}'
            f"</small></th><td>{escape(size)} {sign}</td></tr>"
        )
    yield "</tbody></table></div><dl>"
    for name, value in standing.settings.items():
        yield f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
    yield "</dl></section>"


def _times(evaluations: Sequence[Evaluation]) -> list[Point]:
    return [(float(evaluation.step), evaluation.seconds) for evaluation in evaluations]


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _address(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{b64encode(data).decode()}"
