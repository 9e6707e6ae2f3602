"""Take a song apart: vocals and accompaniment, whose sum is the song."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from sovits.audio.io import AudioReader, AudioWriter
from sovits.audio.loudness import LEVELS_PER_SECOND, recording_level
from sovits.audio.resample import resampled_length
from sovits.audio.split import frame_levels
from sovits.ends import Listener, Output, Sound, WaveSound
from sovits.separation.windows import Separator, voice_of
from sovits.types import Wave

HEARD_DB = -12.0
"""Level to which a separator hears a song raised or lowered (dBFS, of its loud parts): that of
songs as they are sold. Spleeter finds 4 dB less of a voice in a song that is 20 dB quieter."""
MOST_GAIN = 1000.0
"""How much a song is raised at most."""
SUBTYPE = "FLOAT"
"""How stems are stored: a stem may be louder than full scale where the mix is not."""


def separate(wave: Wave, sample_rate: int, separator: Separator) -> tuple[Wave, Wave]:
    """Return the vocals and the accompaniment of a sound in memory.

    Args:
        wave: `[channels, samples]`.
        sample_rate: Its rate (Hz).
        separator: What separates.

    Returns:
        Two waves of the shape of `wave`, whose sum it is.
    """
    parts: list[tuple[Wave, Wave]] = []
    take_apart(
        WaveSound(wave.detach().float().cpu(), sample_rate),
        separator,
        lambda *stems: parts.append(stems),
    )
    vocals, rest = zip(*parts, strict=True)
    return torch.cat(vocals, dim=-1), torch.cat(rest, dim=-1)


def separate_file(
    source: Path,
    stems: dict[str, Path],
    separator: Separator,
    *,
    on_progress: Callable[[float], None] | None = None,
) -> None:
    """Separate a file in bounded memory; each stem appears whole, or not at all.

    Args:
        source: Song.
        stems: Where to write `vocals`, `accompaniment`, or both: as long as `source`, at its rate
            and with its channels.
        separator: What separates.
        on_progress: Told the share that is done, 0 to 1.

    Raises:
        AudioError: `source` cannot be read.
        OutputError: A stem cannot be written.
    """
    with ExitStack() as stack:
        reader = stack.enter_context(AudioReader(source))
        writers = {
            name: stack.enter_context(
                AudioWriter(path, reader.sample_rate, reader.channels, subtype=_subtype(path))
            )
            for name, path in stems.items()
        }

        def write(vocals: Wave, rest: Wave) -> None:
            for name, wave in (("vocals", vocals), ("accompaniment", rest)):
                if name in writers:
                    writers[name].write(wave)

        take_apart(reader, separator, write, on_progress)


def take_apart(
    sound: Sound,
    separator: Separator,
    write: Callable[[Wave, Wave], None],
    on_progress: Callable[[float], None] | None = None,
) -> None:
    """Hand out vocals and accompaniment `[channels, n]` of a sound as they are ready.

    The separator hears the sound at its own rate. The accompaniment is the sound without the
    vocals, so above half that rate all is accompaniment.
    """
    rate, channels = separator.sample_rate, sound.channels
    total = resampled_length(sound.frames, sound.sample_rate, rate)
    listener = Listener(sound, rate, total, lambda wave: wave, channels)
    position = 0

    def split(vocals: Wave) -> None:
        nonlocal position
        count = vocals.shape[-1]
        write(vocals, sound.read(position, count) - vocals)
        position += count
        if on_progress is not None:
            on_progress(position / sound.frames)

    out = Output((rate, sound.sample_rate), channels, sound.frames, split)
    for vocals in voice_of(separator, listener.hear, total, channels, gain=_gain(sound)):
        out.push(vocals)
    out.finish()


def _gain(sound: Sound) -> float:
    """Return the factor that brings the loud parts of a sound to `HEARD_DB`."""
    hop = max(1, sound.sample_rate // LEVELS_PER_SECOND)
    block = hop * LEVELS_PER_SECOND * 10
    levels = [
        frame_levels(sound.read(start, block), hop) for start in range(0, sound.frames, block)
    ]
    wanted = HEARD_DB - recording_level(np.concatenate(levels))
    return float(min(10 ** (wanted / 20), MOST_GAIN))


def _subtype(path: Path) -> str | None:
    """Return how to store a stem: exactly, where the format can."""
    return SUBTYPE if path.suffix.lower() == ".wav" else None
