"""Cut long recordings into pieces of 10 to 15 seconds, in pauses, and lose nothing."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sovits.audio.io import AudioReader, AudioWriter
from sovits.audio.resample import StreamResampler
from sovits.audio.split import SILENCE_DB, frame_levels
from sovits.errors import AudioError
from sovits.prepare.pool import OnProgress, default_jobs, run
from sovits.prepare.recordings import sound_files
from sovits.prepare.report import Report, Skipped
from sovits.types import Wave

GRID = 0.01
"""Seconds from one place where a recording may be cut to the next."""
PAUSE = 0.3
"""A cut is free if it is in the middle of so much silence (s)."""
CANDIDATES = 0.1
"""Of so much of a recording one place may become a cut (s): the quietest."""
LOUD_SHARE = 0.95
"""Share of the frames that are not louder than the loud parts of a recording."""
FLOOR_SHARE = 0.05
"""Share of the frames that are not louder than its background."""
ABOVE_FLOOR = 0.25
"""How much of the way from background to loud is silence, where the background is not quiet."""
LEAST_RANGE = 10.0
"""How far below the loud parts silence lies at least (dB)."""
QUIETEST = 0.3
"""Weight of the level at a cut itself, beside that of its surroundings, which tells pauses."""
TOO_SHORT = 0.45
"""What a piece of no length at all costs, in cuts through the loudest sound."""
EMPTY_DB = -80.0
"""Level up to which even the loudest part of a recording is silence (dBFS)."""
DROPPED = 1.0
"""Shortest silence that is left out, if silences are (s)."""
MARGIN = 0.25
"""What is left of it at both ends (s)."""
LONGEST_NAME = 200
"""Bytes of the longest name of a piece; file systems take 255."""

_BLOCK = 1 << 18
_BYTES_EACH = 1 << 29

Levels = NDArray[np.float32]


@dataclass(frozen=True)
class SplitOptions:
    """How recordings are cut."""

    sample_rate: int = 44_100
    """Rate of the pieces (Hz)."""
    max_seconds: float = 15.0
    """Longest piece (s)."""
    min_seconds: float = 10.0
    """Shortest piece, where pauses allow it (s)."""
    top_db: float = 30.0
    """Level below the loud parts under which sound is silence (dB)."""
    frame_seconds: float = 0.03
    """Length of the frames whose level is measured (s)."""
    hop_seconds: float = GRID
    """Time from one such frame to the next, which is how exactly cuts are placed (s)."""
    drop_silence: bool = False
    """Leave out silences of more than a second, but for their ends."""


class Stretch(NamedTuple):
    """A stretch of a recording, from `start` to before `stop` (s)."""

    start: float
    stop: float


class Part(NamedTuple):
    """A piece of a recording: one stretch, or several with what is left out between them."""

    stretches: tuple[Stretch, ...]

    @property
    def start(self) -> float:
        """Where it begins (s)."""
        return self.stretches[0].start

    @property
    def stop(self) -> float:
        """Where it ends (s)."""
        return self.stretches[-1].stop


class _Job(NamedTuple):
    source: Path
    folder: Path
    options: SplitOptions


def split_recordings(
    folder: Path,
    out: Path,
    options: SplitOptions | None = None,
    *,
    n_jobs: int | None = None,
    on_progress: OnProgress | None = None,
) -> Report:
    """Cut every sound below `folder` into `out`, in the same folders.

    A piece of `folder/a/talk.wav` is `out/a/talk_0012.340_0025.110.wav`: from second 12.34 to
    25.11. Pieces are mono. Joined in the order of their names they are the recording again, to the
    sample, unless silences are left out.

    Args:
        folder: Recordings of any length, in any folders.
        out: Where the pieces go.
        options: How they are cut.
        n_jobs: Processes; as many as cores and memory allow if not given.
        on_progress: Told how far it is.

    Returns:
        What was made. A file that is damaged is in `Report.damaged`, and has no pieces.

    Raises:
        DatasetError: There is no such folder, or no sound in it.
        OutputError: A piece cannot be written, as where the disk is full.
    """
    found = sound_files(folder)
    taken: set[Path] = set()
    jobs = []
    for path in found.paths:
        inside = path.relative_to(folder)
        name = inside.with_suffix("")
        if name in taken:  # song.mp3 beside song.wav
            name = inside.with_name(f"{path.stem}_{path.suffix[1:]}")
        taken.add(name)
        jobs.append(_Job(path, out / name, options or SplitOptions()))
    results = run(_split, jobs, n_jobs or default_jobs(_BYTES_EACH), on_progress)
    damaged = tuple(result for result in results if isinstance(result, Skipped))
    made = tuple(path for result in results if isinstance(result, list) for path in result)
    return Report(made, skipped=(*found.skipped, *damaged), damaged=damaged)


def split_file(source: Path, stem: Path, options: SplitOptions) -> list[Path]:
    """Cut one recording, in bounded memory, and return the pieces.

    Args:
        source: The recording.
        stem: Folder and beginning of the name of each piece.
        options: How it is cut.

    Raises:
        AudioError: The recording is damaged; nothing of it is left then.
        OutputError: A piece cannot be written.
    """
    made: list[Path] = []
    try:
        with AudioReader(source) as reader:
            hop = max(1, round(options.hop_seconds * reader.sample_rate))
            levels = smoothed(
                frame_levels(reader, hop), round(options.frame_seconds / options.hop_seconds)
            )
            seconds = reader.frames / reader.sample_rate
            parts = find_parts(levels, hop / reader.sample_rate, seconds, options)
            stem.parent.mkdir(parents=True, exist_ok=True)
            for path in _write(reader, stem, parts, options):
                made.append(path)  # one by one, to be gone if a later one fails
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise
    return made


def find_parts(levels: Levels, step: float, seconds: float, options: SplitOptions) -> list[Part]:
    """Return where to cut.

    Cuts are chosen all at once, so that together they cost least: a cut costs nothing in a pause,
    and 1 in the loudest sound; a piece that is too short costs less than a cut through speech.

    Args:
        levels: Level of each frame (dBFS).
        step: Seconds from one frame to the next.
        seconds: Length of the recording.
        options: How to cut.

    Returns:
        Parts in order. Without `drop_silence` each begins where the one before it ended, the
        first at 0 and the last ends with the recording.
    """
    if not len(levels):
        return []
    silence_db, loud_db = silence_level(levels, options.top_db)
    kept = [Stretch(0.0, seconds)]
    if options.drop_silence:
        kept = _sounding(levels > silence_db, step, seconds)
    if not kept:
        return []
    edges = [(round(begin / step), min(math.ceil(end / step), len(levels))) for begin, end in kept]
    frames = np.concatenate([np.arange(*edge) for edge in edges])
    chosen = _cuts(cut_costs(levels, step, silence_db, loud_db)[frames], step, options)
    places = [kept[0].start, *np.round((frames[chosen] + 0.5) * step, 3).tolist(), kept[-1].stop]
    return [part for pair in pairwise(places) if (part := _between(*pair, kept)).stretches]


def _between(start: float, stop: float, kept: Sequence[Stretch]) -> Part:
    """Return what is kept from `start` to before `stop`."""
    inside = (Stretch(max(start, a), min(stop, b)) for a, b in kept)
    return Part(tuple(stretch for stretch in inside if stretch.stop > stretch.start))


def silence_level(levels: Levels, top_db: float) -> tuple[float, float]:
    """Return up to which level a recording is silent, and how loud its loud parts are (dBFS).

    Where the background is less than `top_db` below them, silence reaches a quarter of the way up
    from it.
    """
    loud = float(np.quantile(levels, LOUD_SHARE))
    if loud <= EMPTY_DB:
        return EMPTY_DB, EMPTY_DB + top_db
    floor = float(np.quantile(levels, FLOOR_SHARE))
    silence = max(loud - top_db, floor + ABOVE_FLOOR * (loud - floor), EMPTY_DB)
    return min(silence, loud - LEAST_RANGE), loud


def cut_costs(levels: Levels, step: float, silence_db: float, loud_db: float) -> Levels:
    """Return what a cut in each frame costs: 0 in the middle of a pause, 1 in the loudest sound."""
    share = np.clip((levels - silence_db) / max(loud_db - silence_db, 1.0), 0, 1)
    # Closures of p, t and k last up to a tenth of a second, so a pause has to be longer.
    half = max(1, round(PAUSE / step / 2))
    around = np.lib.stride_tricks.sliding_window_view(np.pad(share, half), 2 * half + 1).max(-1)
    cost: Levels = ((1 - QUIETEST) * around + QUIETEST * share).astype(np.float32)
    return cost


def smoothed(levels: Levels, width: int) -> Levels:
    """Return the level of `width` frames around each (dBFS)."""
    if width < 2:
        return levels
    power = np.pad(10 ** (levels.astype(np.float64) / 10), (width // 2, width - 1 - width // 2))
    total = np.cumsum(np.append(0.0, power))
    mean = np.maximum((total[width:] - total[:-width]) / width, 10 ** (SILENCE_DB / 10))
    return np.asarray(10 * np.log10(mean), np.float32)


def _cuts(cost: Levels, step: float, options: SplitOptions) -> list[int]:
    """Return the frames in whose middle to cut."""
    places = _candidates(cost, max(1, round(CANDIDATES / step)))
    costs = np.append(cost[places], 0.0)
    ends = np.concatenate([[0.0], (places + 0.5) * step, [len(cost) * step]])
    best, before, first = np.full(len(ends), np.inf), np.zeros(len(ends), int), 0
    best[0] = 0.0
    for i in range(1, len(ends)):
        while first < i - 1 and ends[i] - ends[first] > options.max_seconds + 1e-9:
            first += 1
        short = np.clip(1 - (ends[i] - ends[first:i]) / options.min_seconds, 0, 1)
        sums = best[first:i] + TOO_SHORT * short
        before[i] = first + int(sums.argmin())
        best[i] = sums.min() + costs[i - 1]
    chosen, at = [], int(before[-1])
    while at:
        chosen.append(int(places[at - 1]))
        at = int(before[at])
    return chosen[::-1]


def _candidates(cost: Levels, size: int) -> NDArray[np.int64]:
    """Return the cheapest of each `size` frames; of equals the middle one."""
    count = len(cost) // size
    tiled = cost[: count * size].reshape(count, size)
    if not count:
        return np.zeros(0, np.int64)
    equal = tiled == tiled.min(1, keepdims=True)
    middle = (equal.sum(1, keepdims=True) + 1) // 2
    found: NDArray[np.int64] = np.arange(count) * size + (equal.cumsum(1) == middle).argmax(1)
    return found


def _sounding(loud: NDArray[np.bool_], step: float, seconds: float) -> list[Stretch]:
    """Return the stretches without long silences, with a margin around sound."""
    edges = np.flatnonzero(np.diff(loud.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    margin = round(MARGIN / step) * step
    kept: list[Stretch] = []
    for begin, end in (edges * step).tolist():
        stretch = Stretch(max(0.0, begin - margin), min(seconds, end + margin))
        if kept and begin - (kept[-1].stop - margin) < DROPPED:
            stretch = Stretch(kept.pop().start, stretch.stop)
        kept.append(stretch)
    return kept


def _split(job: _Job) -> list[Path] | Skipped:
    """Cut one recording, or say why not."""
    try:
        return split_file(job.source, job.folder, job.options)
    except AudioError as error:
        return Skipped(job.source, str(error))


def _write(
    reader: AudioReader, stem: Path, parts: Sequence[Part], options: SplitOptions
) -> Iterator[Path]:
    """Write the pieces, and yield where each is as soon as it is there."""
    blocks = _resampled(reader, options.sample_rate)
    held, position = torch.zeros(1, 0), 0  # position: of the first sample that is held
    for part in parts:
        path = piece_path(stem, part)
        with AudioWriter(path, options.sample_rate, 1, subtype="PCM_16") as writer:
            for stretch in part.stretches:
                start, stop = (round(second * options.sample_rate) for second in stretch)
                while position < stop and (held.shape[-1] or (held := next(blocks, held)).numel()):
                    begin = min(max(start - position, 0), held.shape[-1])
                    end = min(stop - position, held.shape[-1])
                    writer.write(held[:, begin:end])
                    held, position = held[:, end:], position + end
        yield path


def _resampled(reader: AudioReader, sample_rate: int) -> Iterator[Wave]:
    """Yield the mean of a recording's channels at another rate, `[1, n]`, in blocks."""
    resampler = StreamResampler(reader.sample_rate, sample_rate, 1)
    for start in range(0, reader.frames, _BLOCK):
        block = reader.read(start, _BLOCK).mean(0, keepdim=True)
        yield resampler.push(block, last=start + _BLOCK >= reader.frames)


def piece_path(stem: Path, part: Part) -> Path:
    """Return the path of a piece; a long name is cut, and told from others by its hash.

    >>> piece_path(Path("a/talk"), Part((Stretch(12.34, 25.0),))).as_posix()
    'a/talk_0012.340_0025.000.wav'
    """
    times = f"_{part.start:08.3f}_{part.stop:08.3f}.wav"
    name = "".join(letter if letter.isprintable() else "_" for letter in stem.name)
    encoded = os.fsencode(name)
    if len(encoded) > LONGEST_NAME - len(times):
        short = encoded[: LONGEST_NAME - len(times) - 9].decode("utf-8", "ignore")
        name = f"{short}~{hashlib.sha256(encoded).hexdigest()[:8]}"
    return stem.with_name(name + times)
