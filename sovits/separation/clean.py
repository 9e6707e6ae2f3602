"""Take something out of a sound, each channel on its own, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from sovits.ends import Listener, Output, Sound
from sovits.types import Wave

BLOCK_SECONDS = 10


class Cleaner(Protocol):
    """Takes something out of one channel of sound."""

    sample_rate: int
    """Rate that it hears (Hz)."""

    def start(self) -> Callable[[Wave, bool], Wave]:
        """Return what is given `[samples]` and whether they are the last, and returns clean ones.

        What comes out may come later than what went in, but is as long when all is done.
        """


def clean(
    sound: Sound,
    cleaner: Cleaner,
    write: Callable[[Wave], None],
    on_progress: Callable[[float], None] | None = None,
) -> None:
    """Hand out `[channels, n]` of a clean sound as it is ready, each channel on its own.

    The result is as long as the sound and has its rate; memory is bounded.
    """
    rate, channels = cleaner.sample_rate, sound.channels
    total = round(sound.frames * rate / sound.sample_rate)
    listener = Listener(sound, rate, total, lambda wave: wave, channels)
    out = Output((rate, sound.sample_rate), channels, sound.frames, write)
    streams = [cleaner.start() for _ in range(channels)]
    block = rate * BLOCK_SECONDS
    for begin in range(0, total, block):
        end = min(begin + block, total)
        wave = listener.hear(begin, end)
        out.push(torch.stack([s(w, end == total) for s, w in zip(streams, wave, strict=True)]))
        if on_progress is not None:
            on_progress(end / total)
    out.finish()
