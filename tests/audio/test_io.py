"""Every kind of file is read and written whole, in blocks, and never by half."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from audio_cases import RATE, encoded, likeness, lossless, names, song
from hypothesis import given, settings
from hypothesis import strategies as st

from sovits.audio import encode
from sovits.audio.io import AUDIO_SUFFIXES, AudioReader, AudioWriter, read, write
from sovits.audio.resample import resample


@pytest.mark.parametrize(
    ("name", "subtype", "decibels"),
    [
        ("a.wav", "PCM_U8", 30), ("a.wav", "PCM_16", 80), ("a.wav", "PCM_24", 120),
        ("a.wav", "PCM_32", 140), ("a.wav", "FLOAT", 199), ("a.wav", "DOUBLE", 199),
        ("a.wav", "ULAW", 25), ("a.wav", "MS_ADPCM", 25), ("a.flac", "PCM_S8", 30),
        ("a.flac", "PCM_16", 80), ("a.flac", "PCM_24", 120), ("a.aiff", "PCM_16", 80),
        ("a.aiff", "FLOAT", 199), ("a.w64", "PCM_16", 80), ("a.rf64", "PCM_24", 120),
        ("a.au", "PCM_16", 80), ("a.caf", "PCM_24", 120), ("a.caf", "ALAC_16", 80),
        ("a.ogg", "VORBIS", 20), ("a.mp3", "MPEG_LAYER_III", 20),
    ],
)  # fmt: skip
@pytest.mark.parametrize("channels", [1, 2])
def test_reads_what_libsndfile_writes(
    tmp_path: Path, name: str, subtype: str, decibels: float, channels: int
) -> None:
    expected = song()[:channels]
    soundfile.write(tmp_path / name, expected.numpy().T, RATE, subtype=subtype)
    wave, rate = read(tmp_path / name)
    assert rate == RATE
    assert wave.dtype == torch.float32
    assert wave.shape[0] == channels
    # ADPCM fills its last blocks.
    assert 0 <= wave.shape[1] - expected.shape[1] < (4096 if "ADPCM" in subtype else 1)
    assert likeness(wave, expected) > decibels


@pytest.mark.parametrize(
    ("name", "codec", "rate", "longer"),
    [
        ("a.m4a", "aac", 44_100, 0), ("a.aac", "aac", 44_100, 2048), ("a.mp4", "aac", 48_000, 0),
        ("a.mov", "alac", 44_100, 0), ("a.opus", "libopus", 48_000, 0),
        ("a.webm", "libopus", 48_000, 0), ("a.mkv", "flac", 44_100, 0),
        ("a.mka", "aac", 32_000, 1024), ("a.wma", "wmav2", 44_100, 4096),
        ("a.mp3", "libmp3lame", 44_100, 0), ("a.wv", "wavpack", 44_100, 0),
        ("a.tta", "tta", 44_100, 0),
    ],
)  # fmt: skip
def test_reads_what_ffmpeg_writes(
    tmp_path: Path, name: str, codec: str, rate: int, longer: int
) -> None:
    expected = song(rate=rate)
    if codec in ("alac", "flac", "wavpack", "tta"):
        path = lossless(tmp_path / name, codec, expected, rate)
    else:
        path = encoded(tmp_path / name, codec, expected, rate)
    wave, found = read(path)
    assert found == rate
    assert abs(wave.shape[1] - expected.shape[1]) <= longer
    # AAC in a bare stream keeps the encoder's delay, which nothing there tells; FFmpeg's WMA loses
    # the first block.
    late, early = {"a.aac": (1024, 0), "a.wma": (0, 2048)}.get(name, (0, 0))
    assert likeness(wave[:, late:], expected[:, early:]) > 15


def test_the_first_sound_of_a_video_is_read(tmp_path: Path) -> None:
    wave = song(1.0, 48_000)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width = video.height = 32
        video.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=48_000, layout="stereo")
        for _ in range(20):  # two seconds, longer than the sound
            picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")
            container.mux(video.encode(picture))
        frame = av.AudioFrame.from_ndarray(wave.numpy(), "fltp", "stereo")
        frame.sample_rate, frame.pts = 48_000, 0
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
        container.mux(video.encode(None))
    found, rate = read(tmp_path / "a.mp4")
    assert (rate, found.shape) == (48_000, wave.shape)
    assert likeness(found, wave) > 15


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg", ".opus"])
@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_written_is_read_again(tmp_path: Path, suffix: str, channels: int) -> None:
    wave = song()[:channels]
    write(tmp_path / f"a{suffix}", wave, RATE)
    found, rate = read(tmp_path / f"a{suffix}", sample_rate=RATE)
    assert rate == RATE
    assert found.shape == wave.shape
    assert likeness(found, wave) > (120 if suffix in (".wav", ".flac") else 20)
    assert names(tmp_path) == [f"a{suffix}"]


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("samples", [400, 2205, 30_011])
@pytest.mark.parametrize("suffix", [".mp3", ".ogg", ".opus"])
def test_lossy_files_keep_their_length(
    tmp_path: Path, suffix: str, rate: int, samples: int
) -> None:
    write(tmp_path / f"a{suffix}", 0.1 * torch.randn(1, samples), rate)
    with AudioReader(tmp_path / f"a{suffix}") as reader:
        assert abs(reader.frames / reader.sample_rate - samples / rate) <= 1 / rate


@settings(max_examples=10)
@given(
    reads=st.lists(st.tuples(st.integers(0, 70_000), st.integers(0, 5000)), max_size=10),
    sizes=st.lists(st.integers(0, 30_000), min_size=1, max_size=4),
)
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg", ".opus"])
def test_blocks_are_parts_of_the_whole(
    tmp_path: Path, suffix: str, reads: list[tuple[int, int]], sizes: list[int]
) -> None:
    path, wave = tmp_path / f"a{suffix}", song()[:, : sum(sizes)]
    if not wave.shape[1]:
        return
    with AudioWriter(path, RATE, 2) as writer:
        for block in song()[:, : sum(sizes)].split(7000, dim=1):
            writer.write(block)
    whole, _ = read(path)
    with AudioReader(path) as reader:
        assert reader.frames == whole.shape[1]
        for start, count in reads:
            assert torch.equal(reader.read(start, count), whole[:, start : start + count])


def test_any_channels_and_rates_are_read_mixed_and_resampled(tmp_path: Path) -> None:
    path, wave = tmp_path / "a.wav", 0.3 * torch.randn(8, 19_200)
    write(path, wave, 192_000, subtype="FLOAT")
    found, rate = read(path)
    assert rate == 192_000
    assert torch.equal(found, wave)
    mono, rate = read(path, sample_rate=44_100, mono=True)
    assert rate == 44_100
    torch.testing.assert_close(mono, resample(wave.mean(0, keepdim=True), 192_000, 44_100))


def test_samples_beyond_full_scale_are_kept_in_floating_files_and_clipped_in_others(
    tmp_path: Path,
) -> None:
    wave = torch.tensor([[2.0, -3.0, 0.5, 1.0, -1.0]])
    write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")
    assert torch.equal(read(tmp_path / "a.wav")[0], wave)
    write(tmp_path / "b.wav", wave, RATE)
    torch.testing.assert_close(read(tmp_path / "b.wav")[0], wave.clamp(-1, 1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("suffix", [".ogg", ".mp3", ".opus"])
def test_lossy_files_are_clipped_too(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"a{suffix}", 10 * song(), RATE)
    assert 0.9 < read(tmp_path / f"a{suffix}")[0].abs().max() < 2


def test_a_wave_of_one_dimension_is_mono(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", torch.rand(100), RATE)
    assert read(tmp_path / "a.wav")[0].shape == (1, 100)


def test_very_short_sounds_are_read(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", song(0.05), RATE)
    assert read(str(tmp_path / "a.wav"), sample_rate=16_000)[0].shape == (2, 800)


def test_written_wavs_are_plain_and_grow_into_rf64(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wave, path = song(), tmp_path / "a.wav"
    write(path, wave, RATE)
    assert soundfile.info(path).format == "WAV"
    assert soundfile.info(path).subtype == "PCM_24"
    for subtype in ("PCM_24", "FLOAT"):
        monkeypatch.setattr(encode, "WAV_LIMIT", 1 << 62)
        write(path, wave, RATE, subtype=subtype)
        plain, _ = read(path)
        monkeypatch.setattr(encode, "WAV_LIMIT", 100_000)
        with AudioWriter(path, RATE, 2, subtype=subtype) as writer:
            for block in wave.split(10_000, dim=1):
                writer.write(block)
        assert soundfile.info(path).format == "RF64"
        assert torch.equal(read(path)[0], plain)
        assert names(tmp_path) == ["a.wav"]


def test_hours_are_read_in_little_memory(tmp_path: Path) -> None:
    """Three hours at 8 kHz; the file has a hole instead of its silence."""
    path, samples = tmp_path / "a.wav", 3 * 3600 * 8_000
    write(path, torch.zeros(1, 1), 8_000, subtype="PCM_16")
    header = bytearray(path.read_bytes()[:-2])
    header[-4:], header[4:8] = (2 * samples).to_bytes(4, "little"), b"\xff" * 4
    path.write_bytes(header)
    os.truncate(path, len(header) + 2 * samples)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with AudioReader(path) as reader:
        assert reader.frames == samples
        for start in range(0, samples, 1 << 20):
            assert not reader.read(start, 1 << 20).any()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_decoded_sound_beyond_memory_is_read_from_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.mp3", song(), RATE)
    expected, _ = read(tmp_path / "a.mp3")
    monkeypatch.setattr("sovits.audio.decode.IN_MEMORY", 1000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with AudioReader(tmp_path / "a.mp3") as reader:
        assert torch.equal(reader.read(0, reader.frames), expected)
    assert names(tmp_path) == ["a.mp3"]


def test_suffixes_name_what_can_be_written() -> None:
    assert encode.WRITABLE <= AUDIO_SUFFIXES
    assert all(suffix == suffix.lower() for suffix in AUDIO_SUFFIXES)
