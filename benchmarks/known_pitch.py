"""Voices whose pitch is known to the cent, since it was put there: the truth of `pitch.py`.

Speech is taken apart into the shape of its spectrum and where it is voiced, and is put together
again by WORLD's synthesis with pulses at a pitch of our own. The shape has no trace of the first
pitch: its detail ends far above the distance of harmonics, and no method of pitch had a say in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import av
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_closing, binary_opening, gaussian_filter1d
from scipy.signal import butter, fftconvolve, resample_poly, sosfilt

import sovits
from sovits.audio.io import AUDIO_SUFFIXES
from sovits.features.pitch.world import load_dio, load_harvest

Samples = NDArray[np.float64]

RATE = 16_000
"""Samples per second of all sounds here, which is what every method listens at (Hz)."""
HOP = 186
"""Samples per frame: 11.6 ms, as native voices have."""
CLIP_SECONDS = 2.0
N_FFT = 1024
ANALYSIS_STEP = 0.005
"""Seconds from one shape to the next."""
STEP = 0.001
"""Seconds from one entry of a pitch contour to the next."""
DETAIL = 0.0016
"""Quefrency at which the shape of a spectrum ends (seconds); periods of speech are longer."""
LOWEST, HIGHEST = 60.0, 1000.0
"""Range of the melodies (Hz)."""
AUDIBLE_DB = -35.0
"""Level of a frame, below the loudest, from which it may be voiced."""
DOUBT = 0.010
"""Seconds around a change of voicing that are not judged: a pulse rings for as long."""
BABBLERS = 8


class Source(NamedTuple):
    """A stretch of somebody's speech."""

    speaker: str
    wave: Samples
    """`[samples]`, at most 1."""


class Speech(NamedTuple):
    """What is kept of a stretch of speech, every `ANALYSIS_STEP`."""

    shape: Samples
    """Power spectra `[n, bins]`."""
    voiced: NDArray[np.bool_]
    """`[n]`."""
    octaves: Samples
    """Its own melody, smoothed, as octaves above its median `[n]`."""


class Truth(NamedTuple):
    """What a method ought to find, frame by frame."""

    f0: Samples
    """Hz `[frames]`; means nothing where unvoiced."""
    voiced: NDArray[np.bool_]
    judged: NDArray[np.bool_]
    """Whether the frame is far enough from a change of voicing to be one or the other."""


class Known(NamedTuple):
    """A sound and its pitch."""

    speaker: str
    kind: str
    wave: Samples
    contour: Samples
    """Hz every `STEP`, 0 where unvoiced."""

    @property
    def truth(self) -> Truth:
        """What a method ought to find in frames of `HOP`."""
        frames = len(self.wave) // HOP
        centres = (np.arange(frames) + 0.5) * HOP / RATE
        places = np.arange(len(self.contour)) * STEP
        voiced = self.contour > 0
        # Where the nearest entries are unvoiced the pitch is of no interest.
        f0 = np.interp(centres, places[voiced], self.contour[voiced])
        share = [
            np.interp(centres + shift, places, voiced.astype(float))
            for shift in np.linspace(-DOUBT, DOUBT, 21)
        ]
        least, most = np.min(share, axis=0), np.max(share, axis=0)
        return Truth(f0, np.interp(centres, places, voiced.astype(float)) > 0.5, least == most)


def read(path: Path) -> Samples:
    """Return a recording, mono, at `RATE`, with a peak of 1; also headless G.722."""
    if path.suffix != ".g722":
        wave = sovits.read(path, mono=True, sample_rate=RATE)[0][0].double().numpy()
    else:
        with av.open(str(path), format="g722") as container:
            blocks = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
        wave = np.concatenate(blocks) / 32768
    return wave / max(np.abs(wave).max(), 1e-6)


