"""Hear a long sound in overlapping windows of frames, and take one share of it out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from sovits.types import Wave

OVERLAP = 128
"""Frames that two neighbouring windows both hear."""
OUTER = 0.25
"""Share of the overlap, at both ends, in which only one of two windows counts."""


class Separator(Protocol):
    """Tells which share of a mix is voice."""

    sample_rate: int
    """Rate that it hears (Hz)."""
    window: int
    """Samples in one frame."""
    hop: int
    """Samples from one frame to the next; a quarter of `window`."""
    frames: int
    """Frames that it hears at once."""

    def share(self, spectrum: Tensor) -> Tensor:
        """Return the voice's share, 0 to 1, of `[channels, window / 2 + 1, frames]`."""


def voice_of(
    separator: Separator,
    hear: Callable[[int, int], Wave],
    total: int,
    channels: int,
    *,
    gain: float = 1.0,
) -> Iterator[Wave]:
    """Yield the voice in a sound, from front to back.

    Shares are faded linearly from one window to the next, so there is no seam. What a share takes
    keeps the phase that it has in the mix.

    Args:
        separator: Tells the shares.
        hear: Returns `[channels, stop - start]` of the sound at the separator's rate, with silence
            beyond its ends; asked from front to back.
        total: Samples of the sound.
        channels: Channels of the sound.
        gain: Factor by which the separator hears the sound louder than it is.

    Yields:
        `[channels, n]`, together `total` samples.
    """
    size, hop, width = separator.window, separator.hop, separator.frames
    window = torch.hann_window(size)
    # Frame i is centred on sample (i - 1) * hop; the first is needed to have every sample in four.
    needed = -(-(total + size // 2) // hop) + 1
    held = torch.zeros(0)  # shares of the last window that this one hears too
    tail = torch.zeros(channels, size - hop)
    position = -hop - size // 2  # of the first sample that is not yet yielded
    first = 0
    while position < total:
        start = (first - 1) * hop - size // 2
        wave = hear(start, start + (width - 1) * hop + size)
        spectrum = torch.stft(wave, size, hop, window=window, center=False, return_complex=True)
        share = separator.share(gain * spectrum)
        if first:
            share[..., :OVERLAP] = held + (share[..., :OVERLAP] - held) * _rise()
        last = first + width >= needed
        count = width if last else width - OVERLAP
        held = share[..., count:]
        wave = _overlap_add(spectrum[..., :count] * share[..., :count], window, hop)
        wave[:, : size - hop] += tail
        done, tail = wave[:, : count * hop], wave[:, count * hop :].clone()
        ready = done[:, max(0, -position) : max(0, total - position)]
        position += done.shape[-1]
        first += count
        if ready.shape[-1]:
            yield ready


def _rise() -> Tensor:
    """Return the weights `[OVERLAP]` of the later of two windows."""
    ramp = (torch.arange(OVERLAP) + 0.5) / OVERLAP
    return ((ramp - OUTER) / (1 - 2 * OUTER)).clamp(0, 1)


def _overlap_add(spectrum: Tensor, window: Tensor, hop: int) -> Wave:
    """Return `[channels, (frames - 1) * hop + window]` of `[channels, bins, frames]`."""
    size, frames = len(window), spectrum.shape[-1]
    pieces = torch.fft.irfft(spectrum, n=size, dim=1) * window[:, None]
    total = (frames - 1) * hop + size
    joined = torch.nn.functional.fold(pieces, (1, total), (1, size), stride=(1, hop))
    # Four squared Hann windows at quarter steps sum to 3/2.
    return joined[:, 0, 0] / 1.5
