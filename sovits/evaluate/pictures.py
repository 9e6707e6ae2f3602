"""Spectrograms as pictures, without a library for either."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d

from sovits.audio.mel import LogMel
from sovits.audio.resample import resample
from sovits.config import AudioConfig
from sovits.types import Wave

Pixels = NDArray[np.uint8]

HIGHEST_RATE = 24_000
"""Rate to which sound is brought; hardly anything of a voice lies above its half (Hz)."""
BANDS = 96
WIDEST = 840
"""Columns of the widest picture."""
RANGE = 8.0
"""From the loudest cell to the darkest colour (natural logarithm; 70 dB)."""
COLOURS = ("#07061a", "#2a1358", "#6b1d77", "#b0326b", "#e8614a", "#fba548", "#fdf0b4")
"""From silent to loud; each is lighter than the one before, so that it also reads in grey."""


def spectrograms(sounds: list[tuple[Wave, int]]) -> list[Pixels]:
    """Return pictures of sounds `[samples]` with their rates, all on one scale of loudness.

    Rows are mel bands, the highest first, and columns are time.
    """
    rate = min(HIGHEST_RATE, *(rate for _, rate in sounds))
    hop = rate // 100
    log_mel = LogMel(AudioConfig(rate, hop_length=hop, n_fft=4 * hop, n_mels=BANDS))
    mels = [log_mel(resample(wave, own, rate)) for wave, own in sounds]
    loudest = max(float(mel.max()) for mel in mels if mel.shape[-1])
    return [_pixels(mel, loudest) for mel in mels]


def highest_frequency(sounds: list[tuple[Wave, int]]) -> float:
    """Return the frequency at the upper edge of their pictures (Hz)."""
    return min(HIGHEST_RATE, *(rate for _, rate in sounds)) / 2


def png(pixels: Pixels) -> bytes:
    """Return a picture `[height, width]` of 256 colours as a PNG file (ISO/IEC 15948)."""
    height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    rows = np.zeros((height, width + 1), np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = pixels
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, data)
        for kind, data in (
            (b"IHDR", header),
            (b"PLTE", palette().tobytes()),
            (b"IDAT", zlib.compress(rows.tobytes(), 9)),
            (b"IEND", b""),
        )
    )


def palette() -> Pixels:
    """Return 256 colours `[256, 3]` from dark to light."""
    anchors = np.array([list(bytes.fromhex(colour[1:])) for colour in COLOURS], np.float64)
    places = np.linspace(0, len(anchors) - 1, 256)
    channels = [np.interp(places, np.arange(len(anchors)), channel) for channel in anchors.T]
    return np.stack(channels, 1).round().astype(np.uint8)


def _pixels(mel: Tensor, loudest: float) -> Pixels:
    """Return colours of `[bands, frames]`, in at most `WIDEST` columns."""
    if mel.shape[-1] > WIDEST:
        mel = adaptive_avg_pool1d(mel[None], WIDEST)[0]
    share = ((mel - loudest) / RANGE + 1).clamp(0, 1)
    pixels: Pixels = (255 * share).round().byte().numpy()[::-1]
    return pixels


def _chunk(kind: bytes, data: bytes) -> bytes:
    """Return a part of a PNG file: length, kind, data and checksum."""
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum
