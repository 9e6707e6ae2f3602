"""Turn recordings of any kind into clips of one kind: mono, one rate, one level, no silent ends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from sovits.audio.io import AUDIO_SUFFIXES, AudioReader, write
from sovits.audio.resample import StreamResampler
from sovits.errors import AudioError, DatasetError
from sovits.prepare.recordings import Recording, find_clips, find_recordings
from sovits.prepare.report import Report, Skipped
from sovits.sources import keep_sources
from sovits.types import Wave
from sovits.workers.crew import Crew, Failure, OnProgress, run
from sovits.workers.ledger import Ledger

PEAK = 0.95
"""Largest sample of every clip; below 1, so that no later filter clips."""
SHORTEST = 0.3
"""Length below which a clip teaches nothing (s)."""
SILENCE = 1e-4
"""Largest sample of a file that counts as silent (-80 dBFS)."""

LEDGER = ".resampled.jsonl"
"""Kept in a folder of clips: how and of what each was made."""
BYTES_EACH = 1 << 30
"""Memory that one worker needs."""

_BLOCK = 1 << 20


@dataclass(frozen=True)
class ResampleOptions:
    """How recordings become clips."""

    sample_rate: int = 44_100
    """Rate of the clips (Hz)."""
    top_db: float = 30.0
    """Level below the loudest frame under which the ends of a recording are silence (dB)."""
    frame_seconds: float = 0.05
    """Length of the frames whose level is measured (s)."""
    hop_seconds: float = 0.0125
    """Time from one such frame to the next (s)."""
    margin_seconds: float = 0.1
    """Silence that is left at each end (s)."""


class _Job(NamedTuple):
    recording: Recording
    out: Path
    options: ResampleOptions


def resample_recordings(
    folder: Path,
    out: Path,
    options: ResampleOptions | None = None,
    *,
    crew: Crew | None = None,
    on_progress: OnProgress | None = None,
) -> Report:
    """Write a clip, `out/SPEAKER/NAME.wav`, for each recording below `folder/SPEAKER`.

    A clip that was made of the same recording with the same options is kept.

    Args:
        folder: Recordings, in one folder per speaker.
        out: Where the clips go.
        options: How they are made.
        crew: Workers; this process if not given.
        on_progress: Told how far it is.

    Raises:
        DatasetError: There are no recordings, or not in folders by speaker.
    """
    found = find_recordings(folder, AUDIO_SUFFIXES)
    names = clip_names(found.recordings)
    jobs = [
        _Job(recording, out / name, options or ResampleOptions())
        for recording, name in zip(found.recordings, names, strict=True)
    ]
    ledger = Ledger(out / LEDGER, options or ResampleOptions())
    left: list[_Job] = []
    kept: list[_Job] = []
    for job in jobs:
        (kept if ledger.has(job.recording.path, job.out) else left).append(job)
    made: list[_Job] = []
    skipped: list[Skipped] = []
    damaged: list[Skipped] = []

    def sort(job: _Job, result: Skipped | Failure | None) -> None:
        if result is None:
            made.append(job)
            ledger.add(job.recording.path, job.out)
        elif isinstance(result, Skipped):
            skipped.append(result)
        else:
            damaged.append(Skipped(job.recording.path, result.reason))

    try:
        run(_resample, left, crew, on_progress=on_progress, on_result=sort)
    finally:
        ledger.close()
    there = sorted((*kept, *made), key=lambda job: job.out)
    keep_sources(
        out,
        {
            job.out.relative_to(out).as_posix(): job.recording.path.relative_to(folder).as_posix()
            for job in there
        },
    )
    return Report(
        tuple(sorted(job.out for job in made)),
        tuple(job.out for job in kept),
        (*found.skipped, *sorted((*skipped, *damaged))),
        tuple(sorted(damaged)),
        stale=_stale(out, tuple(job.out for job in there)),
    )


def clip_names(recordings: list[Recording]) -> list[Path]:
    """Return `SPEAKER/NAME.wav` for each recording; no two differ by case alone.

    Subfolders are flattened. Of recordings with the same name, the later ones get a number.
    """
    taken: set[str] = set()
    names = []
    for recording in recordings:
        stem = "".join(x if x.isprintable() else "_" for x in recording.path.stem)
        name, count = stem, 0
        while f"{recording.speaker}/{name}".casefold() in taken:
            count += 1
            name = f"{stem}_{count}"
        taken.add(f"{recording.speaker}/{name}".casefold())
        names.append(Path(recording.speaker, f"{name}.wav"))
    return names


def trim(wave: Wave, options: ResampleOptions) -> Wave:
    """Return `[samples]` without silence at its ends, but for a short margin."""
    hop = max(1, round(options.hop_seconds * options.sample_rate))
    span = max(1, round(options.frame_seconds / options.hop_seconds))
    count = -(-wave.shape[0] // hop)
    padded = torch.nn.functional.pad(wave, (0, count * hop - wave.shape[0]))
    power = padded.reshape(count, hop).square().mean(-1)
    level = torch.nn.functional.avg_pool1d(
        torch.nn.functional.pad(power, (span // 2, span - 1 - span // 2))[None], span, 1
    )[0]
    heard = (level > level.max() * 10 ** (-options.top_db / 10)).nonzero()
    if not len(heard):
        return wave[:0]
    margin = round(options.margin_seconds * options.sample_rate)
    start, stop = int(heard[0]) * hop - margin, (int(heard[-1]) + 1) * hop + margin
    return wave[max(start, 0) : stop]


def _resample(job: _Job) -> Skipped | Failure | None:
    """Write one clip, or say why not: it holds nothing to learn from, or cannot be read."""
    source, options = job.recording.path, job.options
    try:
        wave = _read_mono(source, options.sample_rate)
        peak = float(wave.abs().max())
        if peak < SILENCE:
            return Skipped(source, f"silent: its loudest sample is {peak:.1e}")
        seconds = wave.shape[0] / options.sample_rate
        if seconds >= SHORTEST:
            wave = trim(wave, options)
            seconds = wave.shape[0] / options.sample_rate
        if seconds < SHORTEST:
            return Skipped(source, f"too short: {seconds:.2f} s of sound, below {SHORTEST} s")
        job.out.parent.mkdir(parents=True, exist_ok=True)
        write(
            job.out, wave[None] * (PEAK / wave.abs().max()), options.sample_rate, subtype="PCM_16"
        )
    except AudioError as error:
        return Failure(job.out, str(error))
    return None


def _read_mono(path: Path, sample_rate: int) -> Wave:
    """Return the mean of a file's channels at another rate, `[samples]`, read in blocks."""
    parts = []
    with AudioReader(path) as reader:
        resampler = StreamResampler(reader.sample_rate, sample_rate, 1)
        for start in range(0, reader.frames, _BLOCK):
            block = reader.read(start, _BLOCK).mean(0, keepdim=True)
            parts.append(resampler.push(block, last=start + _BLOCK >= reader.frames))
    return torch.cat(parts, dim=-1)[0]


def _stale(out: Path, there: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return clips in `out` that no recording stands behind."""
    try:
        clips = find_clips(out).recordings
    except DatasetError:
        return ()
    fresh = set(there)
    return tuple(clip.path for clip in clips if clip.path not in fresh)
