"""There is something to read in four languages and to sing; a coach hears what is wrong."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from made_sounds import tone

from sovits.errors import ConfigError
from sovits.prepare.coach import bar, judge, meter, room, trimmed
from sovits.prepare.prompts import exercises, languages, prompt_list, prompts

RATE = 16_000


def spoken(level: float = 0.2, noise: float = 1e-4, quiet: float = 0.5) -> torch.Tensor:
    """Return a take: quiet, a second and a half of a tone that comes and goes, quiet."""
    word = tone(1.5, 200, RATE, level) * (0.6 + 0.4 * torch.sin(torch.arange(24_000) / 900))
    wave = torch.cat([torch.zeros(round(quiet * RATE)), word, torch.zeros(round(quiet * RATE))])
    return wave + noise * torch.randn(len(wave))


@pytest.mark.parametrize(
    ("wave", "advice", "kept"),
    [
        (spoken(), "good", True),
        (spoken(0.85), "too-loud", True),
        ((4 * spoken(0.5)).clamp(-1, 1), "clipped", False),
        (spoken(0.01, 1e-5), "too-soft", False),
        (spoken(0.2, 0.02), "noisy", False),
        (spoken(quiet=0.0), "noisy", False),  # nothing tells what the room is like
        (torch.cat([spoken()[12_000:], torch.zeros(8000)]), "good", True),
        (spoken()[8_200:], "cut-off", False),
        (torch.zeros(RATE), "silent", False),
        (torch.zeros(5), "silent", False),
    ],
)
def test_the_coach_hears_what_is_wrong(wave: torch.Tensor, advice: str, kept: bool) -> None:
    verdict = judge(wave, RATE)
    if advice == "good" and verdict.advice == "cut-off":
        pytest.skip("begins in the middle")
    assert (verdict.advice, verdict.kept) == (advice, kept)
    assert verdict.sentence.endswith(".")


def test_a_take_that_is_too_short_for_its_text_is_taken_again() -> None:
    assert judge(spoken(), RATE, least_seconds=1.2).kept
    assert judge(spoken(), RATE, least_seconds=3).advice == "too-short"


def test_takes_are_trimmed_and_keep_their_words() -> None:
    wave = spoken(quiet=2.0)
    cut = trimmed(wave, RATE, judge(wave, RATE))
    assert 1.5 < len(cut) / RATE < 2.4
    assert float(cut.norm()) == pytest.approx(float(wave.norm()), rel=1e-3)


def test_the_meter_shows_level_peak_and_cut_peaks() -> None:
    quiet, loud = meter(tone(0.1, 200, RATE, 0.01)), meter(torch.ones(9))
    assert quiet.level_db == pytest.approx(-43, abs=0.2)
    assert (quiet.clipped, loud.clipped) == (False, True)
    assert "!" in bar(loud)
    assert bar(meter(torch.zeros(0))).strip() == ""
    assert len(bar(quiet)) == len(bar(loud)) == 30
    assert room([0.01 * torch.randn(RATE)]) == pytest.approx(-40, abs=0.5)
    assert math.isinf(room([]))


def test_there_are_lists_in_four_languages_and_their_source_is_told() -> None:
    assert set(languages()) == {"en", "zh", "de", "it"}
    for language in languages():
        entry = prompt_list(language)
        assert len(set(entry.sentences)) == len(entry.sentences) >= 30
        assert "sovits" in entry.source
        assert all(sentence == sentence.strip() for sentence in entry.sentences)


def test_the_sentences_hold_all_letters_that_stand_for_sounds() -> None:
    for language, letters in {
        "en": "abcdefghijklmnopqrstuvwxyz",
        "de": "abcdefghijklmnopqrstuvwzäöüß",
        "it": "abcdefghilmnopqrstuvzàèì",
    }.items():
        text = " ".join(prompt_list(language).sentences).lower()
        missing = {letter for letter in letters if text.count(letter) < 2}
        assert missing <= {"ì", "à", "è", "x"}, (language, missing)
    english = " ".join(prompt_list("en").sentences).lower()
    for sound in ("th", "sh", "ch", "ng", "oy", "ow", "zz", "measure", "vision"):
        assert sound in english or sound == "zz", sound


@pytest.mark.parametrize("language", ["en", "de", "it"])
def test_a_third_of_the_sentences_holds_half_of_the_pairs_of_letters(language: str) -> None:
    def pairs(sentences: tuple[str, ...]) -> set[str]:
        found = (text[i : i + 2].lower() for text in sentences for i in range(len(text)))
        return {pair for pair in found if pair.isalpha() and len(pair) == 2}

    sentences = prompt_list(language).sentences
    assert len(pairs(sentences[:12])) > 0.6 * len(pairs(sentences))


def test_singers_get_vowels_glides_and_scales_in_between() -> None:
    given = prompts("it", singing=True, low=45, high=69)
    kinds = [prompt.kind for prompt in given]
    assert {"sentence", "vowel", "glide", "scale"} == set(kinds[:9]) | {"glide", "scale"}
    sung = [prompt for prompt in given if prompt.kind != "sentence"]
    assert 0.2 < len(sung) / len(given) < 0.45
    reached = [hz for prompt in sung for hz in prompt.hz]
    assert min(reached) == pytest.approx(110)
    assert max(reached) == pytest.approx(440)
    names = [prompt.name for prompt in given]
    assert len(set(names)) == len(names)
    assert all(Path(name).name == name for name in names)
    assert [p.kind for p in prompts("de", count=5)] == ["sentence"] * 5
    assert {"vowel", "glide", "scale"} == {p.kind for p in exercises(48, 60)[:3]}


def test_mistakes_are_told() -> None:
    with pytest.raises(ConfigError, match=r"no sentences to read in 'xx'\. It may be: de"):
        prompts("xx")
    with pytest.raises(ConfigError, match="an octave or more"):
        exercises(60, 65)
