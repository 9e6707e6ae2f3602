"""Turn blocks of samples into sound files."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, cast

import av
import numpy as np
import soundfile
import torch
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from sovits.audio.resample import StreamResampler
from sovits.errors import OutputError
from sovits.types import Wave

FORMATS = {
    ".wav": ("WAV", "PCM_24"),
    ".flac": ("FLAC", "PCM_24"),
    ".ogg": ("OGG", "VORBIS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}
CODECS = {".opus": "libopus", ".m4a": "aac"}
CONTAINERS = {"libopus": "ogg", "aac": "ipod"}
WRITABLE = frozenset([*FORMATS, *CODECS])
FLOATING = frozenset({"FLOAT", "DOUBLE"})
SYSTEM_ERROR = 2  # libsndfile's number for what the operating system refused
BLOCK = 1 << 16  # samples at once; libsndfile's Vorbis encoder overflows its stack on huge blocks
WAV_LIMIT = (1 << 32) - (1 << 20)  # bytes of samples that a WAV file can count, less its header
OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
AAC_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 96_000)
BITS_PER_CHANNEL = 96_000  # of opus and m4a, per second


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
            return SoundFileEncoder(path, kind, subtype, sample_rate, channels)
        except soundfile.LibsndfileError as error:
            if error.code == SYSTEM_ERROR:
                raise
            raise wrong from error
    codec = CODECS[suffix]
    if suffix == ".opus":
        stored_rate = sample_rate if sample_rate in OPUS_RATES else 48_000
    else:
        stored_rate = sample_rate
    if subtype or channels > 2 or (suffix == ".m4a" and sample_rate not in AAC_RATES):
        raise wrong
    return AvEncoder(
        path, codec, sample_rate=sample_rate, stored_rate=stored_rate, channels=channels
    )


class SoundFileEncoder:
    """Write wav, flac, ogg or mp3; a wav that outgrows 4 GB goes on as RF64."""

    def __init__(
        self, path: Path, kind: str, subtype: str, sample_rate: int, channels: int
    ) -> None:
        self.path, self.kind, self.subtype = path, kind, subtype
        self._width = channels * soundfile_bytes(subtype)
        self._written = 0
        self._sound = soundfile.SoundFile(
            str(path), "w", sample_rate, channels, subtype, None, kind
        )

    def write(self, wave: Wave) -> None:
        """Append `wave` `[channels, samples]`, clipped if the subtype is not floating."""
        if self.subtype not in FLOATING:
            wave = wave.clamp(-1, 1)
        for block in torch.split(wave, BLOCK, dim=-1):
            self._written += block.shape[-1]
            if self.kind == "WAV" and self._written * self._width > WAV_LIMIT:
                self._go_on_as_rf64()
            self._sound.write(np.ascontiguousarray(block.numpy().T))

    def _go_on_as_rf64(self) -> None:
        """Copy what is written to a file whose header has room for longer lengths."""
        self.close()
        small = self.path.with_suffix(".4gb")
        self.path.replace(small)
        self.kind = "RF64"
        try:
            with soundfile.SoundFile(str(small)) as before:
                self._sound = soundfile.SoundFile(
                    str(self.path),
                    "w",
                    before.samplerate,
                    before.channels,
                    self.subtype,
                    None,
                    self.kind,
                )
                exact = "float64" if self.subtype in FLOATING else "int32"
                for block in before.blocks(BLOCK, dtype=exact):
                    self._sound.write(block)
        finally:
            small.unlink()

    def close(self) -> None:
        """Finish the file."""
        self._sound.close()


def soundfile_bytes(subtype: str) -> int:
    """Return the most bytes that one sample of a wav subtype takes."""
    return {"DOUBLE": 8, "FLOAT": 4, "PCM_32": 4, "PCM_24": 3, "PCM_16": 2}.get(subtype, 2)


class AvEncoder:
    """Write opus or m4a; opus has few rates, so others are resampled to 48 kHz."""

    def __init__(
        self, path: Path, codec: str, *, sample_rate: int, stored_rate: int, channels: int
    ) -> None:
        self._resampler = StreamResampler(sample_rate, stored_rate, channels)
        self._rate, self._layout = stored_rate, "mono" if channels == 1 else "stereo"
        self._container = av.open(str(path), "w", format=CONTAINERS[codec])
        self._stream = cast(
            "AudioStream", self._container.add_stream(codec, stored_rate, layout=self._layout)
        )
        self._stream.bit_rate = BITS_PER_CHANNEL * channels
        self._planar = codec == "aac"
        self._channels, self._written = channels, 0

    def write(self, wave: Wave) -> None:
        """Append `wave` `[channels, samples]`, clipped to full scale."""
        for block in torch.split(wave, BLOCK, dim=-1):
            self._encode(self._resampler.push(block).clamp(-1, 1).numpy())

    def _encode(self, block: NDArray[np.float32]) -> None:
        """Encode `block` `[channels, samples]`."""
        if not block.shape[1]:
            return
        flat = block if self._planar else block.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(flat), "fltp" if self._planar else "flt", self._layout
        )
        frame.sample_rate, frame.pts = self._rate, self._written
        self._written += block.shape[1]
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finish the file."""
        try:
            rest = self._resampler.push(torch.zeros(self._channels, 0), last=True)
            self._encode(rest.clamp(-1, 1).numpy())
            self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()
