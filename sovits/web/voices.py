"""Voices by identifiers that are no paths and no addresses."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

from sovits.errors import ServerError, SovitsError
from sovits.header import read_header
from sovits.hub import NATIVE
from sovits.library import Listed, list_voices

_PLAIN = re.compile(r"[A-Za-z0-9][\w-]{0,63}", re.ASCII)
_FOLDERS = re.compile(r"(?:[A-Za-z]:)?(?:[/\\][^\s/\\,;:()'\"]+)+[/\\]")


def voice_id(voice: Listed) -> str:
    """Return how requests name a voice: as `svc voices` does, or by a digest where that is long."""
    if _PLAIN.fullmatch(voice.name):
        return voice.name
    whole = f"{voice.name}\n{voice.path}".encode("utf-8", "surrogateescape")
    return f"v-{hashlib.blake2s(whole, digest_size=8).hexdigest()}"


def voices() -> dict[str, Listed]:
    """Return the voices at hand by their identifiers, the default first."""
    return {voice_id(voice): voice for voice in list_voices()}


def usable_voice(name: str) -> Listed:
    """Return the voice with an identifier.

    Raises:
        ServerError: There is none, or nothing can be done with it.
    """
    known = voices()
    if name not in known:
        raise ServerError.no_voice(known)
    if (problem := known[name].problem) is not None:
        voice = known[name]
        raise ServerError.voice_unusable(voice.title, plain(problem, voice.path.parent))
    return known[name]


def plain(text: str, *folders: Path) -> str:
    """Return a sentence with names of files, but not of the folders that they are in."""
    for folder in folders:
        text = text.replace(f"{folder}{os.sep}", "")
    return _FOLDERS.sub("", text)


def card_of(voice: Listed) -> dict[str, Any]:
    """Return what the maker of a voice tells of it; nothing if its file has no card."""
    try:
        header = read_header(voice.path) if voice.path.suffix == NATIVE else None
    except SovitsError:  # which its problem tells
        return {}
    return dict(header["card"]) if header else {}
