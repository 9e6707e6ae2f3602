"""Small synthesizers, random weights under which no part vanishes, and things to convert."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from reference_blocks import Array

from sovits.config import AudioConfig, DecoderKind, SynthesizerConfig

AUDIO = AudioConfig()

SMALL = SynthesizerConfig(
    content_channels=12,
    inter_channels=8,
    hidden_channels=16,
    filter_channels=24,
    n_layers=2,
    speaker_channels=8,
    n_speakers=3,
    upsample_initial_channels=32,
)

RATES: dict[DecoderKind, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "hifi-gan": ((8, 8, 2, 2, 2), (16, 16, 4, 4, 4)),
    "istft": ((8, 8, 2), (16, 16, 4)),
    "ms-istft": ((8, 4), (32, 16)),
    "mb-istft": ((8, 4), (32, 16)),
}


def small(decoder: DecoderKind, **changes: Any) -> SynthesizerConfig:
    """Return a small synthesizer that makes 512 samples a frame."""
    rates, kernels = RATES[decoder]
    return replace(
        SMALL, decoder=decoder, upsample_rates=rates, upsample_kernel_sizes=kernels, **changes
    )


def random_weights(
    shapes: Mapping[str, tuple[int, ...]], seed: int = 0
) -> dict[str, NDArray[np.float32]]:
    """Return a value for every name; each depends on its name and the seed alone.

    Scales are such that activations stay near one, the last tanh is not saturated, and predicted
    pitch stays between about 100 and 700 Hz.
    """
    weights = {}
    for name, shape in shapes.items():
        random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        values = random.standard_normal(shape)
        if name.endswith("weight_g"):
            values = 0.5 + random.random(shape)
            if ".ups." in name:
                values *= 2
            elif name.startswith("dec.conv_post"):
                values *= 0.3
            elif name.startswith("dec.resblocks"):
                values *= 0.6
        elif name.endswith("gamma"):
            values = 0.5 + random.random(shape)
        elif name == "f0_decoder.proj.bias":
            values = np.full(shape, 0.8)
        elif name.endswith(("bias", "beta")):
            values *= 0.2
        elif name.endswith("updown_filter"):
            values = np.zeros(shape)
            values[range(shape[0]), range(shape[0]), 0] = 1
        elif name.endswith("l_linear.weight"):
            values *= 4
        elif name == "f0_decoder.proj.weight":
            values *= 0.2 / np.sqrt(shape[1])
        elif name.endswith(".weight") and len(shape) == 3:
            values /= np.sqrt(np.prod(shape[1:]))
        weights[name] = values.astype(np.float32)
    return weights


@dataclass(frozen=True)
class Clip:
    """What one conversion is given; float32, so that both routes start from the same numbers."""

    content: NDArray[np.float32]
    f0: NDArray[np.float32]
    voiced: NDArray[np.bool_]
    volume: NDArray[np.float32]
    speaker: int

    def doubles(self) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Return content, f0 and voicing as the reference takes them."""
        return self.content.astype(np.float64), self.f0.astype(np.float64), self.voiced


def clip(frames: int, channels: int = SMALL.content_channels, seed: int = 0) -> Clip:
    """Return noise for content, and a melody that leaves the coarse table at both ends."""
    random = np.random.default_rng([seed, frames])
    octave = np.cumsum(random.normal(0, 0.4, frames))
    return Clip(
        content=random.standard_normal((channels, frames)).astype(np.float32),
        f0=(220 * 2 ** np.clip(octave, -2.5, 2.5)).astype(np.float32),
        voiced=random.random(frames) < 0.7,
        volume=(0.3 * random.random(frames)).astype(np.float32),
        speaker=int(random.integers(SMALL.n_speakers)),
    )
