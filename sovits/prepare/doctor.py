"""Examine the recordings of each speaker, and say what is wrong with them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sovits.errors import AudioError
from sovits.notes import LOWEST, note_hz, note_name
from sovits.prepare import findings as say
from sovits.prepare.examine import ENERGY_LOW, ENERGY_STEP, Examined, examine
from sovits.prepare.findings import Finding, Goal
from sovits.prepare.pool import OnProgress, default_jobs, run
from sovits.prepare.prints import matches
from sovits.prepare.recordings import sound_files
from sovits.prepare.report import Skipped

SCHEMA = "sovits-doctor-1"
HEARD_OFTEN = 3
"""Frames in which a sound of speech has to be heard."""
USUAL_SOUNDS = 700
"""Sounds, of the encoder's thousand, that half an hour of one language has."""
RANGE_SHARES = 0.01, 0.99
"""Shares of the voiced time below the lowest and the highest note of a range."""
SPOILT = frozenset(
    {"unreadable", "empty", "clipped", "noisy", "music", "narrow", "hum", "duplicate"}
    | {"other-voice"}
)
"""Findings that make a file's speech unusable."""
LENGTHS = "seconds", "speech_seconds"
ROUNDS = 4
SURE = 3.0
"""Seconds of speech from which a hearing tells who speaks."""

_BYTES_EACH = 1 << 30
Facts = dict[str, Any]


@dataclass
class Patient:
    """A speaker: recordings, what is known of them, and what is wrong."""

    name: str
    folder: Path
    files: list[Examined]
    facts: Facts = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def light(self) -> str:
        """Return green, yellow or red."""
        weights = {finding.weight for finding in self.findings}
        return "red" if "stop" in weights else "yellow" if "warn" in weights else "green"


@dataclass(frozen=True)
class Diagnosis:
    """What there is to say of a folder."""

    folder: Path
    goal: Goal
    speakers: Sequence[Patient]
    skipped: Sequence[Skipped] = ()
    """Files that are no sounds."""

    @property
    def light(self) -> str:
        """Return the worst of the speakers' lights."""
        lights = {speaker.light for speaker in self.speakers}
        return next(light for light in ("red", "yellow", "green") if light in lights)

    @property
    def damaged(self) -> int:
        """Return how many files cannot be read."""
        return sum(f.kind == "unreadable" for s in self.speakers for f in s.findings)

    def to_json(self) -> Facts:
        """Return it as plain JSON types."""
        return {
            "schema": SCHEMA,
            "folder": str(self.folder),
            "goal": self.goal,
            "light": self.light,
            "speakers": [
                {
                    "name": speaker.name,
                    "light": speaker.light,
                    **speaker.facts,
                    "findings": [finding.to_json() for finding in speaker.findings],
                    "each": [_row(found, speaker.folder) for found in speaker.files],
                }
                for speaker in self.speakers
            ],
        }


class _Job(NamedTuple):
    path: Path
    sounds: bool


def diagnose(
    folder: Path,
    *,
    goal: Goal = "speech",
    n_jobs: int | None = None,
    on_progress: OnProgress | None = None,
) -> Diagnosis:
    """Examine all recordings in a folder.

    Args:
        folder: One folder per speaker; sounds beside them, or no folders at all, are one speaker.
        goal: What the voice shall do.
        n_jobs: Processes; as many as cores and memory allow if not given.
        on_progress: Told how far it is.

    Raises:
        DatasetError: There is no such folder, or no sound in it.
    """
    sounds = sound_files(folder)
    jobs = [_Job(path, True) for path in sounds.paths]
    results = run(_examine, jobs, n_jobs or default_jobs(_BYTES_EACH), on_progress)
    by_speaker: dict[Path, list[Examined | Skipped]] = {}
    for path, result in zip(sounds.paths, results, strict=True):
        inside = path.relative_to(folder)
        home = folder / inside.parts[0] if len(inside.parts) > 1 else folder
        by_speaker.setdefault(home, []).append(result)
    patients = [speaker_of(home, found, goal) for home, found in sorted(by_speaker.items())]
    return Diagnosis(folder, goal, patients, sounds.skipped)


def _examine(job: _Job) -> Examined | Skipped:
    try:
        return examine(job.path, sounds=job.sounds)
    except AudioError as error:
        return Skipped(job.path, str(error))


def speaker_of(home: Path, results: Sequence[Examined | Skipped], goal: Goal) -> Patient:
    """Put together what is known of one speaker.

    Args:
        home: Folder of the speaker, which gives the name.
        results: Recordings, and those that cannot be read.
        goal: What the voice shall do.
    """
    files = [result for result in results if isinstance(result, Examined)]
    name = os.fsencode(home.resolve().name).decode("utf-8", "replace")
    patient = Patient(name, home, files)
    add = patient.findings.append
    for result in results:
        if isinstance(result, Skipped):
            reason = result.reason.removeprefix(str(result.path)).lstrip(": ")
            add(say.unreadable(say.name_of(result.path, home), reason))
    for found in files:
        patient.findings += say.of_file(found, say.name_of(found.path, home))
    for match in matches([found.prints for found in files], say.SAME):
        kept, other = (say.name_of(files[i].path, home) for i in (match.first, match.second))
        add(say.duplicate(other, kept, match.share))
    patient.findings += other_voices(files, home)
    patient.facts = facts(files, {f.file for f in patient.findings if f.kind in SPOILT}, home)
    patient.findings += say.of_all(patient.facts, goal)
    order = {"stop": 0, "warn": 1, "note": 2}
    patient.findings.sort(key=lambda f: (f.file is not None, order[f.weight]))
    return patient


