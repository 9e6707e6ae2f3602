"""Change the sample rate of a whole wave or of a stream."""

from __future__ import annotations

import numpy as np
import soxr
import torch

from sovits.types import Wave


def resampled_length(samples: int, from_rate: int, to_rate: int) -> int:
    """Return how many samples at `to_rate` last as long as `samples` at `from_rate`."""
    return round(samples * to_rate / from_rate)


def resample(wave: Wave, from_rate: int, to_rate: int) -> Wave:
    """Return `wave` at another rate, without delay.

    Args:
        wave: `[..., samples]`.
        from_rate: Its sample rate (Hz).
        to_rate: The sample rate wanted (Hz).

    Returns:
        `[..., round(samples * to_rate / from_rate)]`, float32.
    """
    if from_rate == to_rate:
        return wave.float()
    *lead, samples = wave.shape
    if not wave.numel():
        return wave.new_zeros(*lead, resampled_length(samples, from_rate, to_rate)).float()
    flat = wave.detach().float().cpu().reshape(-1, samples)
    stream = StreamResampler(from_rate, to_rate, len(flat))
    return stream.push(flat, last=True).reshape(*lead, -1).to(wave.device)


class StreamResampler:
    """Change the sample rate of a wave that comes in blocks.

    However the wave is cut, the blocks handed out join to what `resample` makes of the whole. One
    object is one stream.

    Args:
        from_rate: Sample rate of what is pushed (Hz).
        to_rate: Sample rate of what comes out (Hz).
        channels: Channels of every block.
    """

    def __init__(self, from_rate: int, to_rate: int, channels: int) -> None:
        self.from_rate, self.to_rate, self.channels = from_rate, to_rate, channels
        self._heard = self._given = 0
        self._stream: soxr.ResampleStream | None = None
        if from_rate != to_rate:
            self._stream = soxr.ResampleStream(from_rate, to_rate, channels, "float32", "HQ")

    def push(self, wave: Wave, last: bool = False) -> Wave:
        """Hear `wave` `[channels, samples]`; return what is ready, which may be nothing.

        Args:
            wave: The next block.
            last: Whether nothing follows; then the rest is returned, and the stream is over.
        """
        self._heard += wave.shape[-1]
        if self._stream is None:
            return wave.float()
        block = np.ascontiguousarray(wave.detach().float().cpu().numpy().T)
        ready = torch.from_numpy(self._stream.resample_chunk(block, last=last).T.copy())
        if last:
            # soxr may round the last sample the other way than `resampled_length`.
            left = resampled_length(self._heard, self.from_rate, self.to_rate) - self._given
            ready = torch.nn.functional.pad(ready[:, :left], (0, max(0, left - ready.shape[-1])))
        self._given += ready.shape[-1]
        return ready
