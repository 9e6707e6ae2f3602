"""Texts are compared by their letters; the distance of two texts is a distance."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovits.evaluate.text import edit_distance, normalised

WORDS = st.text("abcd", max_size=12)


def by_definition(a: str, b: str) -> int:
    """Return Levenshtein's distance as it is defined."""

    @cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        swap = distance(i - 1, j - 1) + (a[i - 1] != b[j - 1])
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, swap)

    return distance(len(a), len(b))


@pytest.mark.parametrize(
    ("a", "b", "edits"),
    [
        ("", "", 0),
        ("", "abc", 3),
        ("abc", "", 3),
        ("kitten", "sitting", 3),
        ("flaw", "lawn", 2),
        ("intention", "execution", 5),
    ],
)
def test_known_distances(a: str, b: str, edits: int) -> None:
    assert edit_distance(a, b) == edits


@given(WORDS, WORDS)
def test_the_distance_is_that_of_the_definition(a: str, b: str) -> None:
    assert edit_distance(a, b) == by_definition(a, b)


@given(WORDS, WORDS, WORDS)
def test_the_distance_is_a_metric(a: str, b: str, c: str) -> None:
    assert edit_distance(a, b) == edit_distance(b, a)
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)
    assert abs(len(a) - len(b)) <= edit_distance(a, b) <= max(len(a), len(b))


@given(WORDS, st.integers(0, 11), st.sampled_from("xyz"))
def test_one_edit_is_one(text: str, place: int, letter: str) -> None:
    assert edit_distance(text, text[:place] + letter + text[place:]) == 1


def test_phonemes_are_counted_whole() -> None:
    assert edit_distance(["d͡ʒ", "eɪ", "m"], ["d", "ʒ", "eɪ", "m"]) == 2


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("Hello, World!", "helloworld"),
        ("  don't\n stop ", "dontstop"),
        ("STRASSE Straße", "strassestrasse"),
        ("ﬁve Ⅷ ½", "fiveviii12"),
        ("ｶﾞ 12", "ガ12"),
        ("नमस्ते।", "नमस्ते"),
        ("e\u0301té", "été"),
        ("Привет — мир…", "приветмир"),
        ("?!", ""),
    ],
)
def test_only_letters_marks_and_digits_count(text: str, letters: str) -> None:
    assert normalised(text) == letters


@given(st.text(max_size=30))
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)
