"""Whatever is no whole sound is told in one line: what was found, and what to do."""

from __future__ import annotations

import errno
import math
import os
import struct
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
import torch
from audio_cases import RATE, encoded, names, song
from hypothesis import given, settings
from hypothesis import strategies as st

from sovits.audio.headers import mp3_seconds, share_present
from sovits.audio.io import AudioReader, read, write
from sovits.errors import AudioError, OutputError


def message_of(path: Path) -> str:
    """Return the one line that reading `path` ends with."""
    with pytest.raises(AudioError) as failure, AudioReader(path) as reader:
        reader.read(0, reader.frames)
    assert "\n" not in str(failure.value)
    assert str(path).replace("\0", "\N{REPLACEMENT CHARACTER}") in str(failure.value)
    return str(failure.value)


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    assert "does not exist" in message_of(tmp_path / "b.wav")
    assert "does not exist" in message_of(tmp_path / "a.wav" / "b.wav")
    assert "does not exist" in message_of(tmp_path / "a\0.wav")
    assert "cannot be opened (file name too long)" in message_of(tmp_path / ("a" * 300))


def test_folders_and_devices(tmp_path: Path) -> None:
    assert "is a folder" in message_of(tmp_path)
    assert "not a plain file" in message_of(Path("/dev/zero"))


def test_what_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.wav", song(), RATE)

    def refuse(self: Path, *args: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert "cannot be opened (permission denied)" in message_of(tmp_path / "a.wav")


@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".ogg", ".m4a", ".flac", ".raw", ""])
@pytest.mark.parametrize("content", ["words", "noise", "letter", "riff", "zeros"])
def test_what_is_no_sound(tmp_path: Path, suffix: str, content: str) -> None:
    data = {
        "words": b"so much for that\n" * 500,
        "noise": np.random.default_rng(0).bytes(20_000),
        "letter": b"x",
        "riff": b"RIFF",
        "zeros": bytes(5000),
    }
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data[content])
    assert "is not a sound file" in message_of(path)


def test_playlists_open_no_other_file(tmp_path: Path) -> None:
    write(tmp_path / "a.mp3", song(), RATE)
    lists = ("#EXTM3U\n#EXTINF:1,\na.mp3\n", "ffconcat version 1.0\nfile a.mp3\n")
    for number, words in enumerate(lists):
        path = tmp_path / f"{number}.wav"
        path.write_text(words)
        assert "is not a sound file" in message_of(path)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".aiff"])
def test_empty_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.touch()
    assert "is empty" in message_of(path)
    soundfile.write(path, np.zeros((0, 1)), RATE)
    assert "is empty: it holds 0 samples" in message_of(path)


def test_a_video_without_sound(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width = video.height = 32
        video.pix_fmt = "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")
        container.mux(video.encode(picture))
        container.mux(video.encode(None))
    assert "holds no sound" in message_of(tmp_path / "a.mp4")


def cut(path: Path, share: float) -> Path:
    """Keep only the first part of a file."""
    os.truncate(path, int(share * path.stat().st_size))
    return path


