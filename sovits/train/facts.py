"""What there is to learn from: how much, of whom, and at which pitches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from sovits.config import VoiceConfig
from sovits.notes import HIGHEST, notes_of
from sovits.sources import read_sources, recording_of
from sovits.train.dataset import FEATURES_SUFFIX, Recording

Table = dict[str, Any]

MOST_READ = 1000
"""Clips whose pitch is read; of more, so many at even distances."""


def dataset_facts(
    training: Sequence[Recording], held_out: Sequence[Recording], voice: VoiceConfig
) -> Table:
    """Return facts of each speaker, and of both lists together, as plain JSON types.

    Lengths are in minutes or seconds, pitches in Hz, and `notes` has the share of the voiced time
    by MIDI number.
    """
    speakers = []
    for name, row in sorted(voice.speakers.items(), key=lambda item: item[1]):
        own = [recording for recording in training if recording.speaker == row]
        kept = [recording for recording in held_out if recording.speaker == row]
        if own or kept:
            speakers.append({"name": name, "row": row, **_of_speaker(own, kept, voice)})
    return {
        "content": voice.content,
        "sample_rate": voice.audio.sample_rate,
        "clips": len(training),
        "minutes": _minutes(training, voice),
        "held_out_clips": len(held_out),
        "held_out_minutes": _minutes(held_out, voice),
        "shared_recordings": len(_recordings(training) & _recordings(held_out)),
        "speakers": speakers,
    }


def _of_speaker(own: list[Recording], kept: list[Recording], voice: VoiceConfig) -> Table:
    lengths = sorted(recording.frames / voice.audio.frame_rate for recording in own) or [0.0]
    pitches = _pitches(own)
    table: Table = {
        "clips": len(own),
        "minutes": _minutes(own, voice),
        "held_out_clips": len(kept),
        "shortest_seconds": round(lengths[0], 2),
        "longest_seconds": round(lengths[-1], 2),
        "median_f0_hz": None,
        "f0_range_hz": None,
        "notes": {},
    }
    if len(pitches):
        low, middle, high = pitches.quantile(torch.tensor([0.05, 0.5, 0.95])).tolist()
        table["median_f0_hz"] = round(middle, 1)
        table["f0_range_hz"] = [round(low, 1), round(high, 1)]
        counts = torch.bincount(notes_of(pitches), minlength=HIGHEST)
        table["notes"] = {
            str(note): round(float(counts[note] / counts.sum()), 4)
            for note in counts.nonzero().flatten().tolist()
        }
    return table


def _pitches(recordings: list[Recording]) -> Tensor:
    """Return the pitch of the voiced frames of clips, in no order (Hz)."""
    count = min(MOST_READ, len(recordings))
    found = []
    for number in range(count):
        path = recordings[number * len(recordings) // count].path
        with safe_open(path, framework="pt") as features:
            found.append(features.get_tensor("f0")[features.get_tensor("voiced")].float())
    joined = torch.cat(found) if found else torch.zeros(0)
    # quantile takes no more than 16 million numbers.
    return joined[:: 1 + len(joined) // 4_000_000]


def _minutes(recordings: Sequence[Recording], voice: VoiceConfig) -> float:
    frames = sum(recording.frames for recording in recordings)
    return round(frames / voice.audio.frame_rate / 60, 2)


def _recordings(clips: Sequence[Recording]) -> set[str]:
    """Return which recordings clips were cut from."""
    notes: dict[Path, dict[str, str]] = {}
    found = set()
    for recording in clips:
        clip = recording.path.with_name(recording.path.name.removesuffix(FEATURES_SUFFIX))
        folder = clip.parent.parent
        if folder not in notes:
            notes[folder] = read_sources(folder)
        found.add(recording_of(clip, notes[folder]))
    return found
