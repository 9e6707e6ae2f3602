"""Turn recordings of any kind into clips of one kind: mono, one rate, one level, no silent ends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from sovits.audio.io import AUDIO_SUFFIXES, AudioReader, write
from sovits.audio.resample import StreamResampler
from sovits.errors import AudioError, DatasetError
from sovits.prepare.pool import OnProgress, default_jobs, run
from sovits.prepare.recordings import Recording, find_clips, find_recordings
from sovits.prepare.report import Report, Skipped
from sovits.sources import keep_sources
from sovits.types import Wave

PEAK = 0.95
"""Largest sample of every clip; below 1, so that no later filter clips."""
SHORTEST = 0.3
"""Length below which a clip teaches nothing (s)."""
SILENCE = 1e-4
"""Largest sample of a file that counts as silent (-80 dBFS)."""

_BLOCK = 1 << 20
_BYTES_EACH = 1 << 30


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
    n_jobs: int | None = None,
    on_progress: OnProgress | None = None,
) -> Report:
    """Write a clip, `out/SPEAKER/NAME.wav`, for each recording below `folder/SPEAKER`.

    Args:
        folder: Recordings, in one folder per speaker.
        out: Where the clips go.
        options: How they are made.
        n_jobs: Processes; as many as cores and memory allow if not given.
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
    results = run(_resample, jobs, n_jobs or default_jobs(_BYTES_EACH), on_progress)
    made = tuple(result for result in results if isinstance(result, Path))
    skipped = (*found.skipped, *(result for result in results if isinstance(result, Skipped)))
    known = {job.out: job.recording.path.relative_to(folder).as_posix() for job in jobs}
    keep_sources(out, {path.relative_to(out).as_posix(): known[path] for path in made})
    return Report(made, skipped=skipped, stale=_stale(out, made))


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


def _resample(job: _Job) -> Path | Skipped:
    """Write one clip, or say why not."""
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
        return Skipped(source, str(error))
    return job.out


def _read_mono(path: Path, sample_rate: int) -> Wave:
    """Return the mean of a file's channels at another rate, `[samples]`, read in blocks."""
    parts = []
    with AudioReader(path) as reader:
        resampler = StreamResampler(reader.sample_rate, sample_rate, 1)
        for start in range(0, reader.frames, _BLOCK):
            block = reader.read(start, _BLOCK).mean(0, keepdim=True)
            parts.append(resampler.push(block, last=start + _BLOCK >= reader.frames))
    return torch.cat(parts, dim=-1)[0]


def _stale(out: Path, made: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return clips in `out` that this run did not write."""
    try:
        clips = find_clips(out).recordings
    except DatasetError:
        return ()
    fresh = set(made)
    return tuple(clip.path for clip in clips if clip.path not in fresh)
