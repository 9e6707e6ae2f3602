"""Files appear whole or not at all, and what prevents them is told in one line."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from audio_cases import RATE, names, song

from sovits.audio import encode, io
from sovits.audio.io import AudioReader, AudioWriter, read, write
from sovits.errors import OutputError


@contextmanager
def left_as_it_was(folder: Path, name: str) -> Iterator[Path]:
    """Check that a failed writing leaves the old file, and no other."""
    path = folder / name
    path.write_bytes(b"what was there before")
    yield path
    assert path.read_bytes() == b"what was there before"
    assert names(folder) == [name]


SUFFIXES = [".wav", ".flac", ".ogg", ".mp3", ".opus"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_writing_leaves_no_trace(
    tmp_path: Path, suffix: str, stop: type[BaseException]
) -> None:
    with (  # noqa: PT012
        left_as_it_was(tmp_path, f"a{suffix}") as path,
        pytest.raises(stop),
        AudioWriter(path, RATE, 2) as writer,
    ):
        writer.write(song())
        assert len(names(tmp_path)) == 2
        raise stop


def test_an_existing_file_is_replaced_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write(path, song(0.5), RATE)
    with AudioWriter(path, RATE, 2) as writer:
        writer.write(song(1.0))
        assert read(path)[0].shape[1] == RATE // 2
    assert read(path)[0].shape[1] == RATE


def test_a_file_may_be_written_over_itself_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write(path, song(), RATE)
    with AudioReader(path) as reader, AudioWriter(path, RATE, 2) as writer:
        for start in range(0, reader.frames, 9999):
            writer.write(-reader.read(start, 9999))
    torch.testing.assert_close(read(path)[0], -song(), atol=1e-6, rtol=0)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "a.wav"
    link.symlink_to(tmp_path / "real" / "b.wav")
    write(link, song(), RATE)
    assert link.is_symlink()
    assert (tmp_path / "real" / "b.wav").is_file()


def test_outputs_have_the_usual_permissions(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", song(0.1), RATE)
    (tmp_path / "b").touch()
    assert (tmp_path / "a.wav").stat().st_mode == (tmp_path / "b").stat().st_mode


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes, which fails as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("size", [0, 100, 5000, 20_000])
def test_no_room_is_told_in_one_line(tmp_path: Path, suffix: str, size: int) -> None:
    wave = 0.3 * torch.randn(2, 2 * RATE)
    with (
        left_as_it_was(tmp_path, f"a{suffix}") as path,
        pytest.raises(OutputError, match=r"cannot be written \(.+\)\. Choose another") as failure,
        room_for(size),
    ):
        write(path, wave, RATE)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("suffix", [".wav", ".opus"])
def test_a_full_disk_is_called_full(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Any, wave: torch.Tensor) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    kind = encode.OpusEncoder if suffix == ".opus" else encode.SoundFileEncoder
    monkeypatch.setattr(kind, "write", full)
    with (
        left_as_it_was(tmp_path, f"a{suffix}") as path,
        pytest.raises(OutputError, match=r"its disk is full \(.+ MB free\)\. Make room"),
    ):
        write(path, song(), RATE)


def test_a_disk_with_no_byte_left_is_called_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Libsndfile does not say why it could not write, so the disk is asked."""
    monkeypatch.setattr(io, "ROOM", 1 << 62)
    with (
        left_as_it_was(tmp_path, "a.wav") as path,
        pytest.raises(OutputError, match="its disk is full"),
        room_for(5000),
    ):
        write(path, song(), RATE)


def test_a_refused_replacement_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with (
        left_as_it_was(tmp_path, "a.wav") as path,
        pytest.raises(OutputError, match=r"\(permission denied\)"),
    ):
        write(path, song(), RATE)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("a.xyz", r"has the suffix \.xyz, .* End its name in \.flac, \.mp3"),
        ("a", "has no suffix"),
        ("/dev/full", "has no suffix"),
        ("nowhere/a.wav", "nowhere is not a folder. Make it first"),
        ("folder.wav", "is not a plain file"),
        ("/proc/a.wav", r"cannot be written \(no such file"),
        (f"{'a' * 300}.wav", r"cannot be written \(file name too long"),
    ],
)
def test_targets_that_cannot_be_written(tmp_path: Path, target: str, message: str) -> None:
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(OutputError, match=message):
        write(tmp_path / target, song(0.1), RATE)
    assert names(tmp_path) == ["folder.wav"]


@pytest.mark.parametrize(
    ("name", "channels", "rate", "subtype"),
    [
        ("a.mp3", 8, 44_100, None), ("a.mp3", 1, 96_000, None), ("a.opus", 8, 48_000, None),
        ("a.flac", 9, 44_100, None), ("a.flac", 1, 44_100, "FLOAT"), ("a.wav", 1, 8000, "PCM_13"),
        ("a.opus", 1, 48_000, "PCM_16"),
    ],
)  # fmt: skip
def test_formats_say_what_they_cannot_hold(
    tmp_path: Path, name: str, channels: int, rate: int, subtype: str | None
) -> None:
    with pytest.raises(OutputError, match=f"cannot hold {channels} channels at {rate} Hz"):
        write(tmp_path / name, torch.zeros(channels, 4000), rate, subtype=subtype)
    assert names(tmp_path) == []


@pytest.mark.parametrize("shape", [(1, 10), (10,), (1, 2, 10)])
def test_other_channels_than_promised_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with (
        pytest.raises(OutputError, match="opened for 2 channels, but"),
        AudioWriter(tmp_path / "a.wav", RATE, 2) as writer,
    ):
        writer.write(torch.zeros(shape))
    assert names(tmp_path) == []


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_sound_is_not_written(tmp_path: Path, bad: float) -> None:
    wave = song()
    wave[1, 30_000:30_003] = bad
    words = r"3 of the samples from 0\.500 s on are NaN or infinite"
    with (  # noqa: PT012
        pytest.raises(OutputError, match=words),
        AudioWriter(tmp_path / "a.wav", RATE, 2) as writer,
    ):
        writer.write(wave[:, : RATE // 2])
        writer.write(wave[:, RATE // 2 :])
    assert names(tmp_path) == []


def test_a_writer_writes_only_while_it_is_open(tmp_path: Path) -> None:
    writer = AudioWriter(tmp_path / "a.wav", RATE, 2)
    with pytest.raises(OutputError, match="is not open for writing"):
        writer.write(song())
    assert names(tmp_path) == []
