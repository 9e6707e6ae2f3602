"""A separation loses nothing, has no seams, and hears any kind of sound."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sovits.audio.io import read, write
from sovits.errors import AudioError
from sovits.separation.separate import separate, separate_file
from sovits.separation.windows import OVERLAP, voice_of

SAMPLE_RATE = 8_000


class Threshold:
    """Stand in for a network: a bin is voice where it lies below `edge` Hz, or as it is told."""

    sample_rate, window, hop, frames = SAMPLE_RATE, 256, 64, 192

    def __init__(self, edge: float = 1_000.0, constant: float | None = None) -> None:
        self.edge, self.constant, self.heard = edge, constant, 0

    def share(self, spectrum: Tensor) -> Tensor:
        self.heard += 1
        assert spectrum.shape[1:] == (self.window // 2 + 1, self.frames)
        if self.constant is not None:
            return torch.full(spectrum.shape, self.constant)
        bins = torch.arange(spectrum.shape[1]) * self.sample_rate / self.window
        return (bins < self.edge).float()[:, None].expand(spectrum.shape).clone()


def tone(hertz: float, samples: int, rate: int = SAMPLE_RATE) -> Tensor:
    return 0.3 * torch.sin(2 * torch.pi * hertz * torch.arange(samples) / rate)


@pytest.mark.parametrize("samples", [1, 63, 1_000, 12_288, 50_001])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_stems_sum_to_the_mix(samples: int, channels: int) -> None:
    wave = torch.rand(channels, samples) - 0.5
    vocals, rest = separate(wave, SAMPLE_RATE, Threshold())
    assert vocals.shape == rest.shape == wave.shape
    torch.testing.assert_close(vocals + rest, wave, atol=1e-6, rtol=0)


def test_a_share_of_one_is_the_mix_itself_to_its_ends() -> None:
    wave = torch.rand(2, 30_000) - 0.5
    vocals, _ = separate(wave, SAMPLE_RATE, Threshold(constant=1.0))
    torch.testing.assert_close(vocals, wave, atol=1e-5, rtol=0)


def test_windows_that_disagree_are_joined_without_a_step() -> None:
    class Alternating(Threshold):
        def share(self, spectrum: Tensor) -> Tensor:
            self.constant = float(self.heard % 2)
            return super().share(spectrum)

    wave = tone(1_000, 60_000)[None]
    vocals, _ = separate(wave, SAMPLE_RATE, Alternating())
    assert vocals.abs().max() > 0.29
    # A jump of a share would be a jump of the wave: it moves no faster than the tone does.
    steps = vocals.diff().abs().max()
    assert steps < 1.05 * wave.diff().abs().max()


def test_what_a_share_takes_keeps_its_phase() -> None:
    low, high = tone(300, 40_000), tone(2_500, 40_000)
    vocals, rest = separate((low + high)[None], SAMPLE_RATE, Threshold())
    inner = slice(500, -500)
    torch.testing.assert_close(vocals[0, inner], low[inner], atol=2e-3, rtol=0)
    torch.testing.assert_close(rest[0, inner], high[inner], atol=2e-3, rtol=0)


@pytest.mark.parametrize("rate", [4_000, 8_000, 11_025, 48_000])
def test_any_rate_comes_back_at_its_own_length(rate: int) -> None:
    samples = 2 * rate + 17
    wave = (tone(300, samples, rate) + tone(1_500, samples, rate)).expand(2, -1)
    vocals, rest = separate(wave, rate, Threshold())
    assert vocals.shape == wave.shape
    torch.testing.assert_close(vocals + rest, wave, atol=1e-6, rtol=0)
    inner = slice(rate // 5, -(rate // 5))
    low = tone(300, samples, rate)[inner]
    torch.testing.assert_close(vocals[0, inner], low, atol=1e-2, rtol=0)


def test_a_sound_is_heard_once_from_front_to_back() -> None:
    asked: list[tuple[int, int]] = []

    def hear(start: int, stop: int) -> Tensor:
        asked.append((start, stop))
        return torch.zeros(1, stop - start)

    total = 100 * 64 * 10
    parts = list(voice_of(Threshold(), hear, total, 1))
    assert sum(part.shape[-1] for part in parts) == total
    hops = [b[0] - a[0] for a, b in pairwise(asked)]
    assert set(hops) == {(Threshold.frames - OVERLAP) * Threshold.hop}


def test_a_file_becomes_files_of_its_length_rate_and_channels(tmp_path: Path) -> None:
    song = tmp_path / ("非常に長い" * 16 + ".wav")
    wave = 1.6 * (torch.rand(2, 20_000) - 0.5)
    write(song, wave, 11_025, subtype="FLOAT")
    stems = {name: tmp_path / f"{name}.wav" for name in ("vocals", "accompaniment")}
    shares: list[float] = []
    separate_file(song, stems, Threshold(), on_progress=shares.append)
    vocals, rate = read(stems["vocals"])
    rest, _ = read(stems["accompaniment"])
    assert rate == 11_025
    torch.testing.assert_close(vocals + rest, wave, atol=1e-6, rtol=0)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_damaged_song_leaves_no_stem(tmp_path: Path) -> None:
    song = tmp_path / "song.wav"
    write(song, torch.zeros(1, 8_000), SAMPLE_RATE)
    song.write_bytes(song.read_bytes()[:9_000])
    with pytest.raises(AudioError, match="cut short"):
        separate_file(song, {"vocals": tmp_path / "vocals.wav"}, Threshold())
    assert [path.name for path in tmp_path.iterdir()] == ["song.wav"]