def centre(vectors: Tensor) -> Tensor:
    """Return the unit vector of whom most of `[n, 256]` are, whoever else is among them."""
    likeness = vectors @ vectors.T
    own = vectors[int(likeness.median(-1).values.argmax())]
    for _ in range(ROUNDS):
        near = vectors @ own > say.ALIKE
        if bool(near.any()):
            own = torch.nn.functional.normalize(vectors[near].sum(0), dim=0)
    return own


def other_voices(files: Sequence[Examined], home: Path) -> list[Finding]:
    """Return the files in which somebody else speaks than in most of them."""
    heard = [hearing.vector for found in files for hearing in found.hearings]
    if len(heard) < 3:
        return []
    own = centre(torch.stack(heard))
    found = []
    for file in files:
        strange = [h for h in file.hearings if float(h.vector @ own) < _limit(file)]
        if not strange:
            continue
        seconds = file.seconds * len(strange) / len(file.hearings)
        lowest = min(float(hearing.vector @ own) for hearing in strange)
        where = [hearing.second for hearing in strange]
        found.append(say.other_voice(say.name_of(file.path, home), lowest, seconds, where))
    return found


def _limit(found: Examined) -> float:
    """Return the likeness below which somebody else speaks."""
    each = found.speech_seconds / max(1, len(found.hearings))
    return say.ALIKE if each > SURE else say.HARDLY_ALIKE


def facts(files: Sequence[Examined], spoilt: set[str | None], home: Path) -> Facts:
    """Return what is known of all recordings together, as plain JSON types."""
    usable = [found for found in files if say.name_of(found.path, home) not in spoilt]
    seconds, speech = (sum(getattr(found, key) for found in files) for key in LENGTHS)
    whole, files = len(files), usable or files  # what is spoilt is not the speaker's
    notes = np.sum([found.notes for found in files], 0) if files else np.zeros(LOWEST)
    energies = np.sum([found.energies for found in files], 0) if files else np.zeros(1)
    levels = [found.level_db for found in files if math.isfinite(found.level_db)]
    sounds = [found.sounds for found in files if len(found.sounds)]
    heard = int((np.sum(sounds, 0) >= HEARD_OFTEN).sum()) if sounds else None
    voiced = sum(found.voiced_seconds for found in files)
    low, high = _ends(notes)
    return {
        "files": whole,
        "minutes": round(seconds / 60, 2),
        "speech_minutes": round(speech / 60, 2),
        "usable_minutes": round(sum(found.speech_seconds for found in usable) / 60, 2),
        "silence_share": round(1 - speech / seconds, 3) if seconds else 1.0,
        "snr_db": _median([found.snr_db for found in files]),
        "decay_s": _median([found.decay_s for found in files]),
        "bandwidth_hz": _median([found.bandwidth_hz for found in files]),
        "loudness_db": _median(levels),
        "loudness_spread_db": round(float(np.ptp(np.quantile(levels, [0.1, 0.9]))), 1)
        if levels
        else 0.0,
        "sample_rates": sorted({found.sample_rate for found in files}),
        "sung_share": round(sum(found.steady_seconds for found in files) / voiced, 3)
        if voiced
        else 0.0,
        "sounds_share": None if heard is None else round(min(1.0, heard / USUAL_SOUNDS), 3),
        "f0_range_hz": None if low is None else [round(note_hz(low), 1), round(note_hz(high), 1)],
        "vocal_range": None if low is None else [note_name(low), note_name(high)],
        "range_semitones": math.nan if low is None else high - low,
        "notes": _shares(notes, 0, 1),
        "energies": _shares(energies, ENERGY_LOW, ENERGY_STEP),
    }


def _ends(notes: Any) -> tuple[int, int] | tuple[None, int]:
    """Return the lowest and the highest note that are more than chance."""
    total = notes.sum()
    if not total:
        return None, 0
    share = np.cumsum(notes) / total
    low, high = (int(np.searchsorted(share, part)) for part in RANGE_SHARES)
    return low, high


def _shares(counts: Any, low: int, step: int) -> dict[str, float]:
    total = counts.sum() or 1
    return {
        str(low + step * int(i)): round(float(counts[i] / total), 4) for i in np.flatnonzero(counts)
    }


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return round(float(np.median(known)), 3) if known else None


def _row(found: Examined, folder: Path) -> Facts:
    """Return the measurements of one file."""

    def told(value: float | None) -> float | None:
        return None if value is None or not math.isfinite(value) else round(value, 3)

    return {
        "file": say.name_of(found.path, folder),
        "seconds": round(found.seconds, 3),
        "sample_rate": found.sample_rate,
        "channels": found.channels,
        "speech_seconds": round(found.speech_seconds, 2),
        "level_db": told(found.level_db),
        "snr_db": told(found.snr_db),
        "decay_s": told(found.decay_s),
        "tonality_db": told(found.tonality_db),
        "hum_db": told(found.hum_db),
        "bandwidth_hz": told(found.bandwidth_hz),
        "clipped_peaks_per_second": told(found.clip_runs_per_second),
        "dc": told(found.offset),
        "peak": told(found.peak),
        "sung_share": told(found.sung_share),
    }
