"""Cut long sounds where they are silent or quietest, and join what was made of the pieces."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sovits.audio.io import AudioReader
from sovits.errors import AudioError
from sovits.types import Wave

SILENCE_DB = -200.0  # level of digital silence, whose logarithm would have no end (dB)
FRAMES_AT_ONCE = 1 << 8
ZEROS_AT_ONCE = 1 << 18  # samples
LATEST_SHARE = 0.4  # a long piece is cut within this last share of its longest length
SHORTEST_REST = 0.2  # what a cut leaves over has at least this share of it


class Piece(NamedTuple):
    """A stretch of sound between silences or cuts, from sample `start` to before `stop`."""

    start: int
    stop: int


def frame_levels(sound: AudioReader | Wave, hop: int) -> NDArray[np.float32]:
    """Return the level of each frame of `hop` samples, in bounded memory.

    Args:
        sound: An open file, `[channels, samples]` or `[samples]`. The loudest channel counts.
        hop: Samples per frame.

    Returns:
        Root mean square in dB below full scale, `[frames]`, with `frames = ceil(samples / hop)`;
        the last frame may be shorter than the others. Digital silence has -200 dB.
    """
    if isinstance(sound, AudioReader):
        samples, read = sound.frames, sound.read
    else:
        wave = sound if sound.ndim == 2 else sound[None]
        samples, read = wave.shape[-1], partial(_stretch, wave)
    levels = np.empty(-(-samples // hop), np.float32)
    for first in range(0, len(levels), FRAMES_AT_ONCE):
        block = read(first * hop, FRAMES_AT_ONCE * hop)
        levels[first : first + FRAMES_AT_ONCE] = _levels(block, hop)
    return levels


def _stretch(wave: Wave, start: int, count: int) -> Wave:
    """Return `count` samples from `start`, as `AudioReader.read` does."""
    return wave[:, start : start + count]


def _levels(wave: Wave, hop: int) -> NDArray[np.float32]:
    """Return the level in dB of each frame of `[channels, samples]`."""
    samples = wave.shape[-1]
    whole = samples // hop
    tiled = wave[:, : whole * hop].reshape(wave.shape[0], whole, hop)
    power = tiled.detach().float().square().mean(-1)
    if rest := samples - whole * hop:
        last = wave[:, -rest:].detach().float().square().mean(-1, keepdim=True)
        power = torch.cat([power, last], dim=-1)
    level: NDArray[np.float32] = (10 * power.amax(0).log10()).clamp(SILENCE_DB).cpu().numpy()
    return level


def find_pieces(
    levels_db: NDArray[np.float32] | Tensor,
    *,
    hop: int,
    total: int,
    silence_db: float,
    silence_seconds: float,
    max_seconds: float,
    sample_rate: int,
    margin_seconds: float = 0.2,
) -> list[Piece]:
    """Return where there is sound, in pieces that are short enough to be converted at once.

    Every frame above `silence_db` is in a piece, and so is a margin around it, in which breaths
    and soft tails survive. Pieces are in order and disjoint; where a long one had to be cut, one
    stops on the sample on which the next starts.

    Args:
        levels_db: Level of each frame (dB), as `frame_levels` gives it.
        hop: Samples per frame.
        total: Samples in the whole sound.
        silence_db: Level up to which a frame is silent (dB).
        silence_seconds: Shortest silence that separates pieces (s).
        max_seconds: Longest piece (s).
        sample_rate: Rate of the sound (Hz).
        margin_seconds: Sound kept before and after what is loud (s).
    """
    levels = np.asarray(levels_db, dtype=np.float32)
    margin = round(margin_seconds * sample_rate)
    shortest_silence = max(round(silence_seconds * sample_rate), 2 * margin)
    longest = max(1, int(max_seconds * sample_rate))
    pieces: list[Piece] = []
    for start, stop in _sounding(levels > silence_db, hop, total, shortest_silence):
        rest = Piece(max(0, start - margin), min(total, stop + margin))
        while rest.stop - rest.start > longest:
            cut = _quietest(levels, hop, rest, longest)
            pieces.append(Piece(rest.start, cut))
            rest = Piece(cut, rest.stop)
        pieces.append(rest)
    return pieces


def _sounding(loud: NDArray[np.bool_], hop: int, total: int, shortest_silence: int) -> list[Piece]:
    """Return the stretches of loud frames, with no shorter silence between two of them."""
    edges = np.flatnonzero(np.diff(loud.astype(np.int8), prepend=0, append=0)) * hop
    merged: list[Piece] = []
    for start, stop in edges.reshape(-1, 2).tolist():
        if merged and start - merged[-1].stop < shortest_silence:
            merged[-1] = Piece(merged[-1].start, min(stop, total))
        else:
            merged.append(Piece(start, min(stop, total)))
    return merged


def _quietest(levels: NDArray[np.float32], hop: int, piece: Piece, longest: int) -> int:
    """Return the sample in the middle of the quietest frame at which `piece` may be cut."""
    earliest = piece.start + math.ceil((1 - LATEST_SHARE) * longest)
    latest = min(piece.start + longest, piece.stop - int(SHORTEST_REST * longest))
    first = -(-(earliest - hop // 2) // hop)
    last = (latest - hop // 2) // hop
    window = levels[first : last + 1]
    if not len(window):
        return latest
    equals = np.flatnonzero(window == window.min())
    return int(first + equals[len(equals) // 2]) * hop + hop // 2


class Joiner:
    """Put pieces of output together to a sound of exactly `total` samples.

    Where two pieces overlap they are cross-faded so that the power stays what it was, however
    alike they are: what both have in common passes unchanged, and what they do not is faded with
    equal power. Where nothing was added there is silence, into which pieces fade. The first and
    the last sample of the sound are not faded, nor are pieces that touch without an overlap.

    Only the last piece is kept in memory. One object is one sound; `finish` ends it.

    Args:
        total: Samples of the whole sound.
        fade: Samples over which a piece fades from and to silence.
        write: Given each stretch `[channels, samples]` as soon as no later piece can change it.
        channels: Channels of every piece.
    """

    def __init__(
        self, total: int, fade: int, write: Callable[[Wave], None], *, channels: int = 1
    ) -> None:
        self.total, self.fade, self.channels = total, fade, channels
        self._write = write
        self._start = 0  # of what is held back; all before it is written
        self._held = torch.zeros(channels, 0)

    def add(self, start: int, wave: Wave) -> None:
        """Add `wave` `[channels, samples]`, of which the first is sample `start` of the sound.

        What lies before the first or after the last sample of the sound is left out.

        Raises:
            AudioError: The piece starts or stops before the one that was added before it.
        """
        wave = wave[:, max(0, -start) : max(0, self.total - start)]
        start = max(0, start)
        if not wave.shape[-1]:
            return
        stop, held_stop = start + wave.shape[-1], self._start + self._held.shape[-1]
        if start < self._start or stop < held_stop:
            raise AudioError.out_of_order(start=start, stop=stop, earliest=self._start)
        if start > held_stop:
            self._fall_silent()
            self._silence(start - held_stop)
            wave = _fade_in(wave, self.fade)
        else:
            overlap = held_stop - start
            self._pass_on(self._held.shape[-1] - overlap)
            mixed = crossfade(self._held, wave[:, :overlap])
            wave = torch.cat([mixed, wave[:, overlap:]], dim=-1)
        self._start, self._held = start, wave

    def finish(self) -> None:
        """Write what is held back, and silence up to the end."""
        if self._start + self._held.shape[-1] < self.total:
            self._fall_silent()
        self._pass_on(self._held.shape[-1])
        self._silence(self.total - self._start)

    def _fall_silent(self) -> None:
        """Fade out what is held back, and write it."""
        self._held = _fade_in(self._held.flip(-1), self.fade).flip(-1)
        self._pass_on(self._held.shape[-1])

    def _pass_on(self, samples: int) -> None:
        """Write the first `samples` of what is held back."""
        if samples:
            self._write(self._held[:, :samples])
        self._start, self._held = self._start + samples, self._held[:, samples:]

    def _silence(self, samples: int) -> None:
        """Write zeros."""
        for left in range(samples, 0, -ZEROS_AT_ONCE):
            self._write(torch.zeros(self.channels, min(left, ZEROS_AT_ONCE)))
        self._start += samples


def _ramp(samples: int) -> Tensor:
    """Return quarter of a period in `samples` steps, float64."""
    return (torch.arange(samples, dtype=torch.float64) + 0.5) * (math.pi / 2 / max(1, samples))


def _fade_in(wave: Wave, fade: int) -> Wave:
    """Return `wave` rising smoothly from silence."""
    fade = min(fade, wave.shape[-1])
    head = wave[:, :fade] * _ramp(fade).sin().square().float()
    return torch.cat([head, wave[:, fade:]], dim=-1)


def crossfade(before: Wave, after: Wave) -> Wave:
    """Return `before` going over into `after` at constant power.

    With gains cos and sin the power of the sum is 1 + 2 rho cos sin, where rho is the correlation
    of the two; dividing by its root keeps the power for what is alike and for what is not.

    Args:
        before: `[channels, samples]`, faded out.
        after: Of the same shape, faded in.
    """
    first, second = before.double(), after.double()
    power = (first.square().sum() * second.square().sum()).sqrt()
    rho = ((first * second).sum() / power).clamp(0, 1) if power > 0 else power
    ramp = _ramp(before.shape[-1])
    fall, rise = ramp.cos(), ramp.sin()
    return ((first * fall + second * rise) / (1 + 2 * rho * fall * rise).sqrt()).float()
