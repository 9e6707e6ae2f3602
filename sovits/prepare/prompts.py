"""What to read and sing so that a voice hears every sound and note that it will need."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from sovits.errors import ConfigError
from sovits.notes import note_hz, note_name

Kind = Literal["sentence", "vowel", "glide", "scale"]
DATA = "prompts.json"
SECONDS_PER_LETTER = 0.045
"""How fast the fastest reader is (s)."""
SECONDS_PER_SIGN = 0.13
"""The same for a Chinese character."""
VOWELS = ("a", "e", "i", "o", "u")


@dataclass(frozen=True)
class Prompt:
    """One thing to read or sing."""

    name: str
    """What its file is called, without suffix."""
    kind: Kind
    text: str
    """What to read or do, in the language of the list."""
    hint: str = ""
    """How."""
    hz: tuple[float, ...] = ()
    """Pitches to hear before it, and to reach (Hz)."""
    least_seconds: float = 0.5
    """A take of less cannot be all of it (s)."""


@dataclass(frozen=True)
class PromptList:
    """The prompts of a language."""

    language: str
    title: str
    source: str
    """Who wrote the sentences, and under which licence."""
    sentences: tuple[str, ...]


@cache
def _table() -> dict[str, PromptList]:
    text = files("sovits").joinpath("assets", DATA).read_text("utf-8")
    return {
        entry["language"]: PromptList(**{**entry, "sentences": tuple(entry["sentences"])})
        for entry in json.loads(text)["lists"]
    }


def languages() -> dict[str, str]:
    """Return the title of the list of each language, by its code."""
    return {code: entry.title for code, entry in _table().items()}


def prompt_list(language: str) -> PromptList:
    """Return the sentences of a language.

    Raises:
        ConfigError: There are none of this language.
    """
    table = _table()
    if language not in table:
        raise ConfigError.no_prompts(language, table)
    return table[language]


def prompts(
    language: str, *, singing: bool = False, low: int = 48, high: int = 72, count: int | None = None
) -> list[Prompt]:
    """Return what to read and, for a voice that sings, to sing.

    Sentences are in an order in which each adds as many new pairs of letters as it can, so it does
    little harm to stop early. With `singing` one prompt in three is sung.

    Args:
        language: Code of the language, as `languages` has it.
        singing: With vowels, glides and scales.
        low: Lowest note that is comfortable (MIDI).
        high: Highest one.
        count: How many prompts; all if not given.

    Raises:
        ConfigError: There are none of this language, or the notes are in the wrong order.
    """
    spoken = [
        Prompt(f"{language}_{number:03}", "sentence", text, least_seconds=_seconds(text))
        for number, text in enumerate(prompt_list(language).sentences, 1)
    ]
    chosen = list(spoken)
    if singing:
        sung = exercises(low, high)
        chosen = []
        for number, prompt in enumerate(spoken):
            chosen.append(prompt)
            if number % 2:
                chosen += sung[number // 2 : number // 2 + 1]
        chosen += sung[len(spoken) // 2 :]
    return chosen[:count]


def exercises(low: int, high: int) -> list[Prompt]:
    """Return what to sing between two notes (MIDI): vowels, glides and scales.

    Raises:
        ConfigError: `high` is less than an octave above `low`.
    """
    if high - low < 12 or not 24 <= low <= high <= 96:
        wanted = "an octave or more, between C1 and C7"
        raise ConfigError.wrong_value("the range of notes", f"{low}-{high}", wanted)
    made = []
    for number, note in enumerate(range(low, high + 1, 2)):
        vowel = VOWELS[number % len(VOWELS)]
        made.append(
            Prompt(f"vowel_{vowel}_{note}", "vowel", f"{vowel} – {note_name(note)}",
                   "Hold it for four seconds, softly first, then louder.", (note_hz(note),), 2.5)
        )  # fmt: skip
    for number, (begin, end) in enumerate(
        ((low, high), (high, low), (low, low + 12), (high, high - 12))
    ):
        vowel = VOWELS[number % len(VOWELS)]
        made.append(
            Prompt(f"glide_{vowel}_{begin}_{end}", "glide",
                   f"{vowel} – {note_name(begin)} → {note_name(end)}",
                   "Glide from the first to the last without a step.",
                   (note_hz(begin), note_hz(end)), 2.0)
        )  # fmt: skip
    for number, root in enumerate(range(low, high - 11, 3)):
        vowel = VOWELS[(number + 2) % len(VOWELS)]
        steps = [root + step for step in (0, 2, 4, 5, 7, 9, 11, 12)]
        made.append(
            Prompt(f"scale_{vowel}_{root}", "scale",
                   f"{vowel} – {' '.join(map(note_name, steps))}",
                   "Sing it up, and down again, a note each second.",
                   tuple(map(note_hz, steps)), 4.0)
        )  # fmt: skip
    # By turns, so that all kinds are there even if somebody stops early.
    kinds = [[p for p in made if p.kind == kind] for kind in ("vowel", "glide", "scale")]
    longest = max(map(len, kinds))
    return [kind[i] for i in range(longest) for kind in kinds if i < len(kind)]


def _seconds(text: str) -> float:
    """Return how long even a fast reader needs."""
    signs = sum("\u3000" < letter < "\ua000" for letter in text)
    return round(signs * SECONDS_PER_SIGN + (len(text) - signs) * SECONDS_PER_LETTER, 2)
