"""Find the recordings of each speaker in a folder, and never mix speakers up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sovits.audio.io import AUDIO_SUFFIXES
from sovits.errors import DatasetError
from sovits.prepare.report import Skipped

LEFTOVERS = frozenset({"desktop.ini", "thumbs.db", "__macosx"})
"""What file managers leave in folders; like hidden files, not worth a word."""


class Recording(NamedTuple):
    """A sound file and who is heard in it."""

    speaker: str
    path: Path


class Found(NamedTuple):
    """What is in a folder of recordings."""

    recordings: list[Recording]
    skipped: list[Skipped]


class Sounds(NamedTuple):
    """Sound files of whomever, in a folder and its subfolders."""

    paths: list[Path]
    skipped: list[Skipped]


def sound_files(folder: Path) -> Sounds:
    """Return the sound files in `folder` and below it, known by their suffixes.

    Raises:
        DatasetError: There is no such folder, or no sound in it.
    """
    if not folder.is_dir():
        raise DatasetError.no_folder_of_sounds(folder)
    paths, skipped = [], []
    for path in _files(folder):
        if path.suffix.lower() in AUDIO_SUFFIXES:
            paths.append(path)
        else:
            skipped.append(Skipped(path, "not a sound file, by its name"))
    if not paths:
        raise DatasetError.no_sounds(folder, len(skipped))
    return Sounds(paths, skipped)


def find_recordings(folder: Path, suffixes: frozenset[str]) -> Found:
    """Return the recordings below `folder`, which holds one folder per speaker.

    Subfolders of a speaker's folder belong to that speaker. Files beside the speakers' folders
    belong to nobody, and are skipped with a reason.

    Args:
        folder: Folder with a folder for each speaker.
        suffixes: Suffixes of sound files, in lower case, with their dot.

    Raises:
        DatasetError: There is no such folder, or no speaker in it.
    """
    speakers, skipped = speaker_folders(folder)
    recordings = []
    for speaker in speakers:
        for path in _files(speaker):
            if path.suffix.lower() in suffixes:
                recordings.append(Recording(speaker.name, path))
            else:
                skipped.append(Skipped(path, "not a sound file, by its name"))
    if not recordings:
        raise DatasetError.no_recordings(folder, [str(item) for item in skipped])
    return Found(recordings, skipped)


def find_clips(folder: Path) -> Found:
    """Return the prepared clips, `SPEAKER/NAME.wav`, as `svc pre-resample` writes them.

    What belongs to a clip (`NAME.wav.features.safetensors`, and what other programs keep beside
    it) is passed over.

    Raises:
        DatasetError: There is no such folder, no speaker, or no clip in it.
    """
    speakers, skipped = speaker_folders(folder)
    clips = []
    for speaker in speakers:
        files = sorted(path for path in speaker.iterdir() if not is_hidden(path.name))
        wavs = {path.name for path in files if path.suffix.lower() == ".wav" and path.is_file()}
        for path in files:
            if path.name in wavs:
                clips.append(Recording(speaker.name, path))
            elif path.is_dir():
                skipped.append(Skipped(path, "a folder inside a speaker's folder"))
            elif not any(f"{path.name[:i]}.wav" in wavs for i in _dots(path.name)):
                skipped.append(Skipped(path, "not a wav file"))
    if not clips:
        raise DatasetError.no_clips(folder)
    return Found(clips, skipped)


def speaker_folders(folder: Path) -> tuple[list[Path], list[Skipped]]:
    """Return the speakers' folders in the order of their names, and the stray files beside them.

    Raises:
        DatasetError: There is no such folder, no folder in it, or one whose name cannot be kept.
    """
    if not folder.is_dir():
        raise DatasetError.no_folder(folder)
    speakers, skipped = [], []
    for path in sorted(folder.iterdir()):
        if is_hidden(path.name):
            continue
        if path.is_dir():
            if not path.name.isprintable():  # also surrogates, which no JSON or list could hold
                raise DatasetError.bad_name(path)
            speakers.append(path)
        else:
            skipped.append(Skipped(path, "belongs to no speaker: it is in no speaker's folder"))
    if not speakers:
        raise DatasetError.no_speakers(folder, len(skipped))
    return speakers, skipped


def is_hidden(name: str) -> bool:
    """Return whether a file of this name is none that a person put there."""
    return name.startswith(".") or name.lower() in LEFTOVERS


def _dots(name: str) -> list[int]:
    """Return where the dots in `name` are."""
    return [i for i, letter in enumerate(name) if letter == "."]


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files below `folder`, in an order that does not depend on the machine."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        for name in sorted(names):
            if not is_hidden(name):
                yield Path(root, name)
