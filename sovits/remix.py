"""Put voices and accompaniment together again: as loud as the song was, and never too high."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from sovits.audio.io import AudioReader, AudioWriter
from sovits.audio.lufs import Loudness, true_peaks
from sovits.types import Wave

CEILING_DB = -1.0
"""Highest true peak of a result (dBTP)."""
_LIMIT_DB = CEILING_DB - 0.15  # aimed at, as an encoder and another oversampling find a little more
TOLERANCE = 0.5
"""How far a remix may be from the song's loudness before its gain is changed (LU)."""
BLOCK_SECONDS = 10.0
LOOK_SECONDS = 0.01
"""How long before and after a peak the limiter is at work (s)."""


class Master(NamedTuple):
    """What was done to a remix as a whole."""

    lufs: float
    """Loudness of the song (LUFS)."""
    gain_db: float
    """What all of the remix was raised by (dB)."""
    limited_db: float
    """How far the limiter lowered its highest peak (dB)."""


class Part(NamedTuple):
    """A sound in a remix."""

    reader: AudioReader
    gain: float = 1.0


def measure(path: Path) -> Loudness:
    """Return the loudness of a file."""
    with AudioReader(path) as reader:
        loudness = Loudness(reader.sample_rate, reader.channels)
        for start in range(0, reader.frames, _block(reader)):
            loudness.push(reader.read(start, _block(reader)))
    return loudness


def remix(
    parts: Sequence[Part],
    song: Path,
    out: Path,
    *,
    on_progress: Callable[[float], None] | None = None,
) -> Master:
    """Write the sum of `parts`, as loud as `song`, in bounded memory.

    The sum is changed as little as can be: by one gain if its loudness is off by more than
    `TOLERANCE`, and by a limiter for the moments in which its true peak would exceed `CEILING_DB`.

    Args:
        parts: Sounds of one length, rate and number of channels.
        song: What it is to be as loud as.
        out: Where to write.
        on_progress: Told the share that is done, 0 to 1.

    Raises:
        OutputError: `out` cannot be written.
    """
    progress = on_progress or (lambda _: None)
    first = parts[0].reader
    before, after = measure(song), Loudness(first.sample_rate, first.channels)
    for start, wave in _blocks(parts):
        after.push(wave)
        progress(0.4 * start / first.frames)
    wanted = before.lufs - after.lufs
    gain_db = wanted if math.isfinite(wanted) and abs(wanted) > TOLERANCE else 0.0
    gain = 10 ** (gain_db / 20)
    limited = max(0.0, after.peak_db + gain_db - _LIMIT_DB)
    context = round(4 * LOOK_SECONDS * first.sample_rate) if limited else 0
    with AudioWriter(out, first.sample_rate, first.channels) as writer:
        for start in range(0, first.frames, _block(first)):
            stop = min(start + _block(first), first.frames)
            begin = max(0, start - context)
            wave = gain * _sum(parts, begin, min(stop + context, first.frames))
            if limited:
                wave = limit(wave, first.sample_rate)
            writer.write(wave[:, start - begin : stop - begin])
            progress(0.4 + 0.6 * stop / first.frames)
    return Master(before.lufs, gain_db, limited)


def limit(wave: Wave, sample_rate: int) -> Wave:
    """Return `[channels, samples]` with no true peak above `CEILING_DB`.

    All channels are lowered alike, for the moment around each peak, so the image does not move.
    """
    ceiling = 10 ** (_LIMIT_DB / 20)
    look = max(1, round(LOOK_SECONDS * sample_rate))
    needed = (ceiling / true_peaks(wave, sample_rate).clamp(min=ceiling))[None, None]
    pad = torch.nn.functional.pad
    # The lowest gain of a stretch around, then smoothed over half of it, which is never above.
    lowest = -torch.nn.functional.max_pool1d(
        pad(-needed, (look, look), value=-1.0), 2 * look + 1, stride=1
    )
    kernel = torch.hann_window(2 * (look // 2) + 3, periodic=False)[1:-1]
    kernel = kernel / kernel.sum()
    half = len(kernel) // 2
    smooth = torch.nn.functional.conv1d(
        pad(lowest, (half, half), mode="replicate"), kernel[None, None]
    )
    return wave * smooth[0]


def _blocks(parts: Sequence[Part]) -> Iterator[tuple[int, Wave]]:
    """Yield the sum of the parts, from front to back."""
    reader = parts[0].reader
    for start in range(0, reader.frames, _block(reader)):
        yield start, _sum(parts, start, min(start + _block(reader), reader.frames))


def _sum(parts: Sequence[Part], start: int, stop: int) -> Wave:
    """Return samples `start` to `stop` of the sum."""
    total = torch.zeros(parts[0].reader.channels, stop - start)
    for part in parts:
        wave = part.reader.read(start, stop - start)
        total[:, : wave.shape[-1]] += part.gain * wave
    return total


def _block(reader: AudioReader) -> int:
    return max(1, round(BLOCK_SECONDS * reader.sample_rate))