@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("a.wav", "PCM_16"), ("a.wav", "FLOAT"), ("a.wav", "MS_ADPCM"), ("a.flac", "PCM_24"),
        ("a.aiff", "PCM_16"), ("a.w64", "PCM_16"), ("a.rf64", "PCM_24"), ("a.au", "PCM_16"),
        ("a.mp3", "MPEG_LAYER_III"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_cut_files_say_how_much_is_left(
    tmp_path: Path, name: str, subtype: str, share: float
) -> None:
    path = tmp_path / name
    soundfile.write(path, 0.1 * np.random.default_rng(0).normal(size=(88_200, 2)), RATE, subtype)
    words = message_of(cut(path, share))
    found, expected = (float(word) for word in words.split() if word[:1].isdigit())
    assert found == pytest.approx(2 * share, abs=0.15)
    assert expected == pytest.approx(2.0, abs=0.05)
    assert "cut short: only" in words


@pytest.mark.parametrize(
    ("name", "codec", "rate", "options"),
    [
        ("a.m4a", "aac", RATE, {"movflags": "faststart"}), ("a.webm", "libopus", 48_000, {}),
        ("a.mka", "aac", RATE, {}), ("a.wma", "wmav2", RATE, {}), ("a.aac", "aac", RATE, {}),
        ("a.opus", "libopus", 48_000, {}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_cut_files_of_other_kinds(
    tmp_path: Path, name: str, codec: str, rate: int, options: dict[str, str], share: float
) -> None:
    wave = 0.1 * torch.randn(2, 2 * rate)
    path = cut(encoded(tmp_path / name, codec, wave, rate, **options), share)
    words = message_of(path)
    assert "is cut short" in words or "is damaged after" in words


def test_cut_files_of_which_the_rest_is_unknown(tmp_path: Path) -> None:
    for name in ("a.ogg", "b.caf"):
        soundfile.write(tmp_path / name, np.random.default_rng(0).normal(size=88_200) / 9, RATE)
        assert "ends in the middle of its data" in message_of(cut(tmp_path / name, 0.7))
    encoded(tmp_path / "a.m4a", "aac", song(), RATE)
    assert "or is cut short" in message_of(cut(tmp_path / "a.m4a", 0.7))
    write(tmp_path / "a.wav", song(), RATE)
    os.truncate(tmp_path / "a.wav", 44)
    assert "ends in the middle of its data" in message_of(tmp_path / "a.wav")


def test_a_length_of_zero_is_not_read_in_the_wrong_byte_order(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, song().numpy().T, RATE, "PCM_16", "BIG")
    data = path.read_bytes()
    at = data.index(b"data") + 4
    path.write_bytes(data[:at] + bytes(4) + data[at + 4 :])
    assert "is empty" in message_of(path)


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF, 0x7FFFF000, 0x80000000, 0xFFFFFFDB])
@pytest.mark.parametrize("order", ["WAV", "RIFX"])
def test_recordings_from_a_pipe_are_whole(tmp_path: Path, length: int, order: str) -> None:
    path = tmp_path / "a.wav"
    if order == "RIFX" and not length:
        return
    endian = "BIG" if order == "RIFX" else "FILE"
    soundfile.write(path, song().numpy().T, RATE, "PCM_16", endian)
    data, pack = path.read_bytes(), ">I" if order == "RIFX" else "<I"
    at = data.index(b"data") + 4
    path.write_bytes(
        data[:4]
        + struct.pack(pack, length)
        + data[8:at]
        + struct.pack(pack, length)
        + data[at + 4 :]
    )
    wave, _ = read(path)
    torch.testing.assert_close(wave, song(), atol=1e-4, rtol=0)


def test_a_flac_from_a_pipe_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, song().numpy().T, RATE, "PCM_16")
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # the 36 bits of STREAMINFO that count samples
    data[22:26] = bytes(4)
    path.write_bytes(data)
    torch.testing.assert_close(read(path)[0], song(), atol=1e-4, rtol=0)


def test_a_length_that_counts_the_header_is_forgiven(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, song().numpy().T, RATE, "PCM_16")
    data = bytearray(path.read_bytes())
    data[40:44] = struct.pack("<I", len(data))
    path.write_bytes(data)
    assert read(path)[0].shape == song().shape


def test_chunks_around_the_samples_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, song().numpy().T, RATE, "PCM_16")
    data = path.read_bytes()
    note = b"note" + struct.pack("<I", 3) + b"abc\0"
    path.write_bytes(data[:12] + note + data[12:] + note)
    assert read(path)[0].shape == song().shape
    assert share_present(path) is None
    path.write_bytes((data[:12] + note + data[12:])[:-1000])
    share = share_present(path)
    assert share == pytest.approx(1 - 1000 / (4 * song().shape[1]))


@settings(max_examples=200)
@given(st.binary(max_size=80), st.sampled_from([b"RIFF\0\0\0\0WAVE", b"FORM\0\0\0\0AIFF", b"RF64",
    b"OggS", b".snd", b"caff", b"riff", b"fLaC", b""]))  # fmt: skip
def test_no_header_confuses_the_check(tmp_path: Path, data: bytes, start: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(start + data)
    share = share_present(path)
    assert share is None or 0 <= share < 1


def test_endless_chunks_end(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF\0\0\0\0WAVE" + bytes(1_000_000))
    assert "is not a sound file" in message_of(path)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_samples_that_are_no_numbers_are_counted(tmp_path: Path, bad: float) -> None:
    wave = song(8.0)
    wave[0, 22_050], wave[1, 300_000:300_005] = bad, bad
    soundfile.write(tmp_path / "a.wav", wave.numpy().T, RATE, "FLOAT")
    expected = "holds 6 samples that are NaN or infinite, the first at 0.500 s"
    assert expected in message_of(tmp_path / "a.wav")
    with AudioReader(tmp_path / "a.wav") as reader:
        assert reader.read(0, 1000).isfinite().all()
        with pytest.raises(AudioError, match="holds 6 samples"):
            reader.read(299_000, 2000)


def test_doubles_too_large_for_a_sample_are_infinite(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0.0, 1e300]), RATE, "DOUBLE")
    assert "holds 1 samples" in message_of(tmp_path / "a.wav")


