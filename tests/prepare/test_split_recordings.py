"""Long recordings become pieces of 10 to 15 s that are cut in pauses and lose nothing."""

from __future__ import annotations

import errno
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_sounds import save, tone

from sovits.audio import io
from sovits.cli import main
from sovits.errors import OutputError
from sovits.prepare.split import (
    LONGEST_NAME,
    SplitOptions,
    Stretch,
    find_parts,
    piece_path,
    split_recordings,
)

RATE = 8_000
OPTIONS = SplitOptions(sample_rate=RATE)


def speech(words: list[float], pauses: list[float]) -> torch.Tensor:
    """Return words (tones of so many seconds) with a pause after each, over a soft hiss."""
    parts = []
    for i, (word, pause) in enumerate(zip(words, pauses, strict=True)):
        parts += [tone(word, 150 + 40 * (i % 5), RATE), torch.zeros(round(pause * RATE))]
    joined = torch.cat(parts)
    return joined + 1e-4 * torch.randn(len(joined))


def levels_of(words: list[float], pauses: list[float]) -> np.ndarray:
    """Return the same as levels, every 10 ms."""
    frames = [
        np.repeat([-20.0, -70.0], [round(100 * word), round(100 * pause)])
        for word, pause in zip(words, pauses, strict=True)
    ]
    return np.concatenate(frames).astype(np.float32)


@given(st.lists(st.tuples(st.floats(0.2, 4), st.floats(0.35, 1)), min_size=1, max_size=40))
def test_pieces_tile_the_recording_and_words_stay_whole(spoken: list[tuple[float, float]]) -> None:
    words, pauses = (list(values) for values in zip(*spoken, strict=True))
    levels = levels_of(words, pauses)
    seconds = len(levels) / 100
    parts = find_parts(levels, 0.01, seconds, SplitOptions())
    assert (parts[0].start, parts[-1].stop) == (0.0, seconds)
    for before, after in pairwise(parts):
        assert before.stop == after.start
        assert levels[int(after.start * 100)] == -70
    lengths = [part.stop - part.start for part in parts]
    assert max(lengths) <= 15.0 + 1e-6
    if seconds > 60:
        assert np.mean(lengths) > 9


def test_what_has_no_pause_is_cut_where_it_is_quietest() -> None:
    levels = np.full(2_000, -20, np.float32)
    levels[1_234:1_240] = -26  # not below the threshold, and no pause
    first, second = find_parts(levels, 0.01, 20.0, SplitOptions(min_seconds=7))
    assert 12.33 < first.stop < 12.41
    assert second.stop == 20.0


def test_silences_can_be_left_out_and_short_ones_stay() -> None:
    levels = levels_of([3, 3, 4, 5], [0.8, 20, 0.8, 30])
    [first, *rest] = find_parts(levels, 0.01, len(levels) / 100, SplitOptions(drop_silence=True))
    stretches = [stretch for part in (first, *rest) for stretch in part.stretches]
    kept = sum(stop - start for start, stop in stretches)
    assert kept == pytest.approx(3 + 0.8 + 3 + 4 + 0.8 + 5 + 3 * 0.25, abs=0.05)
    assert first.stretches[0] == pytest.approx(Stretch(0.0, 7.05))
    assert find_parts(np.full(500, -90, np.float32), 0.01, 5, SplitOptions(drop_silence=True)) == []
    assert find_parts(np.zeros(0, np.float32), 0.01, 0, SplitOptions()) == []


def test_joined_they_are_the_recording_and_their_names_tell_when(tmp_path: Path) -> None:
    torch.manual_seed(3)
    wave = speech([1.5, 2.5, 0.7, 3.0] * 6, [0.5, 0.4, 0.9, 0.6] * 6)
    save(tmp_path / "raw/声/ein langes Gespräch.wav", wave, sample_rate=RATE)
    report = split_recordings(tmp_path / "raw", tmp_path / "out", OPTIONS, n_jobs=1)
    joined, at = [], 0.0
    for path in sorted(report.made):
        assert path.parent == tmp_path / "out/声"
        start, stop = (float(second) for second in path.stem.split("_")[-2:])
        assert start == pytest.approx(at, abs=0.001)
        piece, _ = soundfile.read(path, dtype="float32")
        joined.append(piece)
        at = stop
    assert at == pytest.approx(len(wave) / RATE, abs=0.001)
    np.testing.assert_allclose(np.concatenate(joined), wave.numpy(), atol=1e-4)
    again = split_recordings(tmp_path / "raw", tmp_path / "out", OPTIONS, n_jobs=1)
    assert again.made == report.made


