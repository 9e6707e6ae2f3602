"""Turn blocks of samples into sound files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Protocol

import av
import numpy as np
import soundfile
import torch

from sovits.audio.resample import StreamResampler
from sovits.errors import OutputError
from sovits.types import Wave

FORMATS = {
    ".wav": ("WAV", "PCM_24"),
    ".flac": ("FLAC", "PCM_24"),
    ".ogg": ("OGG", "VORBIS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}
WRITABLE = frozenset([*FORMATS, ".opus"])
SAMPLE_BYTES = {"DOUBLE": 8, "PCM_24": 3, "PCM_16": 2, "PCM_U8": 1}
FLOATING = frozenset({"FLOAT", "DOUBLE"})
SYSTEM_ERROR = 2  # libsndfile's number for what the operating system refused
# Of mp3 and ogg, 0 is best and 1 smallest: about 190 kbit/s for stereo.
COMPRESSION = {"MP3": 0.2, "OGG": 0.4}
BLOCK = 1 << 16  # samples at once; libsndfile's Vorbis encoder overflows its stack on huge blocks
WAV_LIMIT = (1 << 32) - (1 << 20)  # bytes of samples that a WAV file can count, less its header
OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
OPUS_BITS = 96_000  # per second and channel


class Encoder(Protocol):
    """A sound file being written."""

    def write(self, wave: Wave) -> None:
        """Append `wave` `[channels, samples]`."""

    def close(self) -> None:
        """Finish the file; it is whole only after this."""


def open_encoder(
    path: Path, target: Path, sample_rate: int, channels: int, subtype: str | None
) -> Encoder:
    """Return what writes to `path` in the format that the suffix of `target` names.

    Raises:
        OutputError: The format cannot hold this rate, number of channels or subtype.
    """
    suffix = target.suffix.lower()
    wrong = OutputError.wrong_format(
        target, sample_rate=sample_rate, channels=channels, subtype=subtype
    )
    if suffix in FORMATS:
        kind, default = FORMATS[suffix]
        subtype = subtype or default
        if not soundfile.check_format(kind, subtype):
            raise wrong
        try:
            return SoundFileEncoder(path, kind, subtype, sample_rate=sample_rate, channels=channels)
        except soundfile.LibsndfileError as error:
            if error.code == SYSTEM_ERROR:
                raise
            raise wrong from error
    if subtype or channels > 2:
        raise wrong
    return OpusEncoder(path, sample_rate=sample_rate, channels=channels)


class SoundFileEncoder:
    """Write wav, flac, ogg or mp3; a wav that outgrows 4 GB goes on as RF64."""

    def __init__(
        self, path: Path, kind: str, subtype: str, *, sample_rate: int, channels: int
    ) -> None:
        self.path, self.kind, self.subtype = path, kind, subtype
        self.sample_rate, self.channels = sample_rate, channels
        self._room = WAV_LIMIT if kind == "WAV" else math.inf
        self._sound = self._create()

    def _create(self) -> soundfile.SoundFile:
        """Begin a file of this kind."""
        return soundfile.SoundFile(
            str(self.path),
            "w",
            samplerate=self.sample_rate,
            channels=self.channels,
            format=self.kind,
            subtype=self.subtype,
            compression_level=COMPRESSION.get(self.kind),
        )

    def write(self, wave: Wave) -> None:
        """Append `wave` `[channels, samples]`, clipped if the subtype is not floating."""
        for block in torch.split(wave, BLOCK, dim=-1):
            kept = block if self.subtype in FLOATING else block.clamp(-1, 1)
            self._room -= block.numel() * SAMPLE_BYTES.get(self.subtype, 4)
            if self._room < 0:
                self._go_on_as_rf64()
            self._sound.write(np.ascontiguousarray(kept.numpy().T))

    def _go_on_as_rf64(self) -> None:
        """Copy what is written to a file whose header has room for longer lengths."""
        self.close()
        small = self.path.with_suffix(".small")
        self.path.replace(small)
        self.kind, self._room = "RF64", math.inf
        exact = "float64" if self.subtype in FLOATING else "int32"
        try:
            self._sound = self._create()
            with soundfile.SoundFile(str(small)) as before:
                for block in before.blocks(BLOCK, dtype=exact):
                    self._sound.write(block)
        finally:
            small.unlink()

    def close(self) -> None:
        """Finish the file."""
        self._sound.close()


class OpusEncoder:
    """Write opus, which knows few sample rates; others are stored as 48 kHz."""

    def __init__(self, path: Path, *, sample_rate: int, channels: int) -> None:
        self._rate = sample_rate if sample_rate in OPUS_RATES else 48_000
        self._resampler = StreamResampler(sample_rate, self._rate, channels)
        self._channels, self._layout = channels, "mono" if channels == 1 else "stereo"
        self._written = 0
        self._container = av.open(str(path), "w", format="ogg")
        self._stream = self._container.add_stream("libopus", self._rate, layout=self._layout)
        self._stream.bit_rate = OPUS_BITS * channels

    def write(self, wave: Wave) -> None:
        """Append `wave` `[channels, samples]`, clipped to full scale."""
        for block in torch.split(wave, BLOCK, dim=-1):
            self._encode(self._resampler.push(block))

    def _encode(self, block: Wave) -> None:
        """Encode `block`, which is at the stored rate."""
        samples = block.shape[-1]
        if not samples:
            return
        interleaved = np.ascontiguousarray(block.clamp(-1, 1).numpy().T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(interleaved, "flt", self._layout)
        frame.sample_rate, frame.pts = self._rate, self._written
        self._container.mux(self._stream.encode(frame))
        self._written += samples

    def close(self) -> None:
        """Finish the file."""
        try:
            self._encode(self._resampler.push(torch.zeros(self._channels, 0), last=True))
            self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()
