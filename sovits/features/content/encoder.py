"""Encode any length of sound with a network that can hear only so much at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sovits.errors import AudioError
from sovits.types import Content, Wave
from sovits.weights import WeightsFile


@dataclass(frozen=True)
class ContentSpec:
    """What a content encoder makes of sound, and which weights it needs."""

    name: str
    """Name that voices record."""
    channels: int
    """Channels of its content."""
    weights: WeightsFile
    """Where its weights come from."""
    sample_rate: int = 16_000
    """Rate of the sound it hears (Hz)."""
    hop_length: int = 320
    """Samples from one frame to the next."""
    window_seconds: float = 15.0
    """Longest sound encoded at once (s)."""
    overlap_seconds: float = 1.0
    """Sound that two neighbouring windows share (s)."""
    look_ahead: int | None = None
    """Samples after a frame that it depends on; None for all in the window, so it cannot stream."""

    @property
    def licence(self) -> str:
        """SPDX name of the weights' licence."""
        return self.weights.licence


class ContentNetwork(Protocol):
    """A network whose frames each depend mostly on the sound near them."""

    def count(self, samples: int) -> int:
        """Return how many frames it makes of `samples`."""

    def listen(self, wave: Wave) -> Callable[[int, int], Tensor]:
        """Return a function of a first and a stop frame: what the network needs for these."""

    def __call__(self, heard: Tensor) -> Content:
        """Return `[1, channels, frames]` for what `listen` gave."""


class ContentEncoder(Protocol):
    """A frozen network that tells what is said, and little of who says it."""

    spec: ContentSpec
    """What it is."""

    def encode(self, wave: Wave) -> Content:
        """Return the content of `[samples]` at the spec's rate, as `[channels, frames]`."""


class WindowedEncoder:
    """Encode with a network that can hear only so much at once.

    Long sounds are encoded in windows, so that memory does not grow with them (but for the
    content itself). Where windows overlap, one fades linearly into the other.

    Args:
        spec: What it is.
        network: Frozen network, on `device`.
        device: Where it computes.
        bf16: Compute in bfloat16 where the network is not sensitive to it.
    """

    def __init__(
        self,
        spec: ContentSpec,
        network: ContentNetwork,
        device: torch.device,
        *,
        bf16: bool = False,
    ) -> None:
        self.spec, self.network, self.device, self.bf16 = spec, network, device, bf16

    @torch.no_grad()
    def encode(self, wave: Wave) -> Content:
        """Return the content of `[samples]` at the spec's rate, as `[channels, frames]`.

        The content is float32 and on the device of `wave`. A sound too short for one frame
        has no frames.
        """
        if wave.dim() != 1:
            raise AudioError.not_one_channel(tuple(wave.shape))
        frames = self.network.count(wave.shape[0])
        content = torch.zeros(self.spec.channels, frames)
        hear = self.network.listen(wave)
        rate = self.spec.sample_rate / self.spec.hop_length
        window, overlap = (
            round(seconds * rate)
            for seconds in (self.spec.window_seconds, self.spec.overlap_seconds)
        )
        done = 0
        for first, stop in windows(frames, window, overlap):
            heard = hear(first, stop).to(self.device)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                part = self.network(heard)[0].float().cpu()
            if (shared := done - first) > 0:
                old = content[:, first:done]
                old += (part[:, :shared] - old) * _rise(shared)
            content[:, done:stop] = part[:, max(shared, 0) :]
            done = stop
        return content.to(wave.device)


def _rise(frames: int) -> Tensor:
    """Return how much of the later window is in each of the frames that two windows share.

    The outer quarters are not mixed: there, one of the two has heard little of what is around.
    """
    guard = frames // 4
    share = (torch.arange(frames) + 0.5 - guard) / max(frames - 2 * guard, 1)
    return share.clamp(0, 1)


def windows(frames: int, window: int, overlap: int) -> list[tuple[int, int]]:
    """Return the first and stop frame of windows that cover `frames`.

    There are as few as possible, of nearly the same length, so that no last one is too short
    to make sense of; neighbours share at least `overlap` frames.

    >>> windows(100, 60, 10)
    [(0, 55), (45, 100)]
    """
    if frames <= window:
        return [(0, frames)] if frames else []
    count = -(-(frames - overlap) // (window - overlap))
    length = -(-(frames + (count - 1) * overlap) // count)
    starts = [(frames - length) * index // (count - 1) for index in range(count)]
    return [(start, start + length) for start in starts]


def stretch(content: Content, frames: int) -> Content:
    """Return `[channels, frames]`, each the frame of `content` at the same share of its time.

    Frame `i` is frame `floor(i * n / frames)` of the `n` there are, as in so-vits-svc 4.1.

    Raises:
        AudioError: There are no frames to stretch.

    >>> stretch(torch.tensor([[1.0, 2.0]]), 4)
    tensor([[1., 1., 2., 2.]])
    """
    found = content.shape[-1]
    if not found and frames:
        raise AudioError.too_short_for_content()
    index = torch.arange(frames, device=content.device) * found // max(frames, 1)
    return content[..., index]
