"""Notes: which one a pitch is nearest to, what it is called, and a picture of how often each is."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import torch
from torch import Tensor

LOWEST = 36
"""Lowest note of a histogram (MIDI: C2, 65 Hz)."""
HIGHEST = 96
"""The one above the highest (MIDI: C7, 2093 Hz)."""
CONCERT = 440.0, 69  # Hz, MIDI


def notes_of(f0: Tensor) -> Tensor:
    """Return the nearest note of each pitch (MIDI, A4 is 69) within the histogram's range."""
    hz, midi = CONCERT
    return (12 * torch.log2(f0 / hz) + midi).round().long().clamp(LOWEST, HIGHEST - 1)


def note_name(midi: int) -> str:
    """Return the name of a note.

    >>> note_name(60), note_name(69)
    ('C4', 'A4')
    """
    names = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")
    return f"{names[midi % 12]}{midi // 12 - 1}"


def note_hz(midi: float) -> float:
    """Return the pitch of a note (Hz).

    >>> note_hz(69)
    440.0
    """
    hz, concert = CONCERT
    return float(hz * 2 ** ((midi - concert) / 12))


def histogram(name: str, notes: Mapping[str, float]) -> str:
    """Return how much of the voiced time each note has, as bars from C2 to C7 (SVG).

    Args:
        name: Whose recordings they are.
        notes: Share of the voiced time by MIDI number; at least one.
    """
    width, height, bottom = 360, 120, 20
    step, most = width / (HIGHEST - LOWEST), max(notes.values())
    parts = [
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="Share of each note in the recordings of {escape(name, quote=True)}">'
    ]
    for octave in range(LOWEST, HIGHEST + 1, 12):
        at = (octave - LOWEST) * step
        anchor = "start" if octave == LOWEST else "end" if octave == HIGHEST else "middle"
        parts.append(f'<path class="grid" d="M{at:.1f} 0V{height - bottom}"/>')
        parts.append(
            f'<text x="{at:.1f}" y="{height - 5}" text-anchor="{anchor}">{note_name(octave)}</text>'
        )
    for note, share in sorted((int(note), share) for note, share in notes.items()):
        tall = share / most * (height - bottom - 4)
        parts.append(
            f'<rect class="bar" x="{(note - LOWEST) * step:.1f}" y="{height - bottom - tall:.1f}" '
            f'width="{step - 0.6:.1f}" height="{tall:.1f}"><title>{note_name(note)}: {share:.1%}'
            "</title></rect>"
        )
    return "".join([*parts, "</svg>"])
