"""Turn sound files of any kind into blocks of float32."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import suppress
from math import inf
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

from sovits.audio.headers import mp3_seconds, share_present
from sovits.errors import AudioError, OutputError

Samples = NDArray[np.float32]  # [samples, channels], as files hold them

# libsndfile is asked only for these first bytes, as its MP3 reader prints warnings of its own.
SEEKABLE = frozenset(
    {b"RIFF", b"RIFX", b"RF64", b"BW64", b"riff", b"fLaC", b"FORM", b".snd", b"caff"}
)
# Where the first page of an Ogg file has its data; FFmpeg loses samples at the end of Vorbis.
VORBIS = frozenset({b"\x01vorbis"})
SAMPLEWISE = frozenset(
    {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}
)
# Playlists and network formats are left out: a sound file must not make us open other files.
CONTAINERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,gsm,loas,matroska,mov,mp3,mp4,mpeg,"
    "mpegts,oga,ogg,rm,tak,tta,voc,w64,wav,webm,wv"
)
# FFmpeg guesses the length of other kinds from what is there, or from their bit rate.
HAS_LENGTH = frozenset(
    {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "asf", "flac", "ape", "tta", "wv"}
)
UNKNOWN_LENGTH = 1 << 62  # libsndfile gives such numbers for FLAC streams without a length
BLOCK = 1 << 16  # samples decoded together
FINE = 1 << 10  # samples read together to find a damaged place
TAIL = 1 << 13  # samples read to see whether the end is there
IN_MEMORY = 1 << 26  # decoded sound up to this size never touches the disk (bytes)
AAC_FRAME = 2048  # samples, at most
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
            raise self._damaged(self._last_sound(start), reason(error)) from error
        if len(block) < count:
            raise self._damaged(start + len(block), "the sound stops there")
        self._next = start + count
        return block

    def _last_sound(self, start: int) -> int:
        """Return where reading from `start` on begins to fail, rounded down to some ms."""
        # Opened anew, as a FLAC decoder does not go on after an error.
        with suppress(soundfile.LibsndfileError), soundfile.SoundFile(str(self._path)) as sound:
            sound.seek(start)
            while len(sound.read(FINE)) == FINE:
                start += FINE
        return start

    def _damaged(self, at: int, words: str) -> AudioError:
        return AudioError.damaged(self._path, found_s=at / self.sample_rate, reason=words)

    def close(self) -> None:
        """Close the file."""
        self._sound.close()


class DecodedFile:
    """A file decoded once, as float32, to a place that vanishes on close."""

    def __init__(
        self, path: Path, sound: soundfile.SoundFile | None = None, max_seconds: float = inf
    ) -> None:
        self._store = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115
        try:
            if sound is None:
                shape = _decode(path, self._store, max_seconds)
            else:
                shape = _decode_opened(path, sound, self._store, max_seconds)
            self.sample_rate, self.channels, self.frames = shape
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


def open_source(path: Path, max_seconds: float = inf) -> SeekableFile | DecodedFile:
    """Return the samples of `path`, decoded first if it cannot be read from any point.

    Raises:
        AudioError: `path` is missing, not a sound, empty, cut short or damaged, or lasts longer
            than `max_seconds`.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise AudioError.not_a_file(path, folder=stat.S_ISDIR(status.st_mode))
        if not status.st_size:
            raise AudioError.empty(path)
        share = share_present(path)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # a path with a NUL
        raise AudioError.missing(path) from error
    except OSError as error:
        raise AudioError.not_readable(path, reason(error)) from error
    if share is not None:
        raise _truncated(path, share)
    sound = _open(path) if _holds(path, SEEKABLE | VORBIS) else None
    if sound is None:
        return DecodedFile(path, max_seconds=max_seconds)
    if 0 < sound.frames < UNKNOWN_LENGTH and _ends_where_it_says(sound):
        if sound.subtype in SAMPLEWISE:
            _check_length(path, sound.frames / sound.samplerate, max_seconds)
            return SeekableFile(path, sound)
        with sound:
            return DecodedFile(path, sound, max_seconds)
    sound.close()
    if _holds(path, frozenset({b"RIFX"})):  # which FFmpeg reads with its bytes in the wrong order
        raise AudioError.empty(path)
    return DecodedFile(path, max_seconds=max_seconds)


def _holds(path: Path, kinds: frozenset[bytes]) -> bool:
    """Tell whether the first bytes of `path` are one of `kinds`."""
    with path.open("rb") as file:
        head = file.read(64)
    return head[:4] in kinds or head[28:35] in kinds


def _open(path: Path) -> soundfile.SoundFile | None:
    """Return `path` opened by libsndfile, if it can."""
    try:
        return soundfile.SoundFile(str(path.absolute()))
    except (soundfile.LibsndfileError, TypeError):  # it takes .raw for samples without a header
        return None


def _truncated(path: Path, share: float) -> AudioError:
    """Return the error for a file that holds only a `share` of its data."""
    sound = _open(path)
    if sound is None or not sound.frames or not share:
        return AudioError.truncated(path)
    with sound:
        found_s = sound.frames / sound.samplerate
        return AudioError.truncated(path, found_s=found_s, expected_s=found_s / share)


