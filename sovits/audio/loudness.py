"""Loudness of each frame."""

from __future__ import annotations

from sovits.audio.pad import reflect
from sovits.types import Volume, Wave


def frame_rms(wave: Wave, hop_length: int) -> Volume:
    """Return the root mean square of each frame, as so-vits-svc 4.1 measures volume.

    Frame `i` covers the `hop_length` samples around sample `i * hop_length`; before its start the
    wave is mirrored.

    Args:
        wave: `[..., samples]`.
        hop_length: Samples per frame.

    Returns:
        `[..., frames]`, with `frames = samples // hop_length`.

    >>> import torch
    >>> frame_rms(torch.full((8,), -0.5), 4)
    tensor([0.5000, 0.5000])
    """
    frames = wave.shape[-1] // hop_length
    if not frames:
        return wave.new_zeros(*wave.shape[:-1], 0)
    power = reflect(wave.float().square(), hop_length // 2, 0)
    power = power[..., : frames * hop_length].reshape(*wave.shape[:-1], frames, hop_length)
    return power.mean(-1).sqrt()
