"""What is understood of the results, compared with what was said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from sovits.evaluate import bootstrap
from sovits.evaluate.clips import Clip, Reading, readings
from sovits.evaluate.recognisers import Recogniser
from sovits.evaluate.results import Column, Measure, Transcript
from sovits.evaluate.text import edit_distance

REFERENCES = {
    (True, False): "the given texts",
    (False, True): "its own transcripts of the sources",
    (True, True): "given texts, and its own transcripts of sources that have none",
}


class Understood(NamedTuple):
    """What recognisers made of all clips."""

    measures: list[Measure]
    transcripts: list[Transcript]
    references: dict[str, str]
    """What each recogniser's errors are counted from."""
    languages: list[str]
    """What languages were heard, or said to be spoken."""


def measure_intelligibility(
    clips: Sequence[Clip],
    recognisers: Sequence[Recogniser],
    language: str | None,
    on_progress: Callable[[float], None],
) -> Understood:
    """Return rates of errors by each recogniser.

    A rate is the number of edits from the reference to what was understood, by the length of the
    reference. Repetitions and inventions of a recogniser make it more than 1; it is not capped.
    The language of a result is taken to be that of its source.
    """
    parts = readings(clips)
    understood = Understood([], [], {}, [])
    steps, done = len(recognisers) * len(parts), 0
    for recogniser in recognisers:
        rows: list[list[float]] = []
        kinds: list[bool] = []
        for part in parts:
            transcript, languages = _transcribed(clips, part, recogniser, language)
            understood.languages.extend(languages)
            understood.transcripts.append(transcript)
            kinds.append(transcript.given)
            rows.append(_edits(transcript, recogniser))
            done += 1
            on_progress(done / steps)
        reference = REFERENCES[any(kinds), not all(kinds)]
        understood.references[recogniser.name] = reference
        understood.measures.append(
            _measure(recogniser, np.array(rows), clips, parts, reference, any(kinds))
        )
    understood.languages[:] = sorted(set(understood.languages))
    return understood


def _transcribed(
    clips: Sequence[Clip], part: Reading, recogniser: Recogniser, language: str | None
) -> tuple[Transcript, list[str]]:
    """Return what was understood of source and result, and the languages that were heard."""
    source, result, languages = [], [], []
    for number in part.clips:
        said = recogniser.hear(*clips[number].source(), language)
        source.append(said.text)
        result.append(recogniser.hear(*clips[number].result(), said.language or language).text)
        languages += [said.language] if said.language else []
    given = part.text is not None and recogniser.takes_text
    reference = part.text if given and part.text is not None else " ".join(source)
    name = _name(clips, part)
    transcript = Transcript(
        recogniser.name, name, part.clips, reference, given, " ".join(source), " ".join(result)
    )
    return transcript, languages


def _edits(transcript: Transcript, recogniser: Recogniser) -> list[float]:
    """Return edits of the result, length of the reference, edits of the source, length again."""
    wanted = recogniser.symbols(transcript.reference)
    edits = [
        float(edit_distance(wanted, recogniser.symbols(text)))
        for text in (transcript.result, transcript.source)
    ]
    return [edits[0], float(len(wanted)), edits[1], float(len(wanted))]


def _measure(
    recogniser: Recogniser,
    rows: bootstrap.Sums,
    clips: Sequence[Clip],
    parts: Sequence[Reading],
    reference: str,
    tells_of_source: bool,
) -> Measure:
    """Return the row of the report; that of the source tells nothing if it is the reference."""
    return Measure(
        recogniser.key,
        recogniser.label,
        "intelligibility",
        "lower",
        tuple(_name(clips, part) for part in parts),
        Column(rows[:, :2], bootstrap.ratio),
        Column(rows[:, 2:], bootstrap.ratio) if tells_of_source else None,
        Column(rows, bootstrap.change_of_ratio) if tells_of_source else None,
        explanation=f"Errors for each symbol of the reference, which is {reference}. "
        "It can exceed 1.",
        clips=tuple(part.clips for part in parts),
    )


def _name(clips: Sequence[Clip], part: Reading) -> str:
    """Return what a reading is called in tables."""
    first = clips[part.clips[0]]
    return first.name if len(part.clips) == 1 else first.sources()[0].name
