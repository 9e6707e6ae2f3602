"""Take late reverberation out of a voice: weighted prediction error (Nakatani et al., 2010)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sovits.types import Wave

RATE, WINDOW, HOP = 44_100, 2048, 512
DELAY = 3
"""Frames after which reverberation is late: 35 ms, so that speech itself is not predicted."""
TAPS = 24
"""Frames from which the late reverberation is predicted: 0.28 s."""
ROUNDS = 3
BLOCK = 12 * RATE
"""Samples in which one room is found."""
OVERLAP = 2 * RATE
"""Samples over which one block fades into the next."""
BINS_AT_ONCE = 128
_FLOOR = 1e-10


class Dereverberator:
    """Predicts each frame from those long before it, and takes away what was predicted.

    What a room adds can be predicted from what was said, and what is said next cannot. It has no
    weights, so it is always at hand; it lowers late reverberation and leaves the early.
    """

    sample_rate = RATE

    def start(self) -> Callable[[Wave, bool], Wave]:
        """Return a stream; see `sovits.separation.clean.Cleaner`."""
        return _Stream().push


class _Stream:
    """One channel on its way."""

    def __init__(self) -> None:
        self.heard = torch.zeros(0)
        self.held = torch.zeros(0)  # the end of the last block, to fade from

    def push(self, wave: Wave, last: bool) -> Wave:
        """Return dry samples; together as many as were pushed."""
        self.heard = torch.cat([self.heard, wave])
        parts = [torch.zeros(0)]
        while len(self.heard) >= BLOCK + OVERLAP:
            parts.append(self._dry(BLOCK))
        if last:
            parts.append(self._dry(len(self.heard)))
        return torch.cat(parts)

    def _dry(self, size: int) -> Wave:
        """Return the next samples, and keep the last `OVERLAP` of `size` for later."""
        found = dry(self.heard[:size])
        fade = min(len(self.held), size)
        rise = (torch.arange(fade) + 0.5) / max(1, fade)
        found[:fade] = self.held[:fade] + (found[:fade] - self.held[:fade]) * rise
        keep = size if size == len(self.heard) else size - OVERLAP
        self.held, self.heard = found[keep:], self.heard[keep:]
        return found[:keep]


def dry(wave: Wave) -> Wave:
    """Return `[samples]` without what can be predicted of it."""
    if len(wave) < WINDOW:
        return wave.clone()
    window = torch.hann_window(WINDOW)
    spectrum = torch.stft(wave, WINDOW, HOP, window=window, return_complex=True)
    parts = spectrum.to(torch.complex128).split(BINS_AT_ONCE)
    found = torch.cat([_predicted_away(part) for part in parts]).to(torch.complex64)
    return torch.istft(found, WINDOW, HOP, window=window, length=len(wave))


def _predicted_away(spectrum: Tensor) -> Tensor:
    """Return `[bins, frames]` less the best prediction of each bin from its own past."""
    frames = spectrum.shape[1]
    past = torch.nn.functional.pad(spectrum, (DELAY + TAPS - 1, 0))
    past = past.unfold(1, TAPS, 1)[:, :frames]  # [bins, frames, taps]
    scale = spectrum.abs().square().mean(1, keepdim=True) + _FLOOR
    ridge = 1e-6 * torch.eye(TAPS, dtype=spectrum.dtype)
    found = spectrum
    for _ in range(ROUNDS):
        # Loud frames count less, as what is said in them is not predicted.
        weight = scale / (found.abs().square() + 1e-4 * scale)
        weighted = past.conj() * weight[..., None]
        matrix = weighted.mT @ past / frames + ridge * scale[..., None]
        target = weighted.mT @ spectrum[..., None] / frames
        found = spectrum - (past @ torch.linalg.solve(matrix, target))[..., 0]
    return found