def _ends_where_it_says(sound: soundfile.SoundFile) -> bool:
    """Tell whether the last samples are there; a compressed file may lack them."""
    # FLAC finds any sample in 1 ms, but takes seconds to find the very last one.
    start = max(0, sound.frames - TAIL)
    try:
        sound.seek(start)
        found = len(sound.read(TAIL))
        sound.seek(0)
    except soundfile.LibsndfileError:
        return False
    return bool(start + found == sound.frames)


def _check_length(path: Path, found_s: float, max_seconds: float) -> None:
    """Refuse a sound that is too long, as soon as that is known."""
    if found_s > max_seconds:
        raise AudioError.too_long(path, max_seconds)


def _decode_opened(
    path: Path, sound: soundfile.SoundFile, store: IO[bytes], max_seconds: float
) -> tuple[int, int, int]:
    """Do as `_decode` does, for what libsndfile cuts to length better than FFmpeg does."""
    found, rate = 0, sound.samplerate
    try:
        while len(block := sound.read(BLOCK, dtype="float32", always_2d=True)):
            _keep(path, store, block)
            found += len(block)
            _check_length(path, found / rate, max_seconds)
    except soundfile.LibsndfileError as error:
        raise AudioError.damaged(path, found_s=found / rate, reason=reason(error)) from error
    return rate, sound.channels, found


def _decode(path: Path, store: IO[bytes], max_seconds: float) -> tuple[int, int, int]:
    """Write the samples of `path` to `store`; return its sample rate, channels and length."""
    try:
        container = av.open(
            f"file:{path.absolute()}",
            options={"protocol_whitelist": "file", "format_whitelist": CONTAINERS},
        )
    except av.ArgumentError as error:  # FFmpeg's word for a format that is not in the list
        raise AudioError.not_audio(path, "its format is not one of sound") from error
    except (av.FFmpegError, ValueError) as error:
        raise AudioError.not_audio(path, reason(error)) from error
    with container:
        if not container.streams.audio:
            raise AudioError.no_audio_stream(path)
        stream = container.streams.audio[0]
        sample_rate = channels = found = 0
        first_s = end_s = 0.0
        junk = failure = ""
        for frame in _frames(container, stream):
            if isinstance(frame, str):
                junk, failure = frame, frame if found else ""  # before any sound it is but junk
                continue
            block = _as_float(frame)
            if failure:
                raise AudioError.damaged(path, found_s=found / sample_rate, reason=failure)
            if not found:
                sample_rate, channels = frame.sample_rate, block.shape[1]
                first_s = frame.time or 0.0
            elif (frame.sample_rate, block.shape[1]) != (sample_rate, channels):
                words = "its sample rate or number of channels changes"
                raise AudioError.damaged(path, found_s=found / sample_rate, reason=words)
            _keep(path, store, block)
            begin_s = found / sample_rate if frame.time is None else frame.time - first_s
            found, end_s = found + len(block), begin_s + len(block) / sample_rate
            _check_length(path, found / sample_rate, max_seconds)
        if not found and (junk or not stream.sample_rate):
            raise AudioError.not_audio(path, junk or "it has no sample rate")
        if not found:
            raise AudioError.empty(path)
        promised_s = _promised_end(path, container, stream)
        if promised_s is not None and end_s < promised_s - first_s - LENGTH_SLACK_S:
            raise AudioError.truncated(path, found_s=end_s, expected_s=promised_s - first_s)
        if failure and container.format.name != "mp3":  # tags may follow the sound of an mp3
            raise AudioError.damaged(path, found_s=found / sample_rate, reason=failure)
        if "mp4" in container.format.name and stream.duration and stream.time_base:
            # The length of an MP4 track is exact; its last AAC frame is filled up beyond it.
            length = round(stream.duration * stream.time_base * sample_rate)
            found = length if 0 < found - length < AAC_FRAME else found
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


def _keep(path: Path, store: IO[bytes], block: Samples) -> None:
    """Append `block` to the decoded sound."""
    try:
        store.write(block.tobytes())
    except OSError as error:
        folder = Path(gettempdir())
        raise OutputError.no_room_to_decode(path, folder, error.strerror or str(error)) from error


def _promised_end(path: Path, container: InputContainer, stream: AudioStream) -> float | None:
    """Return the time at which the sound ends as the header has it (s), if it says so.

    Times are compared, not numbers of samples, because a recorded call may have gaps.
    """
    if container.format.name == "mp3":
        return mp3_seconds(path)
    if container.format.name not in HAS_LENGTH:
        return None
    if stream.duration and stream.time_base:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    if "DURATION" in stream.metadata:  # Matroska's tag, as 00:00:02.764000000
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    if container.duration and len(container.streams) == 1:
        return container.duration / av.time_base
    return None


def reason(error: BaseException) -> str:
    """Return the words of a library's error, without its number and file name."""
    words = getattr(error, "strerror", None) or getattr(error, "error_string", None)
    words = str(words or error or type(error).__name__).strip(" .").lower()
    return words.removeprefix("error : ")
