"""Which recording a clip was cut from, so that no recording is trained on and judged by."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

LIST = ".sources.json"
"""Kept in a folder of clips: the path of the recording that each clip was made of."""

# What cutting programs append: "talk_0012", "talk-part3", "talk (3)", "talk_0.52_9.31", "out0007".
_NUMBER = r"\(?\d+(?:[.,]\d+)?s?\)?"
_WORD = r"(?:part|chunk|segment|seg|slice|piece|split|clip|cut)?"
_PIECE = re.compile(
    rf"(?:(?:^|[\s_.#~-]+){_WORD}[\s_.#-]*{_NUMBER}|(?<=[^\d\s]){_WORD}\d{{3,}})$", re.I
)


def keep_sources(folder: Path, sources: Mapping[str, str]) -> None:
    """Take note of what clips were made of; what is known of other clips stays.

    Args:
        folder: Clips, in one folder per speaker.
        sources: Path of each recording by that of its clip, both from the speaker's folder on.
    """
    if not sources:
        return
    path = folder / LIST
    table = read_sources(folder) | dict(sources)
    part = path.with_name(f"{LIST}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps(table, indent=0, sort_keys=True) + "\n", "utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_sources(folder: Path) -> dict[str, str]:
    """Return what `keep_sources` took note of; nothing if there is no such note to be read."""
    try:
        table = json.loads((folder / LIST).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(table, dict):
        return {}
    return {name: path for name, path in table.items() if isinstance(path, str)}


def recording_of(clip: Path, sources: Mapping[str, str]) -> str:
    """Return a name that all clips of one recording share, as far as names tell.

    What is taken for one recording may be several. It then is held out as a whole all the same,
    which does no harm; taking one recording for several would.

    >>> recording_of(Path("dataset/44k/alice/talk_0012.wav"), {})
    'alice/talk'
    >>> recording_of(Path("dataset/44k/alice/7_1.wav"), {"alice/7_1.wav": "alice/may/7.flac"})
    'alice/may/'
    """
    short = f"{clip.parent.name}/{clip.name}"
    path = sources.get(short, short)
    folder, _, name = path.rpartition("/")
    stem, before = Path(name).stem, None
    while stem != before:
        before, stem = stem, _PIECE.sub("", stem)
    return f"{folder}/{stem}"


def in_order(clip: Path) -> tuple[tuple[str, int], ...]:
    """Return what to sort clips by, so that 10 comes after 9.

    >>> sorted([Path("a10.wav"), Path("a9.wav")], key=in_order)[0].name
    'a9.wav'
    """
    parts = re.split(r"(\d+)", clip.name)
    return tuple(
        (text, int(number or 0))
        for text, number in zip(parts[::2], [*parts[1::2], ""], strict=True)
    )
