"""Recordings become clips of the same speaker, and everything else is named and left out."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_sounds import pitch_of, save, tone

from sovits.errors import DatasetError
from sovits.prepare.recordings import Recording, find_clips, find_recordings
from sovits.prepare.report import Skipped
from sovits.prepare.resample import (
    PEAK,
    ResampleOptions,
    clip_names,
    resample_recordings,
    trim,
)

WAV = frozenset({".wav"})


def reasons(skipped: tuple[Skipped, ...] | list[Skipped]) -> dict[str, str]:
    return {item.path.name: item.reason for item in skipped}


def test_stray_files_never_move_audio_between_speakers(tmp_path: Path) -> None:
    raw, out = tmp_path / "dataset_raw", tmp_path / "dataset" / "44k"
    for i in range(3):
        save(raw / "alice" / f"{i}.wav", tone(0.5, 220))
        save(raw / "bob" / f"{i}.wav", tone(0.5, 440))
    save(raw / "readme.wav", tone(0.5, 880))
    (raw / "notes.txt").write_text("notes")
    (raw / ".DS_Store").write_bytes(b"\0")
    (raw / "bob" / "desktop.ini").write_bytes(b"\0")
    (raw / "bob" / "lyrics.txt").write_text("la")
    report = resample_recordings(raw, out)
    assert len(report.made) == 6
    for path in report.made:
        assert pitch_of(path) == pytest.approx({"alice": 220, "bob": 440}[path.parent.name], abs=4)
    assert set(reasons(report.skipped)) == {"readme.wav", "notes.txt", "lyrics.txt"}
    assert "belongs to no speaker" in reasons(report.skipped)["readme.wav"]


def test_a_clip_is_mono_16_bit_at_its_rate_and_level(tmp_path: Path) -> None:
    left = tone(1.0, 300, 48_000)
    source = save(tmp_path / "raw" / "a" / "x.wav", left, 0.5 * left, sample_rate=48_000)
    (clip,) = resample_recordings(source.parents[1], tmp_path / "out", ResampleOptions(32_000)).made
    info = soundfile.info(clip)
    assert (info.samplerate, info.channels, info.subtype) == (32_000, 1, "PCM_16")
    assert info.frames == 32_000
    wave = soundfile.read(clip)[0]
    assert np.abs(wave).max() == pytest.approx(PEAK, abs=1e-3)
    assert pitch_of(clip) == pytest.approx(300, abs=2)


def test_long_recordings_are_resampled_in_blocks_without_a_seam(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "raw" / "a" / "x.wav", tone(1.0, 300))
    (whole,) = resample_recordings(tmp_path / "raw", tmp_path / "whole").made
    monkeypatch.setattr("sovits.prepare.resample._BLOCK", 1000)
    (cut,) = resample_recordings(tmp_path / "raw", tmp_path / "cut").made
    assert np.abs(soundfile.read(whole)[0] - soundfile.read(cut)[0]).max() <= 2 / 32768


@pytest.mark.parametrize(
    ("name", "wave", "reason"),
    [
        ("silent.wav", torch.zeros(22_050), "silent: its loudest sample is 0.0e+00"),
        ("short.wav", tone(0.2, 300), "too short: 0.20 s"),
        ("blip.wav", torch.cat([tone(0.05, 300), torch.zeros(22_050)]), "too short: 0.1"),
    ],
)
def test_what_teaches_nothing_is_left_out(
    tmp_path: Path, name: str, wave: torch.Tensor, reason: str
) -> None:
    save(tmp_path / "raw" / "a" / name, wave)
    report = resample_recordings(tmp_path / "raw", tmp_path / "out")
    assert report.made == ()
    assert reasons(report.skipped)[name].startswith(reason)


def test_unreadable_files_are_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    save(tmp_path / "raw" / "a" / "good.wav", tone(0.5, 300))
    (tmp_path / "raw" / "a" / "bad.wav").write_bytes(b"RIFFnothing")
    (tmp_path / "raw" / "a" / "empty.wav").touch()
    report = resample_recordings(tmp_path / "raw", tmp_path / "out")
    assert [path.name for path in report.made] == ["good.wav"]
    assert set(reasons(report.skipped)) == {"bad.wav", "empty.wav"}
    for skipped in report.skipped:
        assert str(skipped).count(str(skipped.path)) == 1


def test_clips_without_a_recording_are_named_as_stale(tmp_path: Path) -> None:
    old = save(tmp_path / "raw" / "a" / "old.wav", tone(0.5, 300))
    save(tmp_path / "raw" / "a" / "new.wav", tone(0.5, 300))
    assert resample_recordings(tmp_path / "raw", tmp_path / "out").stale == ()
    old.unlink()
    report = resample_recordings(tmp_path / "raw", tmp_path / "out")
    assert report.stale == (tmp_path / "out" / "a" / "old.wav",)


def test_only_what_has_changed_is_made_again(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    for name in ("x.wav", "y.wav"):
        save(raw / "a" / name, tone(0.5, 300))
    assert len(resample_recordings(raw, out).made) == 2
    before = (out / "a" / "x.wav").stat()
    save(raw / "a" / "z.wav", tone(0.5, 300))
    report = resample_recordings(raw, out)
    assert [[path.name for path in some] for some in (report.made, report.kept, report.stale)] == [
        ["z.wav"],
        ["x.wav", "y.wav"],
        [],
    ]
    assert (out / "a" / "x.wav").stat() == before
    (out / "a" / "y.wav").unlink()
    assert [path.name for path in resample_recordings(raw, out).made] == ["y.wav"]
    assert len(resample_recordings(raw, out, ResampleOptions(32_000)).made) == 3


def test_a_name_that_another_recording_takes_over_is_made_of_that(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    save(raw / "a" / "2" / "x.wav", tone(0.5, 440))
    resample_recordings(raw, out)
    save(raw / "a" / "1" / "x.wav", tone(0.5, 220))  # as long, and as old: from one archive
    for path in raw.rglob("*.wav"):
        os.utime(path, (1e9, 1e9))
    for _ in range(2):
        resample_recordings(raw, out)
    assert pitch_of(out / "a" / "x.wav") == pytest.approx(220, rel=0.02)
    assert pitch_of(out / "a" / "x_1.wav") == pytest.approx(440, rel=0.02)


@given(
    before=st.floats(0, 2),
    after=st.floats(0, 2),
    seconds=st.floats(0.3, 2),
    noise=st.floats(0, 0.005),
)
def test_trimming_keeps_the_sound_and_a_margin(
    before: float, after: float, seconds: float, noise: float
) -> None:
    options = ResampleOptions(8_000)
    parts = [round(x * 8_000) for x in (before, seconds, after)]
    wave = torch.cat([torch.zeros(parts[0]), tone(seconds, 500, 8_000), torch.zeros(parts[2])])
    wave = wave + noise * torch.randn(len(wave))
    kept = trim(wave, options)
    loud = int((kept.abs() > 0.1).sum())
    assert loud == int((wave.abs() > 0.1).sum())
    slack = 0.2 * 8_000
    assert parts[1] <= len(kept) <= parts[1] + 2 * slack


def test_trimming_leaves_a_soft_tail_above_the_threshold() -> None:
    options = ResampleOptions(8_000, top_db=30)
    tail = tone(0.5, 500, 8_000, level=0.3 * 10 ** (-25 / 20))
    wave = torch.cat([tone(0.5, 500, 8_000), tail, torch.zeros(8_000)])
    assert len(trim(wave, options)) >= 8_000


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["x", "X", "x_1", "é", "y\n", "x.y"])),
        min_size=1,
        max_size=12,
    )
)
def test_names_of_clips_never_clash(files: list[tuple[str, str]]) -> None:
    recordings = [Recording(s, Path(s, str(i), f"{name}.mp3")) for i, (s, name) in enumerate(files)]
    names = clip_names(recordings)
    assert len({str(name).casefold() for name in names}) == len(names)
    for name, recording in zip(names, recordings, strict=True):
        assert name.parts[0] == recording.speaker
        assert len(name.parts) == 2
        assert str(name).isprintable()


def test_subfolders_belong_to_their_speaker(tmp_path: Path) -> None:
    for name in ("a/x.wav", "a/2024/x.wav", "a/2024/.hidden/x.wav", "a/.x.wav", "b/x.WAV"):
        save(tmp_path / name, tone(0.5, 300))
    found = find_recordings(tmp_path, WAV)
    assert [(r.speaker, r.path.relative_to(tmp_path).as_posix()) for r in found.recordings] == [
        ("a", "a/x.wav"),
        ("a", "a/2024/x.wav"),
        ("b", "b/x.WAV"),
    ]
    assert [str(name) for name in clip_names(found.recordings)] == [
        str(Path("a/x.wav")),
        str(Path("a/x_1.wav")),
        str(Path("b/x.wav")),
    ]


def test_a_missing_folder_says_how_it_must_look(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"raw does not exist\. .*raw/SPEAKER/"):
        find_recordings(tmp_path / "raw", WAV)


def test_an_empty_or_flat_folder_says_how_it_must_look(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds nothing\. .*/SPEAKER/recording\.wav"):
        find_recordings(tmp_path, WAV)
    save(tmp_path / "x.wav", tone(0.5, 300))
    with pytest.raises(DatasetError, match="holds 1 files, but no folder"):
        find_recordings(tmp_path, WAV)


def test_folders_without_sounds_say_what_is_in_them(tmp_path: Path) -> None:
    (tmp_path / "alice").mkdir()
    with pytest.raises(DatasetError, match=r"No speaker's folder in .* holds a sound file. Put"):
        find_recordings(tmp_path, WAV)
    (tmp_path / "alice" / "x.txt").touch()
    with pytest.raises(DatasetError, match=r"x\.txt: not a sound file, by its name; 1 such"):
        find_recordings(tmp_path, WAV)


def test_a_speaker_whose_name_fits_no_list_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a\nb" / "x.wav", tone(0.5, 300))
    with pytest.raises(DatasetError, match=r"a\\nb' has a name that cannot be kept") as caught:
        find_recordings(tmp_path, WAV)
    assert "\n" not in str(caught.value)


def test_what_belongs_to_a_clip_is_no_stray_file(tmp_path: Path) -> None:
    for name in ("x.wav", "x.wav.features.safetensors", "x.wav.data.pt", "x.spec.pt", "notes.txt"):
        path = tmp_path / "a" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "a" / "inner").mkdir()
    found = find_clips(tmp_path)
    assert [clip.path.name for clip in found.recordings] == ["x.wav"]
    assert set(reasons(found.skipped)) == {"notes.txt", "inner"}
    (tmp_path / "a" / "x.wav").unlink()
    with pytest.raises(DatasetError, match=r"holds a wav file.*svc pre-resample"):
        find_clips(tmp_path)