def test_another_rate_and_channels_lose_no_sample(tmp_path: Path) -> None:
    wave = speech([3.0, 4.0, 5.0, 6.0], [0.5] * 4)
    save(tmp_path / "raw/stereo.wav", wave, 0.5 * wave, sample_rate=RATE)
    options = SplitOptions(sample_rate=22_050)
    report = split_recordings(tmp_path / "raw", tmp_path / "out", options, n_jobs=1)
    found = [soundfile.info(path) for path in report.made]
    assert {info.channels for info in found} == {1}
    assert sum(info.frames for info in found) == round(len(wave) * 22_050 / RATE)


def test_damaged_files_are_named_and_the_rest_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "raw"
    save(raw / "a/1.wav", tone(2, 200))
    (raw / "a/2.wav").write_bytes(b"RIFF\0\0\0\0WAVEnothing")
    save(raw / "a/3.wav", tone(2, 200))
    (raw / "a/notes.txt").write_text("x")
    argv = ["pre-split", "-i", str(raw), "-o", str(tmp_path / "out"), "-n", "1", "-l", "10"]
    assert main(argv) == 1
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'out'}\n"
    assert "2.wav" in err
    assert "notes.txt" in err
    assert "2 pieces made" in err
    assert len(list((tmp_path / "out/a").iterdir())) == 2
    (raw / "a/2.wav").unlink()
    assert main(argv) == 0


def test_nothing_to_cut_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.txt").write_text("x")
    for folder, said in (
        (tmp_path / "nowhere", "does not exist. Name the folder"),
        (tmp_path / "x.txt", "is not a folder. Name the folder"),
        (tmp_path, "holds 1 files, but no sound"),
    ):
        assert main(["pre-split", "-i", str(folder), "-o", str(tmp_path / "out")]) == 1
        assert said in capsys.readouterr().err
    assert main(["pre-split", "-l", "0.5"]) == 1
    assert "--max-length is 0.5, but must be between" in capsys.readouterr().err


def test_a_full_disk_ends_it_and_leaves_no_half_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "raw/long.wav", speech([3.0] * 12, [0.5] * 12), sample_rate=RATE)
    written = 0

    def full(self: io.AudioWriter, wave: torch.Tensor) -> None:
        nonlocal written
        written += wave.shape[-1]
        if written > 25 * RATE:
            raise self._refused(OSError(errno.ENOSPC, "No space left on device"))
        plain(self, wave)

    plain = io.AudioWriter.write
    monkeypatch.setattr(io.AudioWriter, "write", full)
    with pytest.raises(OutputError, match="full"):
        split_recordings(tmp_path / "raw", tmp_path / "out", OPTIONS, n_jobs=1)
    assert written > 25 * RATE
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_long_names_are_cut_and_stay_apart(tmp_path: Path) -> None:
    a, b = (piece_path(tmp_path / ("語" * 80 + end), _part(0, 9.5)) for end in "ab")
    assert a != b
    assert all(len(os.fsencode(path.name)) <= LONGEST_NAME for path in (a, b))
    assert a.name.endswith("_0000.000_0009.500.wav")
    assert not {"\n", "\x1b"} & set(piece_path(Path("a\n\x1b"), _part(0, 1)).name)


def test_files_that_differ_by_suffix_alone_stay_apart(tmp_path: Path) -> None:
    for suffix in ("wav", "flac"):
        save(tmp_path / f"raw/song.{suffix}", tone(1, 200))
    made = split_recordings(tmp_path / "raw", tmp_path / "out", OPTIONS, n_jobs=1).made
    assert len(set(made)) == 2


def _part(start: float, stop: float):  # type: ignore[no-untyped-def]
    [part] = find_parts(np.full(round(100 * stop), -20.0, np.float32), 0.01, stop, SplitOptions())
    return part