def people(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Return the recordings of each speaker: a file is one, and so is a folder within a folder."""
    found: dict[str, list[Path]] = {}
    suffixes = AUDIO_SUFFIXES | {".g722"}
    for path in paths:
        files = [path] if path.is_file() else sorted(path.rglob("*"))
        for file in files:
            if file.suffix.lower() in suffixes and "silence" not in file.parts:
                inner = file.relative_to(path).parts if path.is_dir() else ()
                name = inner[0] if len(inner) > 1 else path.stem
                found.setdefault(name, []).append(file)
    return found


def stretches(speaker: str, files: Sequence[Path], rng: np.random.Generator) -> Iterator[Source]:
    """Yield stretches of a speaker's recordings, joined in a random order."""
    length, held = round(CLIP_SECONDS * RATE), np.zeros(0)
    for index in rng.permutation(len(files)):
        held = np.concatenate([held, read(files[index])])
        while len(held) >= length:
            yield Source(speaker, held[:length])
            held = held[length:]


def gather(paths: Sequence[Path], clips: int, rng: np.random.Generator) -> list[Source]:
    """Return up to so many stretches, by turns of the speakers."""
    queues = [stretches(name, files, rng) for name, files in people(paths).items()]
    found: list[Source] = []
    while queues and len(found) < clips:
        for queue in list(queues):
            source = next(queue, None)
            if source is None:
                queues.remove(queue)
            elif len(found) < clips:
                found.append(source)
    return found


def take_apart(wave: Samples) -> Speech | None:
    """Return what is kept of a stretch of speech; None if hardly any of it is voiced."""
    step, window = round(ANALYSIS_STEP * RATE), 640
    number = len(wave) // step
    padded = np.pad(wave, (window - step) // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::step][:number]
    power = np.abs(np.fft.rfft(frames * np.hanning(window), N_FFT)) ** 2
    kept = 1 / (1 + (np.arange(N_FFT // 2 + 1) / RATE / DETAIL) ** 12)
    cepstrum = np.fft.irfft(np.log(power + 1e-7), axis=1)
    shape = np.exp(np.fft.rfft(cepstrum * np.append(kept, kept[-2:0:-1]), axis=1).real)

    sound = torch.from_numpy(wave).float()
    harvest, dio = (load()(sound, RATE, step) for load in (load_harvest, load_dio))
    f0 = harvest.f0.double().numpy()
    level = 10 * np.log10(power.mean(1) + 1e-12)
    both = (harvest.voiced & dio.voiced).numpy() & (level > level.max() + AUDIBLE_DB)
    voiced = binary_opening(binary_closing(both, np.ones(5)), np.ones(12))
    if voiced.mean() < 0.25:
        return None
    octaves = np.log2(f0 / np.median(f0[voiced]))
    octaves -= np.round(octaves)  # harvest may have leapt; the melody has not
    places = np.flatnonzero(both)
    smooth = gaussian_filter1d(np.interp(np.arange(number), places, octaves[places]), 3)
    return Speech(shape, voiced, smooth)


def melody(seconds: float, rng: np.random.Generator) -> Samples:
    """Return notes with glides, vibrato and drift, somewhere between `LOWEST` and `HIGHEST`."""
    number = round(seconds / STEP)
    span = np.log2(HIGHEST / LOWEST)
    floor = rng.uniform(0, span - 1.5)
    note, notes = floor + rng.uniform(0, 1.5), np.zeros(number)
    depth, rate, begun = np.zeros(number), rng.uniform(4.5, 6.5), 0
    while begun < number:
        length = round(rng.uniform(0.15, 0.6) / STEP)
        notes[begun : begun + length] = note
        ramp = np.clip(np.arange(length) * STEP / 0.2 - 0.5, 0, 1) * rng.uniform(0, 100) / 1200
        depth[begun : begun + length] = ramp[: number - begun]
        note = np.clip(note + rng.uniform(-7, 7) / 12, floor, floor + 1.5)
        begun += length
    drift = gaussian_filter1d(rng.standard_normal(number), 30)
    octaves = gaussian_filter1d(notes, rng.uniform(8, 20)) + drift / drift.std() * 6 / 1200
    octaves += depth * np.sin(2 * np.pi * rate * np.arange(number) * STEP)
    return LOWEST * np.exp2(np.clip(octaves, 0, span))


def spoken(speech: Speech, median: float) -> Samples:
    """Return the melody of speech around another median (Hz)."""
    coarse = (np.arange(len(speech.octaves)) + 0.5) * ANALYSIS_STEP
    fine = np.arange(round(len(coarse) * ANALYSIS_STEP / STEP)) * STEP
    octaves = np.clip(np.interp(fine, coarse, speech.octaves), -0.7, 0.9)
    return np.clip(median * np.exp2(octaves), 50.0, 1100.0)


def put_together(
    world: ModuleType, speech: Speech, contour: Samples, rng: np.random.Generator, size: float = 1.0
) -> tuple[Samples, Samples]:
    """Return speech at another pitch, and that pitch, 0 where unvoiced.

    Args:
        world: The package pyworld.
        speech: Where it is voiced, and its spectra.
        contour: Pitch every `STEP` (Hz).
        rng: Draws how breathy it is.
        size: By how much its formants are higher.
    """
    nearest = np.arange(len(contour)) * len(speech.voiced) // len(contour)
    contour = np.where(speech.voiced[nearest], contour, 0.0)
    bins = np.arange(N_FFT // 2 + 1)
    warped = np.array([np.interp(bins / size, bins, row) for row in speech.shape])
    breath_db = np.interp(
        bins * RATE / N_FFT, [0, 2000, 8000], [rng.uniform(-35, -20), rng.uniform(-20, -10), -4]
    )
    breath = np.where(contour[:, None] > 0, 10 ** (breath_db / 20), 1 - 1e-9)
    wave = world.synthesize(contour, warped[nearest], breath, RATE, 1000 * STEP)
    return 0.5 * wave / np.abs(wave).max(), contour


def make(sources: Sequence[Source], rng: np.random.Generator) -> list[Known]:
    """Return the sources at pitches of our own: melodies, moved speech, deep voices, by turns."""
    world = load_harvest().world
    made: list[Known] = []
    for source in sources:
        speech = take_apart(source.wave)
        if speech is None:
            continue
        kind = ("melody", "speech", "melody", "speech", "deep")[len(made) % 5]
        if kind == "melody":
            contour = melody(CLIP_SECONDS, rng)
        elif kind == "speech":  # 150 Hz by -12 to +24 semitones
            contour = spoken(speech, 150 * 2 ** rng.uniform(-0.75, 2))
        else:
            contour = spoken(speech, rng.uniform(75, 95))
        size = 0.85 if kind == "deep" else rng.uniform(0.85, 1.2)
        wave, contour = put_together(world, speech, contour, rng, size)
        made.append(Known(source.speaker, kind, wave, contour))
    return made


def at_ratio(wave: Samples, noise: Samples, db: float) -> Samples:
    """Return `wave` with `noise` so many decibels below it, by their mean powers."""
    gain = np.sqrt((wave**2).mean() / (noise**2).mean()) * 10 ** (-db / 20)
    return wave + gain * noise


def white(wave: Samples, rng: np.random.Generator) -> Samples:
    """Return white noise."""
    return rng.standard_normal(len(wave))


def pink(wave: Samples, rng: np.random.Generator) -> Samples:
    """Return noise whose power falls by 3 dB per octave, from 20 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(len(wave)))
    hz = np.fft.rfftfreq(len(wave), 1 / RATE)
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(hz, 20)), len(wave))


def reverberant(wave: Samples, rng: np.random.Generator, seconds: float = 0.5) -> Samples:
    """Return the sound in a room that takes so long to be quiet by 60 dB; direct sound first."""
    time = np.arange(round(seconds * RATE)) / RATE
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / seconds) * (time > 0.003)
    room = tail / np.sqrt((tail**2).sum())  # as strong as the direct sound
    room[0] = 1.0
    return fftconvolve(wave, room)[: len(wave)]


def narrow(wave: Samples) -> Samples:
    """Return the sound as of a rate of 8 kHz."""
    return resample_poly(resample_poly(wave, 1, 2), 2, 1)[: len(wave)]


def telephone(wave: Samples) -> Samples:
    """Return the sound between 300 and 3400 Hz, without the fundamental of most voices."""
    return sosfilt(butter(4, (300, 3400), "bandpass", fs=RATE, output="sos"), wave)


def babble(sources: Sequence[Source]) -> Callable[[Samples, np.random.Generator], Samples]:
    """Return what makes the murmur of a crowd out of speech played backwards."""

    def murmur(wave: Samples, rng: np.random.Generator) -> Samples:
        crowd = np.zeros(len(wave))
        for index in rng.integers(len(sources), size=BABBLERS):
            voice = resample_poly(sources[index].wave[::-1], int(rng.integers(85, 118)), 100)
            voice = np.roll(np.resize(voice, len(wave)), rng.integers(len(wave)))
            crowd += voice / np.sqrt((voice**2).mean() + 1e-12)
        return crowd

    return murmur


Disturbance = Callable[[Samples, np.random.Generator], Samples]


def disturbances(sources: Sequence[Source]) -> dict[str, Disturbance]:
    """Return all that may happen to a sound on its way."""
    found: dict[str, Disturbance] = {"clean": lambda wave, _: wave}
    for name, noise in (("white", white), ("pink", pink), ("babble", babble(sources))):
        for db in (20, 10, 5):
            found[f"{name} {db} dB"] = lambda wave, rng, noise=noise, db=db: at_ratio(
                wave, noise(wave, rng), db
            )
    return found | {
        "reverberation": reverberant,
        "8 kHz": lambda wave, _: narrow(wave),
        "telephone": lambda wave, _: telephone(wave),
        "quiet": lambda wave, _: np.round(wave / 100 * 32768) / 32768,
    }
