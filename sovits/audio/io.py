"""Read and write sound files, whole or in blocks."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Self

import av
import soundfile
import torch

from sovits.audio.decode import open_source, reason
from sovits.audio.encode import WRITABLE, Encoder, open_encoder
from sovits.audio.resample import StreamResampler, resampled_length
from sovits.errors import AudioError, OutputError
from sovits.partial import partial
from sovits.types import Wave

# fmt: off
AUDIO_SUFFIXES = frozenset(
    {
        ".wav", ".wave", ".rf64", ".w64", ".bwf", ".flac", ".aif", ".aiff", ".aifc", ".au",
        ".snd", ".caf", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".m4a", ".m4b", ".aac",
        ".mp4", ".mov", ".3gp", ".webm", ".mkv", ".mka", ".wma", ".wmv", ".asf", ".avi",
        ".flv", ".amr", ".ac3", ".ape", ".wv", ".tta"
    }
)
# fmt: on
"""Suffixes of files that may hold sound that can be read."""

REFUSALS = (OSError, soundfile.LibsndfileError, av.FFmpegError, AssertionError)
# soundfile asserts that all it was given was written
BLOCK = 1 << 18  # samples looked at together
ROOM = 1 << 20  # a disk with less free than this is called full (bytes)


def read(
    path: Path | str, *, sample_rate: int | None = None, mono: bool = False
) -> tuple[Wave, int]:
    """Return the sound in a file, and its sample rate.

    Args:
        path: Sound, or video with sound, of any kind; of several tracks the first is read.
        sample_rate: Rate to resample to (Hz); the file's own if not given.
        mono: Whether to return the mean of all channels as one.

    Returns:
        `[channels, samples]` and the sample rate (Hz).

    Raises:
        AudioError: The file is missing, not a sound, empty, cut short or damaged.
    """
    with AudioReader(path) as reader:
        rate = sample_rate or reader.sample_rate
        channels = 1 if mono else reader.channels
        resampler = StreamResampler(reader.sample_rate, rate, channels)
        wave = torch.empty(channels, resampled_length(reader.frames, reader.sample_rate, rate))
        filled = 0
        for start in range(0, reader.frames, BLOCK):
            block = reader.read(start, BLOCK)
            if mono:
                block = block.mean(0, keepdim=True)
            block = resampler.push(block, last=start + BLOCK >= reader.frames)
            wave[:, filled : filled + block.shape[-1]] = block
            filled += block.shape[-1]
    return wave, rate


def write(path: Path | str, wave: Wave, sample_rate: int, *, subtype: str | None = None) -> None:
    """Write `wave` `[channels, samples]` or `[samples]` to a file, all of it or nothing.

    Args:
        path: Where to; the suffix names the format.
        wave: Sound; clipped to [-1, 1] unless the subtype is floating.
        sample_rate: Its rate (Hz).
        subtype: As in `AudioWriter`.

    Raises:
        OutputError: The file cannot be written, or its format cannot hold this sound.
    """
    wave = wave[None] if wave.ndim == 1 else wave
    with AudioWriter(path, sample_rate, wave.shape[0], subtype=subtype) as writer:
        writer.write(wave)


class AudioReader:
    """Blocks of a sound file, from any sample on, in bounded memory.

    What cannot be read from any sample directly is decoded once, to memory if short and else to a
    temporary file that is gone after `close`.

    Args:
        path: Sound, or video with sound, of any kind.
        max_seconds: No more than this is decoded (s).

    Raises:
        AudioError: The file is missing, not a sound, empty, cut short or damaged, or too long.
    """

    def __init__(self, path: Path | str, *, max_seconds: float = inf) -> None:
        self.path = Path(path)
        self._source = open_source(self.path, max_seconds)
        self.sample_rate = self._source.sample_rate
        self.channels = self._source.channels
        self.frames = self._source.frames

    def read(self, start: int, count: int) -> Wave:
        """Return `[channels, count]` from sample `start`; fewer where the file ends.

        Raises:
            AudioError: Samples are NaN or infinite, or the file is damaged there.
        """
        start = min(max(start, 0), self.frames)
        count = min(count, self.frames - start)
        wave = torch.from_numpy(self._source.read(start, count).T).contiguous()
        if not wave.isfinite().all():
            raise self._not_finite()
        return wave

    def _not_finite(self) -> AudioError:
        """Return the error that counts every sample that is not a finite number."""
        count, first = 0, self.frames
        for start in range(0, self.frames, BLOCK):
            block = self._source.read(start, min(BLOCK, self.frames - start))
            bad = ~torch.from_numpy(block).isfinite()
            if bad.any() and not count:
                first = start + int(bad.any(1).nonzero()[0])
            count += int(bad.sum())
        return AudioError.not_finite(self.path, count=count, first_s=first / self.sample_rate)

    def close(self) -> None:
        """Close the file, and remove what was decoded of it."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AudioWriter:
    """Write a sound file in blocks; it appears whole at the end of `with`, or not at all.

    Args:
        path: Where to; wav, flac, ogg, mp3 or opus.
        sample_rate: Rate of the waves (Hz). Opus stores rates that it does not know as 48 kHz.
        channels: Channels of the waves.
        subtype: How wav and flac store a sample, as libsndfile names it; 24-bit if not given.

    Raises:
        OutputError: The file cannot be written, or its format cannot hold this sound.
    """

    def __init__(
        self, path: Path | str, sample_rate: int, channels: int, *, subtype: str | None = None
    ) -> None:
        self.path, self.sample_rate, self.channels = Path(path), sample_rate, channels
        self.frames = 0
        self._target = Path(os.path.realpath(self.path))  # a link stays one
        if self.path.suffix.lower() not in WRITABLE:
            raise OutputError.unknown_suffix(self.path, WRITABLE)
        try:
            if not stat.S_ISDIR(self._target.parent.stat().st_mode):
                raise OutputError.no_folder(self.path)
            if not stat.S_ISREG(self._target.stat().st_mode):
                raise OutputError.not_a_file(self.path)
        except FileNotFoundError:
            if not self._target.parent.is_dir():
                raise OutputError.no_folder(self.path) from None
        except OSError as error:
            raise self._refused(error) from error
        self._partial = partial(self._target).with_suffix(self.path.suffix)
        self._subtype = subtype
        self._encoder: Encoder | None = None

    def __enter__(self) -> Self:
        try:
            self._partial.touch(exist_ok=False)
            self._encoder = open_encoder(
                self._partial, self.path, self.sample_rate, self.channels, self._subtype
            )
        except REFUSALS as error:
            raise self._refused(error) from error
        finally:
            if self._encoder is None:
                self._remove_partial()
        return self

    def write(self, wave: Wave) -> None:
        """Append `wave` `[channels, samples]`.

        Raises:
            OutputError: The disk is full, or `wave` is not such a sound.
        """
        if wave.ndim != 2 or wave.shape[0] != self.channels:
            raise OutputError.wrong_shape(
                self.path, found=tuple(wave.shape), channels=self.channels
            )
        wave = wave.detach().float().cpu()
        bad = int((~wave.isfinite()).sum())
        if bad:
            at_s = self.frames / self.sample_rate
            raise OutputError.not_finite(self.path, count=bad, at_s=at_s)
        if self._encoder is None:
            raise OutputError.not_open(self.path)
        try:
            self._encoder.write(wave)
        except REFUSALS as error:
            raise self._refused(error) from error
        self.frames += wave.shape[-1]

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        encoder, self._encoder = self._encoder, None
        try:
            if encoder is not None:
                encoder.close()
            if kind is None:
                with self._partial.open("rb") as file:
                    os.fsync(file.fileno())
                self._partial.replace(self._target)
        except REFUSALS as error:
            if kind is None:  # else what went wrong first is what matters
                raise self._refused(error) from error
        finally:
            self._remove_partial()

    def _remove_partial(self) -> None:
        with suppress(OSError):  # it is gone already, or the disk has become read-only
            self._partial.unlink()

    def _refused(self, error: Exception) -> OutputError:
        """Return what the operating system or an encoder refused, in words."""
        free = shutil.disk_usage(self._target.parent).free
        number = getattr(error, "errno", None)  # libsndfile has none, so the disk is asked
        if number == errno.ENOSPC or (number is None and free < ROOM):
            return OutputError.disk_full(self.path, free)
        return OutputError.cannot_write(self.path, reason(error))
