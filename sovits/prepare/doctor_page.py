"""What the doctor found as one page of HTML that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape
from pathlib import Path

from sovits.evaluate.report import write_text
from sovits.evaluate.style import STYLE
from sovits.notes import histogram
from sovits.prepare.doctor import Diagnosis, Facts, Patient
from sovits.prepare.findings import Finding

MOST_FINDINGS = 400
"""Findings that are shown; the JSON has all."""
VERDICTS = {
    "green": "Good to train on",
    "yellow": "Can be trained on, and would be better without these",
    "red": "Not to be trained on like this",
}
LABELS = {"stop": "put right", "warn": "costs quality", "note": "good to know"}
MORE = """
main { max-width: 72rem; }
.verdict { background: var(--raised); border: 1px solid var(--line); border-left: .4rem solid
  var(--accent); border-radius: .6rem; padding: 1.1rem 1.3rem; margin-top: 1.5rem; }
.verdict strong { font-size: 1.25rem; }
.green { border-left-color: var(--new); }
.red { border-left-color: var(--gone); }
.verdict p { margin: .35rem 0 0; }
.facts { display: grid; gap: .2rem 1.5rem;
  grid-template-columns: repeat(auto-fill, minmax(min(11rem, 100%), 1fr)); }
.facts dd { font-weight: 600; font-variant-numeric: tabular-nums; }
.charts { display: grid; gap: 1.25rem; margin-top: 1.2rem;
  grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); }
.chart { width: 100%; height: auto; display: block; overflow: visible; }
.chart text { font: 11px system-ui, sans-serif; fill: var(--faint); }
.chart .grid { stroke: var(--line); fill: none; }
.chart .bar { fill: var(--accent); }
thead th:nth-child(n+3) { text-align: left; }
td:first-child { white-space: nowrap; }
.stop { color: var(--gone); font-weight: 700; }
.warn { color: var(--accent); font-weight: 700; }
.file { overflow-wrap: anywhere; min-width: 8rem; }
"""
"""CSS besides that of all pages."""


def write_page(path: Path, diagnosis: Diagnosis) -> None:
    """Write the page, all of it or nothing.

    Raises:
        OutputError: The file cannot be written.
    """
    write_text(path, page(diagnosis))


def page(diagnosis: Diagnosis) -> str:
    """Return the page."""
    name = diagnosis.folder.resolve().name.encode("utf-8", "replace").decode("utf-8")
    title = f"Recordings in {name}"
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{escape(title)}</title>\n<style>{STYLE}{MORE}</style>\n</head>\n<body>\n<main>",
        f"<header><h1>{escape(title)}</h1><p>Judged for a voice that "
        f"{'sings' if diagnosis.goal == 'singing' else 'speaks'}.</p></header>",
    ]
    for number, speaker in enumerate(diagnosis.speakers):
        parts += _speaker(speaker, number)
    return "\n".join([*parts, "</main>\n</body>\n</html>\n"])


def _speaker(speaker: Patient, number: int) -> Iterator[str]:
    """Yield all about one speaker."""
    yield f'<section aria-labelledby="s{number}"><h2 id="s{number}">{escape(speaker.name)}</h2>'
    yield f'<div class="verdict {speaker.light}"><strong>{VERDICTS[speaker.light]}.</strong>'
    yield f"<p>{escape(summary(speaker.facts))}</p></div>"
    yield '<dl class="facts">'
    for name, value in told(speaker.facts):
        yield f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
    yield '</dl><div class="charts">'
    if speaker.facts["notes"]:
        yield "<figure><figcaption>Pitch</figcaption>"
        yield f"{histogram(speaker.name, speaker.facts['notes'])}</figure>"
    if speaker.facts["energies"]:
        yield "<figure><figcaption>Level of speech (dBFS)</figcaption>"
        yield f"{_energies(speaker)}</figure>"
    yield "</div>"
    yield from _findings(speaker.findings)
    yield "</section>"


def summary(facts: Facts) -> str:
    """Return what there is, in a sentence."""
    span = f", {facts['vocal_range'][0]} to {facts['vocal_range'][1]}" if facts["notes"] else ""
    return (
        f"{facts['usable_minutes']:.1f} of {facts['minutes']:.1f} minutes are usable speech, in "
        f"{facts['files']} files{span}."
    )


def told(facts: Facts) -> Iterator[tuple[str, str]]:
    """Yield what is known of all recordings of a speaker, in words."""
    for key, name, shape in (
        ("snr_db", "Voice above noise", "{:.0f} dB"),
        ("decay_s", "Decay of the room", "{:.2f} s"),
        ("bandwidth_hz", "Highest frequency", "{:.0f} Hz"),
        ("silence_share", "Silence", "{:.0%}"),
        ("loudness_db", "Level", "{:.0f} dBFS"),
        ("loudness_spread_db", "Spread of level", "{:.1f} dB"),
        ("range_semitones", "Vocal range", "{:.0f} semitones"),
        ("sung_share", "Held notes", "{:.0%} of the voiced time"),
        ("sounds_share", "Sounds of speech", "{:.0%}"),
    ):
        value = facts[key]
        if value is not None and not math.isnan(value):
            yield name, shape.format(value)


def _energies(speaker: Patient) -> str:
    """Return how much of the speech has which level, as bars."""
    shares = {int(level): share for level, share in speaker.facts["energies"].items()}
    width, height, bottom = 360, 120, 20
    low, step = -60, width / 20
    most = max(shares.values())
    parts = [
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="Levels in the recordings of {escape(speaker.name, quote=True)}">'
    ]
    for level in range(low, 1, 12):
        at = (level - low) / 3 * step
        anchor = "start" if level == low else "end" if level == 0 else "middle"
        parts.append(f'<path class="grid" d="M{at:.1f} 0V{height - bottom}"/>')
        parts.append(f'<text x="{at:.1f}" y="{height - 5}" text-anchor="{anchor}">{level}</text>')
    for level, share in sorted(shares.items()):
        tall = share / most * (height - bottom - 4)
        parts.append(
            f'<rect class="bar" x="{(level - low) / 3 * step:.1f}" '
            f'y="{height - bottom - tall:.1f}" width="{step - 1:.1f}" height="{tall:.1f}">'
            f"<title>{level} to {level + 3} dBFS: {share:.1%}</title></rect>"
        )
    return "".join([*parts, "</svg>"])


def _findings(findings: list[Finding]) -> Iterator[str]:
    """Yield a table of what is wrong."""
    if not findings:
        yield '<p class="faint">Nothing is wrong with them.</p>'
        return
    yield '<div class="wide"><table><thead><tr>'
    for head in ("Weight", "File", "Found", "Why it matters", "What to do"):
        yield f'<th scope="col">{head}</th>'
    yield "</tr></thead><tbody>"
    for finding in findings[:MOST_FINDINGS]:
        file = "all" if finding.file is None else finding.file
        yield (
            f'<tr><td class="{finding.weight}">{LABELS[finding.weight]}</td>'
            f'<td class="file">{escape(file)}</td><td>{escape(finding.found)}'
            f"<small>{escape(finding.kind)}</small></td><td>{escape(finding.why)}</td>"
            f"<td>{escape(finding.do)}</td></tr>"
        )
    yield "</tbody></table></div>"
    if len(findings) > MOST_FINDINGS:
        yield f'<p class="faint">And {len(findings) - MOST_FINDINGS} more; --json has all.</p>'
