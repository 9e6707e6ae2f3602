"""Tell speakers apart in recordings of several, by clustering who is heard in every stretch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sovits.audio.io import AudioReader, AudioWriter
from sovits.audio.resample import StreamResampler
from sovits.errors import AudioError, DatasetError
from sovits.features.speaker import AUDIO, STEP, load_speaker_encoder, raised
from sovits.prepare.measures import RATE, frame_power, level_db
from sovits.prepare.pool import OnProgress
from sovits.prepare.recordings import sound_files
from sovits.prepare.report import Report, Skipped
from sovits.prepare.split import Part, Stretch, piece_path
from sovits.types import Wave

BLOCK = 30
"""Seconds heard at once."""
HEARD_DB = 35.0
"""How far below the loud parts of a block somebody is still heard (dB)."""
HEARD_SHARE = 0.5
"""Share of a stretch in which somebody has to be heard."""
SHORTEST = 1.0
"""Shortest turn that is written (s)."""
ROUNDS = 30
APART = 0.03
"""By how much more clusters have to be apart for one more to be worth it (silhouette)."""
MOST = 4_000
"""Stretches that clusters are found by; of more, so many at even distances."""
SMOOTH = 3
"""Stretches of which the most frequent speaker counts."""
_READ = 1 << 18


class Heard(NamedTuple):
    """Who is heard in 1.6 s of a recording."""

    middle: float
    """Middle of it (s)."""
    vector: Tensor


@dataclass(frozen=True)
class Turn:
    """A stretch of a recording in which one speaker is heard."""

    speaker: int
    start: float
    stop: float


def diarise(
    folder: Path,
    out: Path,
    *,
    least: int = 2,
    most: int = 2,
    sample_rate: int = 44_100,
    on_progress: OnProgress | None = None,
) -> Report:
    """Write what each speaker says to a folder of its own: `out/speaker_1/talk_START_STOP.wav`.

    Speakers are told apart over all recordings together, so one person has one folder.

    Args:
        folder: Recordings, in any folders.
        out: Where the speakers' folders go.
        least: Fewest speakers.
        most: Most speakers.
        sample_rate: Rate of what is written (Hz).
        on_progress: Told how many recordings are done.

    Raises:
        DatasetError: There is no sound in `folder`, or nobody is heard in it.
        OutputError: A file cannot be written.
    """
    found = sound_files(folder)
    heard: dict[Path, list[Heard]] = {}
    damaged = []
    for number, path in enumerate(found.paths, 1):
        try:
            heard[path] = list(listen(path))
        except AudioError as error:
            damaged.append(Skipped(path, str(error)))
        if on_progress is not None:
            on_progress(number, 2 * len(found.paths))
    vectors = [stretch.vector for stretches in heard.values() for stretch in stretches]
    if not vectors:
        raise DatasetError.nobody_heard(folder)
    centres = cluster(torch.stack(vectors), least, most)
    made: list[Path] = []
    for number, (path, stretches) in enumerate(heard.items(), 1):
        if stretches:
            stem = "-".join(path.relative_to(folder).with_suffix("").parts)
            made += _write(path, turns(stretches, centres), out, stem, sample_rate)
        if on_progress is not None:
            on_progress(len(found.paths) + number, 2 * len(found.paths))
    skipped = (*found.skipped, *damaged)
    return Report(tuple(made), skipped=skipped, damaged=tuple(damaged))


def listen(path: Path) -> Iterator[Heard]:
    """Yield who is heard in a recording every 0.77 s, where somebody is, in bounded memory.

    Raises:
        AudioError: It cannot be read.
    """
    encoder = load_speaker_encoder()
    size, start = BLOCK * RATE, 0
    for block in _at_rate(path, RATE, size):
        db = level_db(frame_power(block))
        if len(db) > 100 and float(block.abs().max()) > 0:
            loud = db > float(db.quantile(0.95)) - HEARD_DB
            for number, vector in enumerate(encoder.embed_partials(raised(block))):
                first = number * STEP * AUDIO.hop_length // 160
                if float(loud[first : first + 160].float().mean()) >= HEARD_SHARE:
                    yield Heard((start + first * 160) / RATE + 0.8, vector)
        start += len(block)


def cluster(vectors: Tensor, least: int, most: int) -> Tensor:
    """Return the unit vectors of speakers, `[speakers, 256]`, the one who is heard most first.

    Args:
        vectors: Unit vectors `[n, 256]`.
        least: Fewest speakers.
        most: Most speakers; as many as are well apart are taken.
    """
    chosen = vectors[torch.linspace(0, len(vectors) - 1, min(MOST, len(vectors))).long()]
    best, quality = _means(chosen, min(least, len(chosen))), -1.0
    if least < most:
        quality = _silhouette(chosen, best)
        for count in range(least + 1, min(most, len(chosen)) + 1):
            centres = _means(chosen, count)
            found = _silhouette(chosen, centres)
            if found > quality + APART:
                best, quality = centres, found
    order = (vectors @ best.T).argmax(1).bincount(minlength=len(best)).argsort(descending=True)
    return best[order]


def _means(vectors: Tensor, count: int) -> Tensor:
    """Return the centres of k-means on the sphere, begun with those that are furthest apart."""
    middle = F.normalize(vectors.mean(0), dim=0)
    chosen = [int((vectors @ middle).argmax() if count == 1 else (vectors @ middle).argmin())]
    while len(chosen) < count:
        chosen.append(int((vectors @ vectors[chosen].T).amax(1).argmin()))
    centres = vectors[chosen]
    for _ in range(ROUNDS):
        owner = (vectors @ centres.T).argmax(1)
        sums = torch.zeros_like(centres).index_add_(0, owner, vectors)
        moved = torch.where(sums.norm(dim=1, keepdim=True) > 0, F.normalize(sums, dim=1), centres)
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres


def _silhouette(vectors: Tensor, centres: Tensor) -> float:
    """Return how much nearer each is to its own centre than to the next, 0 to 1."""
    if len(centres) < 2:
        return 0.0
    gaps = 1 - (vectors @ centres.T).topk(2, dim=1).values
    return float(((gaps[:, 1] - gaps[:, 0]) / gaps[:, 1].clamp(min=1e-6)).mean())


def turns(heard: Sequence[Heard], centres: Tensor) -> list[Turn]:
    """Return who speaks when: a speaker goes on until another, or nobody, is heard."""
    owners = (torch.stack([stretch.vector for stretch in heard]) @ centres.T).argmax(1)
    padded = torch.cat([owners[:1], owners, owners[-1:]]).unfold(0, SMOOTH, 1)
    smooth = padded.mode(-1).values.tolist()
    step = STEP * AUDIO.hop_length / RATE
    found: list[Turn] = []
    for stretch, speaker in zip(heard, smooth, strict=True):
        start, stop = max(0.0, stretch.middle - step / 2), stretch.middle + step / 2
        before = found[-1] if found else None
        if before and before.speaker == speaker and start - before.stop < step:
            found[-1] = Turn(speaker, before.start, stop)
        else:
            found.append(Turn(speaker, start, stop))
    # What is heard before the first middle and after the last belongs to them.
    return [
        Turn(turn.speaker, turn.start - (0.4 if _alone(found, i, -1) else 0.0),
             turn.stop + (0.4 if _alone(found, i, 1) else 0.0))
        for i, turn in enumerate(found)
    ]  # fmt: skip


def _alone(found: Sequence[Turn], number: int, way: int) -> bool:
    """Return whether nobody speaks right before (-1) or after (1) a turn."""
    other = number + way
    if not 0 <= other < len(found):
        return True
    gap = found[number].start - found[other].stop if way < 0 else (
        found[other].start - found[number].stop
    )  # fmt: skip
    return gap > 1.0


def _write(
    path: Path, found: Sequence[Turn], out: Path, stem: str, sample_rate: int
) -> Iterator[Path]:
    """Write turns of at least a second, and yield where."""
    with AudioReader(path) as reader:
        rate, frames = reader.sample_rate, reader.frames
        for turn in found:
            begin = max(0, round(turn.start * rate))
            end = min(frames, round(turn.stop * rate))
            if end - begin < SHORTEST * rate:
                continue
            part = Part((Stretch(begin / rate, end / rate),))
            target = piece_path(out / f"speaker_{turn.speaker + 1}" / stem, part)
            target.parent.mkdir(parents=True, exist_ok=True)
            with AudioWriter(target, sample_rate, 1, subtype="PCM_16") as writer:
                resampler = StreamResampler(rate, sample_rate, 1)
                for at in range(begin, end, _READ):
                    block = reader.read(at, min(_READ, end - at)).mean(0, keepdim=True)
                    writer.write(resampler.push(block, last=at + _READ >= end))
            yield target


def _at_rate(path: Path, sample_rate: int, size: int) -> Iterator[Wave]:
    """Yield the mean of a recording's channels at another rate, `size` samples at a time."""
    held = torch.zeros(0)
    with AudioReader(path) as reader:
        resampler = StreamResampler(reader.sample_rate, sample_rate, 1)
        for start in range(0, reader.frames, _READ):
            block = reader.read(start, _READ).mean(0, keepdim=True)
            last = start + _READ >= reader.frames
            held = torch.cat([held, resampler.push(block, last=last)[0]])
            while len(held) >= size:
                yield held[:size]
                held = held[size:]
    if len(held):
        yield held
