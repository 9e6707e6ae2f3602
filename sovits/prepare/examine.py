"""Measure one recording of any length, a stretch at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sovits.audio.io import AudioReader
from sovits.audio.resample import resample
from sovits.features.content import ContentEncoder, load_content_encoder
from sovits.features.content.student import StudentContent
from sovits.features.pitch import PitchExtractor, load_pitch_extractor
from sovits.features.speaker import (
    SpeakerEncoder,
    load_speaker_encoder,
    raised,
    without_silence,
)
from sovits.notes import HIGHEST, notes_of
from sovits.prepare import measures
from sovits.prepare.measures import RATE
from sovits.prepare.prints import HOP as PRINT_HOP
from sovits.prepare.prints import NOTHING, Prints, joined, prints
from sovits.types import Wave

BLOCK = 20.0
"""Seconds measured at once; what is left at the end is measured with them, up to half as much."""
SPEECH_DB = 35.0
"""How far below the loud parts of a stretch its speech reaches (dB)."""
LEAST_DB = -65.0
"""Level below which nothing is speech (dBFS)."""
PITCH_HOP = 256
"""Samples at 16 kHz from one pitch to the next: 16 ms."""
STEADY_FRAMES, STEADY_CENTS = 12, 35.0
"""A note is sung if its pitch stays within so many cents for so many frames (0.2 s)."""
SOUND_SECONDS = 10.0
"""How much of each stretch is asked for the sounds of its speech (s)."""
ENERGY_STEP, ENERGY_LOW = 3, -60
"""Steps of the histogram of energy, and where it begins (dBFS)."""
HEARD = 4.0
"""Seconds of speech from which the speaker of a stretch is asked for."""
WINDOW = 4
"""Partials of 1.6 s that are one hearing of the speaker: 3.9 s."""
CONTENT = "sovits-content"


class Hearing(NamedTuple):
    """Who is heard in a few seconds."""

    second: float
    """Where they begin, roughly (s)."""
    vector: Tensor
    """Unit vector, `[256]`."""


@dataclass
class Examined:
    """All that is known of one recording."""

    path: Path
    seconds: float
    sample_rate: int
    channels: int
    peak: float = 0.0
    clip_runs: int = 0
    """Flat peaks."""
    offset: float = 0.0
    """Mean of its samples (DC)."""
    speech_seconds: float = 0.0
    level_db: float = -math.inf
    """Of its speech (dBFS)."""
    bandwidth_hz: float = 0.0
    snr_db: float | None = None
    decay_s: float | None = None
    tonality_db: float | None = None
    hum_db: float = -math.inf
    hum_hz: float = 50.0
    steady_seconds: float = 0.0
    """How much of it is held notes (s)."""
    voiced_seconds: float = 0.0
    notes: np.ndarray = field(default_factory=lambda: np.zeros(HIGHEST, np.int64))
    """Voiced frames by MIDI number."""
    energies: np.ndarray = field(default_factory=lambda: np.zeros(20, np.int64))
    """Frames of speech by level, in steps of 3 dB from -60 dBFS."""
    sounds: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """Frames by the sound of speech that they are nearest to."""
    hearings: list[Hearing] = field(default_factory=list)
    prints: Prints = NOTHING

    @property
    def silence_share(self) -> float:
        """Return how much of it is not speech, 0 to 1."""
        return 1 - min(1.0, self.speech_seconds / self.seconds) if self.seconds else 1.0

    @property
    def clip_runs_per_second(self) -> float:
        """Return how many peaks are cut off each second of speech."""
        return self.clip_runs / max(self.speech_seconds, 1.0)

    @property
    def sung_share(self) -> float:
        """Return how much of what has a pitch is held notes, 0 to 1."""
        return self.steady_seconds / self.voiced_seconds if self.voiced_seconds else 0.0


class Ears:
    """The frozen networks that listen, loaded once in a process."""

    def __init__(self) -> None:
        self.bands = measures.Bands()
        self.pitch: PitchExtractor = load_pitch_extractor("swift")
        self.speaker: SpeakerEncoder = load_speaker_encoder()
        self.content: ContentEncoder = load_content_encoder(CONTENT)


@cache
def ears() -> Ears:
    """Return the networks of this process."""
    return Ears()


def examine(path: Path, *, sounds: bool = True) -> Examined:
    """Measure a recording, in bounded memory.

    Args:
        path: The recording.
        sounds: Ask for the sounds of its speech too, which takes a third of the time.

    Raises:
        AudioError: It cannot be read.
    """
    with AudioReader(path) as reader:
        found = Examined(
            path, reader.frames / reader.sample_rate, reader.sample_rate, reader.channels
        )
        stretches = [_stretch(found, *block, sounds=sounds) for block in _blocks(reader)]
    weights = [stretch.speech for stretch in stretches]
    found.speech_seconds = sum(weights)
    found.offset /= max(1, len(stretches))
    power = sum(stretch.power * stretch.speech for stretch in stretches)
    if found.speech_seconds:
        found.level_db = 10 * math.log10(max(power / found.speech_seconds, 1e-12))
    found.snr_db = _middle([stretch.snr_db for stretch in stretches], weights)
    found.decay_s = _middle([stretch.decay_s for stretch in stretches], weights)
    found.tonality_db = _middle([stretch.tonality_db for stretch in stretches], weights)
    found.prints = joined([stretch.prints for stretch in stretches])
    spectra = [stretch.spectrum for stretch in stretches if stretch.spectrum is not None]
    if spectra:
        found.bandwidth_hz = measures.bandwidth(torch.stack(spectra).amax(0), found.sample_rate)
    return found


class _Stretch(NamedTuple):
    """What was found in one stretch, and is put together later."""

    speech: float
    power: float
    snr_db: float | None
    decay_s: float | None
    tonality_db: float | None
    spectrum: Tensor | None
    prints: Prints


def _blocks(reader: AudioReader) -> Iterator[tuple[int, Wave]]:
    """Yield where stretches begin, and their sound `[channels, samples]`."""
    size, start = round(BLOCK * reader.sample_rate), 0
    while start < reader.frames:
        left = reader.frames - start
        count = left if left < 1.5 * size else size
        yield start, reader.read(start, count)
        start += count


def _stretch(found: Examined, start: int, sound: Wave, *, sounds: bool) -> _Stretch:
    """Measure a stretch: what can be summed goes into `found`, the rest is returned."""
    own, rate = ears(), found.sample_rate
    clipped = measures.clipping(sound)
    found.peak, found.clip_runs = max(found.peak, clipped.peak), found.clip_runs + clipped.runs
    mono = sound.mean(0)
    found.offset += float(mono.mean())
    wave = resample(mono, rate, RATE)
    power = measures.frame_power(wave)
    db = measures.level_db(power)
    nothing = _Stretch(0.0, 0.0, None, None, None, None, NOTHING)
    if len(db) < 20:
        return nothing
    loud = float(db.quantile(0.95))
    speech = db > max(loud - SPEECH_DB, LEAST_DB)
    seconds = float(speech.sum()) * measures.HOP / RATE
    if not seconds:
        return nothing
    strength = float(power[speech].mean())
    steps = ((db[speech] - ENERGY_LOW) / ENERGY_STEP).long().clamp(0, len(found.energies) - 1)
    found.energies += torch.bincount(steps, minlength=len(found.energies)).numpy()
    hum_db, hum_hz = measures.hum(wave, strength)
    if hum_db > found.hum_db:
        found.hum_db, found.hum_hz = hum_db, hum_hz
    _pitch(found, own, wave)
    if seconds >= HEARD or (start == 0 and seconds >= 1):
        _speaker(found, own, wave, start / rate)
    if sounds:
        heard = mono[: round(SOUND_SECONDS * rate)]
        found.sounds = _sounds(
            own, resample(heard, rate, own.content.spec.sample_rate), found.sounds
        )
    bands = own.bands(wave)
    return _Stretch(
        seconds,
        strength,
        measures.snr_db(bands, power),
        measures.decay_seconds(bands),
        measures.tonality_db(wave),
        measures.spectrum_of_loud(mono),
        prints(wave, round(start / rate * RATE / PRINT_HOP)),
    )


def _pitch(found: Examined, own: Ears, wave: Wave) -> None:
    """Add the pitches of a stretch, and which of them are held."""
    f0, voiced = own.pitch(wave, RATE, PITCH_HOP)
    if not bool(voiced.any()):
        return
    found.notes += torch.bincount(notes_of(f0[voiced]), minlength=HIGHEST).numpy()
    seconds = PITCH_HOP / RATE
    found.voiced_seconds += float(voiced.sum()) * seconds
    if len(f0) >= STEADY_FRAMES:
        cents = (1200 * f0.log2()).unfold(0, STEADY_FRAMES, 1)
        held = (cents.amax(-1) - cents.amin(-1) < 2 * STEADY_CENTS) & voiced.unfold(
            0, STEADY_FRAMES, 1
        ).all(-1)
        padded = torch.nn.functional.pad(held.float(), (STEADY_FRAMES - 1,) * 2)
        covered = torch.nn.functional.max_pool1d(padded[None], STEADY_FRAMES, 1)[0]
        found.steady_seconds += float(covered.sum()) * seconds


def _speaker(found: Examined, own: Ears, wave: Wave, begin: float) -> None:
    """Add who is heard in a stretch, every few seconds."""
    partials = own.speaker.embed_partials(without_silence(raised(wave)))
    count = max(1, round(len(partials) / WINDOW))
    length = len(wave) / RATE
    for number, part in enumerate(partials.tensor_split(count)):
        vector = torch.nn.functional.normalize(part.sum(0), dim=0)
        found.hearings.append(Hearing(begin + length * number / count, vector))


def _sounds(own: Ears, wave: Wave, before: np.ndarray) -> np.ndarray:
    """Return how often each sound of speech was heard."""
    encoder = own.content
    if not isinstance(encoder, StudentContent):
        return before
    units = encoder.network.units.float()
    nearest = torch.cdist(encoder.encode(wave).T, units).argmin(1)
    counted: np.ndarray = torch.bincount(nearest, minlength=len(units)).numpy()
    return counted if not len(before) else before + counted


def _middle(values: list[float | None], weights: list[float]) -> float | None:
    """Return the median of what could be measured, each counted by how much speech it is of."""
    known = sorted((v, w) for v, w in zip(values, weights, strict=True) if v is not None)
    if not known:
        return None
    total = np.cumsum([weight for _, weight in known])
    return known[int(np.searchsorted(total, total[-1] / 2))][0]
