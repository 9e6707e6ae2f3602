"""An evaluation as one page of HTML that needs nothing else: numbers, players, spectrograms."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from html import escape
from pathlib import Path

from sovits.audio.io import AudioReader, AudioWriter
from sovits.errors import OutputError
from sovits.evaluate.bootstrap import CONFIDENCE
from sovits.evaluate.pictures import highest_frequency, png, spectrograms
from sovits.evaluate.results import Column, Evaluation, Measure, Transcript
from sovits.evaluate.style import STYLE
from sovits.evaluate.table import NOTHING, headline, interval, number, value
from sovits.evaluate.text import normalised
from sovits.types import Wave

MOST_PLAYED = 40
"""Clips that have players; of more, so many are taken at even distances."""
TARGET_SECONDS = 20.0
"""How much of the target can be heard (s)."""


def write_json(path: Path, evaluation: Evaluation) -> None:
    """Write what was found as JSON, all of it or nothing.

    Raises:
        OutputError: The file cannot be written.
    """
    text = json.dumps(evaluation.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, f"{text}\n")


def write_report(path: Path, evaluation: Evaluation, folder: Path) -> None:
    """Write the page, all of it or nothing.

    Args:
        path: Where to.
        evaluation: What was found; its sounds must still be there.
        folder: Where sounds may be encoded meanwhile.

    Raises:
        OutputError: The file cannot be written.
    """
    write_text(path, page(evaluation, folder))


def page(evaluation: Evaluation, folder: Path) -> str:
    """Return the page; `folder` takes sounds while they are encoded."""
    title = f"How {evaluation.voice['name'] or 'this voice'} converts"
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>",
            f"<header><h1>{escape(title)}</h1>",
            f"<p>{escape(headline(evaluation))}, measured on {escape(evaluation.date[:10])}.</p>",
            "</header>",
            *_numbers(evaluation),
            *_notes(evaluation.notes),
            *_target(evaluation, folder),
            *_clips(evaluation, folder),
            *_settings(evaluation),
            "</main>\n</body>\n</html>\n",
        ]
    )


def _numbers(evaluation: Evaluation) -> Iterable[str]:
    """Yield the table of all measurements."""
    percent = f"{CONFIDENCE:.0%}"
    yield '<section aria-labelledby="numbers"><h2 id="numbers">Numbers</h2>'
    yield '<div class="wide" role="region" tabindex="0" aria-labelledby="numbers"><table>'
    yield (
        f"<caption>Below each number is its {percent} interval: where it would lie with other "
        "clips of the same kind (bootstrap over clips).</caption>"
    )
    yield "<thead><tr>"
    for head in ("Measure", "Best", "Source", "Result", "Change"):
        yield f'<th scope="col">{head}</th>'
    yield "</tr></thead>"
    metric = ""
    for measure in evaluation.measures:
        if measure.metric != metric:
            yield f"{'</tbody>' if metric else ''}<tbody>"
            metric = measure.metric
        unit = f", {measure.unit}" if measure.unit else ""
        yield (
            f'<tr><th scope="row">{escape(measure.label + unit)}'
            f"<small>{escape(measure.explanation)}</small></th>"
            f"<td>{'high' if measure.better == 'higher' else 'low'}</td>"
            f"{_cell(measure, measure.source)}{_cell(measure, measure.result, 'made')}"
            f"{_cell(measure, measure.change, sign=True)}</tr>"
        )
    yield f"{'</tbody>' if metric else ''}</table></div></section>"


def _cell(measure: Measure, column: Column | None, kind: str = "", *, sign: bool = False) -> str:
    """Return a measurement with its interval."""
    found = _shown(value(measure, column, sign=sign))
    if found == NOTHING:
        return '<td class="none"><span aria-label="not measured">–</span></td>'
    spread = interval(measure, column)
    below = f"<small>{_shown(spread)}</small>" if spread != NOTHING else ""
    return f'<td class="number {kind}">{found}{below}</td>'


def _shown(numbers: str) -> str:
    """Return numbers with minus signs in place of hyphens; what is no number stays."""
    return escape(numbers if numbers == NOTHING else numbers.replace("-", "\N{MINUS SIGN}"))


def _notes(notes: Sequence[str]) -> Iterable[str]:
    """Yield what is to be kept in mind."""
    if notes:
        yield '<section aria-labelledby="notes"><h2 id="notes">Keep in mind</h2><ul>'
        yield from (f"<li>{escape(note)}</li>" for note in notes)
        yield "</ul></section>"


def _target(evaluation: Evaluation, folder: Path) -> Iterable[str]:
    """Yield a recording of the target to listen to."""
    path, about = evaluation.target_sample, evaluation.target
    if path is None or about is None:
        return
    yield '<section aria-labelledby="target"><h2 id="target">Target</h2>'
    halves = about.get("similarity_between_halves")
    alike = "" if halves is None else f" Two halves of it have a similarity of {halves:.3f}."
    yield f"<p>Compared with {about['seconds']:.1f} s of the target.{alike}</p>"
    with AudioReader(path) as reader:
        rate = reader.sample_rate
        wave = reader.read(0, round(TARGET_SECONDS * rate)).mean(0)
    yield f'<div class="pair">{_figure("Target", [(wave, rate)], 0, folder)}</div></section>'


def _clips(evaluation: Evaluation, folder: Path) -> Iterable[str]:
    """Yield players, spectrograms, numbers and transcripts of each clip."""
    clips = evaluation.clips
    shown = _evenly(len(clips), MOST_PLAYED)
    yield '<section aria-labelledby="clips"><h2 id="clips">Clips</h2>'
    if len(shown) < len(clips):
        yield f"<p>{len(shown)} of {len(clips)} clips, taken at even distances.</p>"
    for index in shown:
        clip = clips[index]
        sounds = [clip.source(), clip.result()]
        yield f'<article><h3>{escape(clip.name)} <span class="faint">{clip.seconds:.1f} s</span>'
        yield "</h3>"
        names = [record.name for record in clip.sources()]
        if len(set(names)) > 1:
            yield f'<p class="faint">{escape(", ".join(dict.fromkeys(names)))}</p>'
        yield f'<div class="pair">{_figure("Source", sounds, 0, folder, clip.name)}'
        yield f"{_figure('Result', sounds, 1, folder, clip.name)}</div>"
        yield from _of_clip(evaluation.measures, index)
        yield from _transcripts([t for t in evaluation.transcripts if index in t.clips])
        yield "</article>"
    yield "</section>"


def _figure(
    label: str, sounds: list[tuple[Wave, int]], which: int, folder: Path, name: str = ""
) -> str:
    """Return a sound with its spectrogram; `sounds` share one scale of loudness."""
    wave, rate = sounds[which]
    sound = _sound(wave, rate, folder)
    picture = _data("image/png", png(spectrograms(sounds)[which]))
    top, seconds = highest_frequency(sounds) / 1000, len(wave) / rate
    title = escape(f"{label} {name}".strip(), quote=True)
    return (
        f"<figure><figcaption>{escape(label)}</figcaption>"
        f'<audio controls preload="metadata" aria-label="{title}" src="{sound}"></audio>'
        f'<div class="spectrogram"><span>{top:g} kHz</span>'
        f'<img alt="Spectrogram of {title}, 0 to {top:g} kHz over {seconds:.1f} s" src="{picture}">'
        f"<span>0 s</span><span>{seconds:.1f} s</span></div></figure>"
    )


def _of_clip(measures: Sequence[Measure], clip: int) -> Iterable[str]:
    """Yield the measurements of one clip, where there are some of it alone."""
    rows = [
        (measure, measure.clips.index((clip,))) for measure in measures if (clip,) in measure.clips
    ]
    if not rows:
        return
    yield '<dl class="values">'
    for measure, index in rows:
        parts = [
            number(column.values[index], measure.digits)
            for column in (measure.source, measure.result)
            if column is not None
        ]
        yield f"<div><dt>{escape(measure.label)}</dt>"
        yield f"<dd>{_shown(' → '.join(parts))} {escape(measure.unit)}</dd></div>"
    yield "</dl>"


def _transcripts(said: Sequence[Transcript]) -> Iterable[str]:
    """Yield what was understood, with what is different marked."""
    if not said:
        return
    yield "<details><summary>What was understood</summary>"
    for transcript in said:
        kind = "given text" if transcript.given else "heard in the source"
        yield f"<h4>{escape(transcript.recogniser)}</h4><dl><dt>Reference ({kind})</dt>"
        yield f"<dd>{escape(transcript.reference) or NOTHING}</dd>"
        if transcript.given:
            yield f"<dt>Source</dt><dd>{_marked(transcript.reference, transcript.source)}</dd>"
        yield f"<dt>Result</dt><dd>{_marked(transcript.reference, transcript.result)}</dd></dl>"
    yield "</details>"


def _marked(reference: str, text: str) -> str:
    """Return `text` with what the reference has otherwise struck out and inserted.

    Case and punctuation make no difference, as they make none to the rate of errors.
    """
    a, b = reference.split(), text.split()
    plain_a, plain_b = ([normalised(word) or word for word in words] for words in (a, b))
    parts: list[str] = []
    for kind, a0, a1, b0, b1 in SequenceMatcher(
        None, plain_a, plain_b, autojunk=False
    ).get_opcodes():
        if kind in ("delete", "replace"):
            parts.append(f"<del>{escape(' '.join(a[a0:a1]))}</del>")
        if kind in ("insert", "replace"):
            parts.append(f"<ins>{escape(' '.join(b[b0:b1]))}</ins>")
        if kind == "equal":
            parts.append(escape(" ".join(b[b0:b1])))
    return " ".join(parts) or NOTHING


def _settings(evaluation: Evaluation) -> Iterable[str]:
    """Yield all that is needed to measure the same again."""
    found = evaluation.to_json()
    yield '<section aria-labelledby="settings"><h2 id="settings">How it was measured</h2>'
    for title, key in (
        ("Voice", "voice"),
        ("Options of the conversion", "options"),
        ("Methods", "methods"),
        ("Machine", "machine"),
    ):
        if found[key]:
            yield f"<details><summary>{title}</summary><dl>"
            for name, item in found[key].items():
                shown = item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)
                yield f"<div><dt>{escape(name)}</dt><dd>{escape(shown)}</dd></div>"
            yield "</dl></details>"
    yield "</section>"


def _evenly(count: int, most: int) -> list[int]:
    """Return at most `most` of `count` numbers, at even distances."""
    kept = min(count, most)
    return [index * count // kept for index in range(kept)]


def _sound(wave: Wave, rate: int, folder: Path) -> str:
    """Return a sound as an address that holds all of it."""
    path = folder / ".listen.ogg"
    with AudioWriter(path, rate, 1) as writer:
        writer.write(wave[None])
    data = path.read_bytes()
    path.unlink()
    return _data("audio/ogg", data)


def _data(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{b64encode(data).decode()}"


def write_text(path: Path, text: str) -> None:
    """Write a text file that appears whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, "utf-8")
        part.replace(path)
    except OSError as error:
        raise OutputError.cannot_write(path, error.strerror or str(error)) from error
    finally:
        part.unlink(missing_ok=True)
