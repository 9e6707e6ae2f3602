"""Recordings of whom a voice is to sound like."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from sovits.audio.io import AUDIO_SUFFIXES, AudioReader
from sovits.audio.resample import resample
from sovits.errors import EvaluationError
from sovits.library import SAMPLE
from sovits.types import Wave
from sovits.voice import Voice

RATE = 16_000
"""Rate at which speakers are compared (Hz)."""
MOST_SECONDS = 300.0
"""Sound of the target that is listened to; more tells no more (s)."""
NEEDED_SECONDS = 10.0
"""A speaker is not told reliably by less (s)."""


@dataclass(frozen=True)
class Target:
    """What is known of a target."""

    paths: tuple[Path, ...]
    """Its recordings."""
    wave: Wave
    """As much of them as is listened to, `[samples]` at 16 kHz."""

    @property
    def seconds(self) -> float:
        """Return how much is listened to."""
        return self.wave.shape[-1] / RATE


def find_target(voice: Voice, folder: Path | None) -> list[Path]:
    """Return recordings of the target: those in a folder, or what is bundled with the voice.

    Raises:
        EvaluationError: There are none.
    """
    if folder is None:
        beside = voice.path and voice.path.with_name(voice.path.stem + SAMPLE)
        if beside is None or not beside.is_file():
            raise EvaluationError.no_target(voice.path or Path("this voice"))
        return [beside]
    if folder.is_file():
        return [folder]
    found = sounds_in(folder)
    if not found:
        raise EvaluationError.no_target_sounds(folder)
    return found


def sounds_in(folder: Path) -> list[Path]:
    """Return the sound files in a folder and its subfolders, hidden ones left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in AUDIO_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def load_target(paths: list[Path]) -> Target:
    """Read recordings of the target, up to five minutes of them.

    Raises:
        AudioError: One of them cannot be read.
        EvaluationError: They are silent.
    """
    parts: list[Wave] = []
    left = MOST_SECONDS
    for path in paths:
        if left <= 0:
            break
        with AudioReader(path) as reader:
            rate = reader.sample_rate
            wave = reader.read(0, round(left * rate)).mean(0)
        parts.append(resample(wave, rate, RATE))
        left -= len(wave) / rate
    joined = torch.cat(parts)
    if not bool(joined.any()):
        raise EvaluationError.silent(paths[0])
    return Target(tuple(paths[: len(parts)]), joined)
