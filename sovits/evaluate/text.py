"""Texts as they are compared: letters only, and how many edits lie between two."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from unicodedata import category, normalize

import numpy as np

KEPT = ("L", "M", "N")
"""Unicode categories that count: letters, the marks on them, and numbers."""


def normalised(text: str) -> str:
    """Return `text` without case, punctuation and spaces, in one Unicode form (NFKC).

    Spaces are left out, as some languages write none, and recognisers split words at will.

    >>> normalised("Ｄon't  STOP!")
    'dontstop'
    """
    folded = normalize("NFKC", normalize("NFKC", text).casefold())
    return "".join(letter for letter in folded if category(letter)[0] in KEPT)


def edit_distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Return how many insertions, deletions and substitutions turn `a` into `b`.

    Levenshtein's distance, a row of the table at a time. That a cell may follow from its left
    neighbour is a running minimum, once each cell has its column taken off.

    >>> edit_distance("kitten", "sitting")
    3
    """
    symbols: dict[Hashable, int] = {}
    first = np.array([symbols.setdefault(symbol, len(symbols)) for symbol in a], dtype=np.int64)
    second = np.array([symbols.setdefault(symbol, len(symbols)) for symbol in b], dtype=np.int64)
    columns = np.arange(len(second) + 1)
    row = columns.copy()
    for number, symbol in enumerate(first, start=1):
        above = row + 1
        above[1:] = np.minimum(above[1:], row[:-1] + (second != symbol))
        above[0] = number
        row = columns + np.minimum.accumulate(above - columns)
    return int(row[-1])
