"""Put right what can safely be put right, in a copy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from sovits.audio.io import AudioReader, AudioWriter
from sovits.prepare.doctor import Diagnosis
from sovits.prepare.findings import Finding, name_of
from sovits.prepare.report import Report, Skipped
from sovits.types import Wave

LEFT_OUT = frozenset({"unreadable", "empty", "duplicate"})
"""Findings with which a file does not come into the copy."""
NOTCH_WIDTH = 0.1
"""Width of the stop band around each harmonic of hum (Hz)."""
FAINT = 1e-9
"""Power added to that of a window, so that digital silence does not count without end."""
HARMONICS = 8
_BLOCK = 1 << 18


def mend(diagnosis: Diagnosis, out: Path) -> Report:
    """Write a copy of all recordings without what can be put right.

    Files that cannot be read, are empty, or are in the folder twice are left out; what lies off
    zero is moved back, and hum is taken out by narrow filters. All else stays as it is, in the
    channels and at the rate that it has.

    Args:
        diagnosis: What was found.
        out: Folder for the copy, with the same folders in it.

    Raises:
        OutputError: A file cannot be written.
    """
    made, left = [], []
    for speaker in diagnosis.speakers:
        wrong: dict[str | None, list[Finding]] = {}
        for finding in speaker.findings:
            if finding.fixable:
                wrong.setdefault(finding.file, []).append(finding)
        for name, found in wrong.items():
            if name is not None and (out_of := [f for f in found if f.kind in LEFT_OUT]):
                left.append(Skipped(speaker.folder / name, f"{out_of[0].kind}: {out_of[0].found}"))
        home = out / speaker.folder.relative_to(diagnosis.folder)
        for examined in speaker.files:
            name = name_of(examined.path, speaker.folder)
            kinds = {finding.kind for finding in wrong.get(name, [])}
            if kinds & LEFT_OUT:
                continue
            inside = examined.path.relative_to(speaker.folder)
            target = (home / inside).with_suffix(".wav")
            if target in made:
                target = home / inside.with_name(f"{inside.stem}_{inside.suffix[1:]}.wav")
            target.parent.mkdir(parents=True, exist_ok=True)
            copy(
                examined.path,
                target,
                offset="dc" in kinds,
                hum_hz=examined.hum_hz if "hum" in kinds else None,
            )
            made.append(target)
    return Report(tuple(made), skipped=tuple(left))


def copy(source: Path, target: Path, *, offset: bool, hum_hz: float | None) -> None:
    """Write `source` as a 24-bit wav file, in bounded memory.

    Args:
        source: What to read.
        target: What to write.
        offset: Take the mean of each channel away.
        hum_hz: Take out this frequency and its harmonics.
    """
    with AudioReader(source) as reader:
        mean = torch.zeros(reader.channels, 1, dtype=torch.float64)
        if offset:
            for block in _blocks(reader):
                mean += block.double().sum(-1, keepdim=True) / reader.frames
        notches = Notches(hum_hz, reader.sample_rate, reader.channels) if hum_hz else None
        with AudioWriter(target, reader.sample_rate, reader.channels) as writer:
            for block in _blocks(reader):
                clean = (block.double() - mean).float()
                writer.write(notches(clean) if notches else clean)


class Notches:
    """Takes a frequency and its harmonics out of a stream of sound.

    What sounds at exactly these frequencies for several seconds is taken away. Pauses, in which
    there is little else, count most for how much that is, so a voice keeps all that it has.

    Args:
        hz: The frequency (Hz).
        sample_rate: Rate of the sound (Hz).
        channels: Channels of the sound.
    """

    def __init__(self, hz: float, sample_rate: int, channels: int) -> None:
        self.rates = [
            2 * math.pi * hz * harmonic / sample_rate
            for harmonic in range(1, HARMONICS + 1)
            if hz * harmonic < sample_rate / 2.2
        ]
        self.step = max(1, sample_rate // 10)  # whole periods of 50 and of 60 Hz
        self.keep = math.exp(-math.pi * NOTCH_WIDTH * self.step / sample_rate)
        self.position = 0
        self.sum = torch.zeros(channels, len(self.rates), dtype=torch.complex128)
        self.weight = torch.zeros(channels, 1, dtype=torch.float64)

    def __call__(self, wave: Wave) -> Wave:
        """Return the next `[channels, samples]` without hum."""
        samples = wave.shape[-1]
        places = torch.arange(self.position, self.position + samples, dtype=torch.float64)
        self.position += samples
        carriers = torch.polar(
            torch.ones(len(self.rates), samples, dtype=torch.float64),
            torch.tensor(self.rates, dtype=torch.float64)[:, None] * places,
        )
        hum = torch.zeros(wave.shape, dtype=torch.float64)
        for begin in range(0, samples, self.step):
            part = slice(begin, begin + self.step)
            carrier = carriers[:, part]
            heard = wave[:, part].double()
            if heard.shape[1] == self.step:
                weight = 1 / (heard.square().mean(-1, keepdim=True) + FAINT)
                found = heard.to(carrier.dtype) @ carrier.conj().T / self.step
                self.sum = self.keep * self.sum + weight * found
                self.weight = self.keep * self.weight + weight
            state = self.sum / self.weight.clamp(min=1e-9)
            hum[:, part] = 2 * (state @ carrier).real
        return (wave.double() - hum).float()


def _blocks(reader: AudioReader) -> Iterator[Tensor]:
    for start in range(0, reader.frames, _BLOCK):
        yield reader.read(start, _BLOCK)
