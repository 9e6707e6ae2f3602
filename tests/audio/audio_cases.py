"""Sounds for tests, and files of them."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import torch

RATE = 44_100


def song(seconds: float = 1.5, rate: int = RATE) -> torch.Tensor:
    """Return `[2, samples]` of two different gliding tones that start and end softly."""
    time = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    envelope = torch.minimum(time, seconds - time).clamp(max=0.1) * 10
    glide = 2 * torch.pi * (200 * time + 150 * time**2)
    return (0.4 * envelope * torch.stack([glide.sin(), (1.5 * glide).sin()])).float()


def encoded(path: Path, codec: str, wave: torch.Tensor, rate: int, **options: str) -> Path:
    """Write `wave` with any encoder of FFmpeg."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout="stereo")
        stream.bit_rate = 192_000
        kinds = [kind.name for kind in stream.codec_context.codec.audio_formats]
        blocks = wave.split(8192, dim=1)
        for index, block in enumerate(blocks):
            samples = block.numpy() if "fltp" in kinds else block.numpy().T.reshape(1, -1)
            kind = "fltp" if "fltp" in kinds else "flt"
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), kind, "stereo")
            frame.sample_rate, frame.pts = rate, 8192 * index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def names(folder: Path) -> list[str]:
    """Return the names of all files in `folder`, hidden ones too."""
    return sorted(path.name for path in folder.iterdir())


def likeness(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the signal-to-error ratio of what both have (dB)."""
    samples = min(found.shape[-1], expected.shape[-1])
    error = (found[..., :samples] - expected[..., :samples]).square().sum()
    return float(10 * (expected.square().sum() / error.clamp(min=1e-20)).log10())


def lossless(path: Path, codec: str, wave: torch.Tensor, rate: int) -> Path:
    """Write `wave` as 16 bit."""
    numbers = (wave * 32767).round().short().numpy()
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="stereo")
        kind = stream.codec_context.codec.audio_formats[0].name
        source = "s16p" if kind == "s16p" else "s16"
        numbers = numbers if source == "s16p" else numbers.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(numbers), source, "stereo")
        frame.sample_rate, frame.pts = rate, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
