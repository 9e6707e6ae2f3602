"""Padding that mirrors a wave at its ends."""

from __future__ import annotations

import torch

from sovits.errors import AudioError
from sovits.types import Wave


def reflect(wave: Wave, left: int, right: int) -> Wave:
    """Return `wave` `[..., samples]` continued by its mirror image at both ends.

    The end samples themselves are not repeated. A wave shorter than the padding is mirrored again
    and again, where torch's own padding would refuse; one of a single sample is repeated.

    Raises:
        AudioError: There is no sample to mirror.
    """
    samples = wave.shape[-1]
    if not samples:
        raise AudioError.no_samples()
    if max(left, right) < samples:
        head = wave[..., 1 : left + 1].flip(-1)
        tail = wave[..., samples - 1 - right : samples - 1].flip(-1)
        return torch.cat([head, wave, tail], dim=-1)
    index = torch.arange(-left, samples + right, device=wave.device)
    index = index.remainder(max(1, 2 * (samples - 1)))
    return wave[..., torch.minimum(index, 2 * (samples - 1) - index).clamp(min=0)]
