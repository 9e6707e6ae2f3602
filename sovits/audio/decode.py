"""Turn sound files of any kind into blocks of float32."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from tempfile import SpooledTemporaryFile, gettempdir
from typing import IO, Any

import av
import numpy as np
import soundfile
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from numpy.typing import NDArray

from sovits.errors import AudioError, OutputError

Samples = NDArray[np.float32]  # [samples, channels], as files hold them

# libsndfile is asked only for these, as its MP3 reader prints warnings of its own.
DIRECT_MAGIC = frozenset(
    {b"RIFF", b"RIFX", b"RF64", b"BW64", b"riff", b"fLaC", b"FORM", b".snd", b"caff"}
)
DIRECT_FORMATS = frozenset({"WAV", "WAVEX", "RF64", "W64", "FLAC", "AIFF", "AU", "CAF"})
DIRECT_SUBTYPES = frozenset(
    {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}
)
# Playlists and network formats are left out: a sound file must not make us open other files.
CONTAINERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,gsm,loas,matroska,mov,mp3,mp4,mpeg,"
    "mpegts,oga,ogg,rm,tak,tta,voc,w64,wav,webm,wv"
)
UNKNOWN_LENGTH = 1 << 62  # libsndfile gives such numbers for FLAC streams without a length
HEADER_SLACK = 44  # some writers count the header of a WAV file as part of its data (bytes)
IN_MEMORY = 1 << 26  # decoded sound up to this size never touches the disk (bytes)
LENGTH_SLACK_S = 0.1  # codecs' own delay, and containers that count in ms, blur a length this much


class SeekableFile:
    """A file that is read from any sample directly."""

    def __init__(self, path: Path, sound: soundfile.SoundFile) -> None:
        self._path, self._sound = path, sound
        self.sample_rate: int = sound.samplerate
        self.channels: int = sound.channels
        self.frames: int = sound.frames
        self._next = 0

    def read(self, start: int, count: int) -> Samples:
        """Return `[count, channels]` from sample `start`."""
        try:
            if start != self._next:
                self._sound.seek(start)
            block: Samples = self._sound.read(count, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise self._damaged(start, reason(error)) from error
        if len(block) < count:
            raise self._damaged(start + len(block), "the sound stops there")
        self._next = start + count
        return block

    def _damaged(self, at: int, words: str) -> AudioError:
        return AudioError.damaged(self._path, found_s=at / self.sample_rate, reason=words)

    def close(self) -> None:
        """Close the file."""
        self._sound.close()


class DecodedFile:
    """A file decoded once, as float32, to a place that vanishes on close."""

    def __init__(self, path: Path) -> None:
        self._store: IO[bytes] = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115
        try:
            self.sample_rate, self.channels, self.frames = _decode(path, self._store)
        except BaseException:
            self._store.close()
            raise

    def read(self, start: int, count: int) -> Samples:
        """Return `[count, channels]` from sample `start`."""
        width = 4 * self.channels
        self._store.seek(start * width)
        block = np.frombuffer(bytearray(self._store.read(count * width)), np.float32)
        return block.reshape(-1, self.channels)

    def close(self) -> None:
        """Forget the decoded sound."""
        self._store.close()


def open_source(path: Path) -> SeekableFile | DecodedFile:
    """Return the samples of `path`, decoded first if it cannot be read from any point.

    Raises:
        AudioError: `path` is missing, not a sound, empty, cut short or damaged.
    """
    if not path.exists():
        raise AudioError.missing(path)
    if not path.is_file():
        raise AudioError.not_a_file(path)
    try:
        with path.open("rb") as file:
            _check_length(path, file)
    except OSError as error:
        raise AudioError.not_readable(path, error.strerror or str(error)) from error
    return _open_seekable(path) or DecodedFile(path)


def _open_seekable(path: Path) -> SeekableFile | None:
    """Return `path` if libsndfile can seek in it exactly."""
    with path.open("rb") as file:
        if file.read(4) not in DIRECT_MAGIC:
            return None
    try:
        sound = soundfile.SoundFile(str(path.absolute()))
    except soundfile.LibsndfileError:
        return None
    if (
        sound.format in DIRECT_FORMATS
        and sound.subtype in DIRECT_SUBTYPES
        and 0 < sound.frames < UNKNOWN_LENGTH
        and _ends_where_it_says(sound)
    ):
        return SeekableFile(path, sound)
    sound.close()
    return None


def _ends_where_it_says(sound: soundfile.SoundFile) -> bool:
    """Tell whether the last sample is there; a compressed file may lack it."""
    try:
        sound.seek(sound.frames - 1)
        found = len(sound.read(1))
        sound.seek(0)
    except soundfile.LibsndfileError:
        return False
    return found == 1


def _check_length(path: Path, file: IO[bytes]) -> None:
    """Raise if `path` is empty, or ends before its own header says; libsndfile would not tell."""
    size = os.fstat(file.fileno()).st_size
    if not size:
        raise AudioError.empty(path)
    kind = file.read(4)
    if kind in (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM"):
        _check_chunks(path, file, size, order=">" if kind in (b"RIFX", b"FORM") else "<")
    elif kind == b"OggS":
        _check_pages(path, file, size)


def _check_chunks(path: Path, file: IO[bytes], size: int, order: str) -> None:
    """Check the sample data of a WAV or AIFF file, walking from chunk to chunk."""
    position, long_data, bytes_per_second = 12, 0, 0.0
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack(f"{order}4sI", file.read(8))
        body = position + 8
        if name == b"ds64":
            long_data = struct.unpack("<8xQ", file.read(16))[0]
        elif name == b"fmt ":
            bytes_per_second = float(struct.unpack(f"{order}8xI", file.read(12))[0])
        elif name == b"COMM":
            bytes_per_second = _aiff_bytes_per_second(file.read(18))
        elif name in (b"data", b"SSND"):
            if name == b"data" and length == 0xFFFFFFFF and long_data:
                length = long_data
            # Who writes into a pipe cannot know the length, and puts one of these.
            streamed = length == 0 or length >= 0xFFFFFF00 or 0x7FFF0000 <= length <= 0x80000000
            if (length < size or not streamed) and body + length > size + HEADER_SLACK:
                rate = bytes_per_second or 1.0
                raise AudioError.truncated(
                    path, found_s=(size - body) / rate, expected_s=length / rate
                )
            return
        position = body + length + length % 2


def _aiff_bytes_per_second(common: bytes) -> float:
    """Return the data rate that an AIFF file's COMM chunk states (bytes/s)."""
    channels, _, bits, exponent, mantissa = struct.unpack(">HIHHQ", common)
    return float(channels * (-(-bits // 8)) * mantissa * 2.0 ** (exponent - 16383 - 63))


def _check_pages(path: Path, file: IO[bytes], size: int) -> None:
    """Check that the last page of an Ogg file is whole."""
    position = 0
    while position + 27 <= size:
        file.seek(position)
        header = file.read(27)
        if header[:4] != b"OggS":
            return  # something else follows the pages, or is between them: let the decoder judge
        segments = file.read(header[26])
        position += 27 + header[26] + sum(segments)
    if position > size:
        raise AudioError.truncated(path, found_s=None, expected_s=None)


def _decode(path: Path, store: IO[bytes]) -> tuple[int, int, int]:
    """Write the samples of `path` to `store`; return its sample rate, channels and length."""
    try:
        container = av.open(
            f"file:{path.absolute()}",
            options={"protocol_whitelist": "file", "format_whitelist": CONTAINERS},
        )
    except (av.FFmpegError, ValueError) as error:
        raise AudioError.not_audio(path, reason(error)) from error
    with container:
        if not container.streams.audio:
            raise AudioError.no_audio_stream(path)
        stream = container.streams.audio[0]
        sample_rate = channels = found = 0
        failure = ""
        for frame in _frames(container, stream):
            if isinstance(frame, str):
                failure = frame if found else ""  # what cannot be decoded before any sound is junk
                continue
            block = _as_float(frame)
            if failure:
                raise AudioError.damaged(path, found_s=found / sample_rate, reason=failure)
            if not found:
                sample_rate, channels = frame.sample_rate, block.shape[1]
            elif (frame.sample_rate, block.shape[1]) != (sample_rate, channels):
                words = "its sample rate or number of channels changes"
                raise AudioError.damaged(path, found_s=found / sample_rate, reason=words)
            _store(path, store, block)
            found += len(block)
        if not found:
            raise AudioError.empty(path)
        found_s, expected_s = found / sample_rate, _promised_seconds(container, stream)
        if expected_s is not None and found_s < expected_s - LENGTH_SLACK_S:
            raise AudioError.truncated(path, found_s=found_s, expected_s=expected_s)
        if failure and container.format.name != "mp3":  # tags may follow the sound of an mp3
            raise AudioError.damaged(path, found_s=found_s, reason=failure)
        if expected_s is not None and "mp4" in container.format.name:
            # The length of an MP4 track is exact; its last AAC frame is filled up beyond it.
            found = min(found, round(expected_s * sample_rate))
    return sample_rate, channels, found


def _frames(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame | str]:
    """Yield what each packet holds, or why it cannot be decoded."""
    try:
        for packet in container.demux(stream):
            try:
                yield from packet.decode()
            except av.FFmpegError as error:
                yield reason(error)
    except av.FFmpegError as error:
        yield reason(error)


def _as_float(frame: AudioFrame) -> Samples:
    """Return `[samples, channels]` of a decoded frame of any sample format."""
    block: NDArray[Any] = frame.to_ndarray()
    block = block.T if frame.format.is_planar else block.reshape(frame.samples, -1)
    if block.dtype.kind == "f":
        return block.astype(np.float32)
    middle, full = (128, 128) if block.dtype == np.uint8 else (0, -int(np.iinfo(block.dtype).min))
    return ((block.astype(np.float64) - middle) / full).astype(np.float32)


def _store(path: Path, store: IO[bytes], block: Samples) -> None:
    """Append `block` to the decoded sound."""
    try:
        store.write(block.tobytes())
    except OSError as error:
        folder = Path(gettempdir())
        raise OutputError.no_room_to_decode(path, folder, error.strerror or str(error)) from error


def _promised_seconds(container: InputContainer, stream: AudioStream) -> float | None:
    """Return how long the header says that the sound is, if it says so."""
    if container.format.name in ("ogg", "aac"):  # whose length is only what is there, or a guess
        return None
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if "DURATION" in stream.metadata:  # Matroska's tag, as 00:00:02.764000000
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    if container.duration is not None and len(container.streams) == 1:
        return container.duration / av.time_base
    return None


def reason(error: BaseException) -> str:
    """Return the words of a library's error, without its number and file name."""
    words = getattr(error, "strerror", None) or getattr(error, "error_string", None)
    return str(words or error or type(error).__name__).strip(" .").lower()
