"""A remix is the sum of its parts, as loud as the song, and never above -1 dBTP."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from sovits.audio.io import AudioReader, read, write
from sovits.remix import CEILING_DB, Master, Part, limit, measure, remix

RATE = 16_000


def mixed(folder: Path, waves: list[torch.Tensor], song: torch.Tensor) -> tuple[Master, Path]:
    write(folder / "song.wav", song, RATE, subtype="FLOAT")
    with ExitStack() as stack:
        parts = []
        for i, wave in enumerate(waves):
            write(folder / f"{i}.wav", wave, RATE, subtype="FLOAT")
            parts.append(Part(stack.enter_context(AudioReader(folder / f"{i}.wav"))))
        return remix(parts, folder / "song.wav", folder / "out.wav"), folder / "out.wav"


def test_what_fits_is_the_sum_and_nothing_else(tmp_path: Path) -> None:
    a, b = 0.1 * torch.randn(2, 12 * RATE), 0.05 * torch.randn(2, 12 * RATE)
    master, out = mixed(tmp_path, [a, b], a + b)
    assert (master.gain_db, master.limited_db) == (0.0, 0.0)
    torch.testing.assert_close(read(out)[0], a + b, atol=1e-6, rtol=0)


def test_it_is_as_loud_as_the_song_and_its_peaks_are_below_the_ceiling(tmp_path: Path) -> None:
    song = 0.1 * torch.randn(2, 12 * RATE)
    song[:, 1_000::20_000] = 1.5
    master, out = mixed(tmp_path, [song / 3], song)
    result = measure(out)
    assert master.gain_db == pytest.approx(9.54, abs=0.05)
    assert master.limited_db > 1
    assert result.peak_db <= CEILING_DB
    assert result.lufs == pytest.approx(master.lufs, abs=0.5)


def test_a_silent_song_stays_silent(tmp_path: Path) -> None:
    silence = torch.zeros(1, RATE)
    master, out = mixed(tmp_path, [silence], silence)
    assert master.gain_db == 0.0
    assert not read(out)[0].any()


def test_a_limiter_leaves_what_is_low_and_keeps_the_image() -> None:
    wave = 0.1 * torch.ones(2, RATE)
    wave[0, 8_000] = 2.0
    limited = limit(wave, RATE)
    torch.testing.assert_close(limited[:, :7_000], wave[:, :7_000])
    torch.testing.assert_close(limited[:, 9_000:], wave[:, 9_000:])
    torch.testing.assert_close(limited[0] / wave[0], limited[1] / wave[1])
    assert (limited / wave).min() < 0.5