def test_damage_in_the_middle_is_placed(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, np.random.default_rng(0).normal(size=88_200) / 9, RATE)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = bytes(range(250)) * 12
    path.write_bytes(data)
    words = message_of(path)
    assert "is damaged after" in words
    assert float(words.split("after ")[1].split()[0]) == pytest.approx(1.0, abs=0.15)


def test_junk_around_an_mp3_is_skipped(tmp_path: Path) -> None:
    write(tmp_path / "a.mp3", song(), RATE)
    expected, _ = read(tmp_path / "a.mp3")
    sound = (tmp_path / "a.mp3").read_bytes()
    junk = np.random.default_rng(0).bytes(1500)
    tag = b"ID3\x03\0\0\0\0\x10\0" + bytes(2048)
    for name, data in {
        "tag.mp3": tag + sound,
        "old-tag.mp3": sound + b"TAG" + b"x" * 125,
    }.items():
        (tmp_path / name).write_bytes(data)
        assert torch.equal(read(tmp_path / name)[0], expected)
    for name, data in {"end.mp3": sound + junk, "begin.mp3": junk + sound}.items():
        (tmp_path / name).write_bytes(data)
        # FFmpeg then does not trust the header, and leaves LAME's padding in.
        assert 0 <= read(tmp_path / name)[0].shape[1] - expected.shape[1] < 4 * 1152


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 24_000, 32_000, 44_100, 48_000])
def test_an_mp3_says_how_long_it_is(tmp_path: Path, rate: int, channels: int) -> None:
    path = tmp_path / "a.mp3"
    write(path, 0.1 * torch.randn(channels, 2 * rate), rate)
    seconds = mp3_seconds(path)
    assert seconds is not None
    assert abs(seconds - 2.0) < 2 * 1152 / rate
    path.write_bytes(b"ID3\x03\0\0\0\0\x10\0" + bytes(2048) + path.read_bytes())
    assert mp3_seconds(path) == seconds
    encoded(path, "libmp3lame", song(), RATE, write_xing="0")
    assert mp3_seconds(path) is None
    assert read(path)[0].shape[1] >= song().shape[1]


def test_damage_inside_an_mp3_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    write(path, song(), RATE)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2000] = np.random.default_rng(0).bytes(2000)
    path.write_bytes(data)
    assert "is damaged after" in message_of(path)


def test_a_change_of_format_is_told(tmp_path: Path) -> None:
    encoded(tmp_path / "a.aac", "aac", song(), RATE)
    encoded(tmp_path / "b.aac", "aac", song(rate=22_050), 22_050)
    path = tmp_path / "c.aac"
    path.write_bytes((tmp_path / "a.aac").read_bytes() + (tmp_path / "b.aac").read_bytes())
    assert "its sample rate or number of channels changes" in message_of(path)


def test_no_room_for_decoded_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            pass

    write(tmp_path / "a.mp3", song(), RATE)
    monkeypatch.setattr("sovits.audio.decode.SpooledTemporaryFile", lambda size: Full())
    with pytest.raises(OutputError, match=r"no room for its samples in .+set TMPDIR"):
        read(tmp_path / "a.mp3")


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg", ".opus"])
def test_failures_print_nothing(
    tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Libraries written in C like to add lines of their own."""
    path = tmp_path / f"a{suffix}"
    write(path, 0.1 * torch.randn(2, 2 * RATE), RATE)
    message_of(cut(path, 0.5))
    sys.stderr.flush()
    assert capfd.readouterr() == ("", "")


def test_nothing_stays_open_after_a_failure(tmp_path: Path) -> None:
    """A leaked file would hold its lock on other systems, and warn on this one."""
    for suffix in (".wav", ".flac", ".mp3"):
        path = tmp_path / f"a{suffix}"
        write(path, song(), RATE)
        cut(path, 0.5)
        before = len(names(Path("/proc/self/fd")))
        message_of(path)
        assert len(names(Path("/proc/self/fd"))) == before
