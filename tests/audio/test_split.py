"""Pieces cover what sounds, and joined pieces have neither seam nor hole."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from sovits.audio.io import AudioReader, write
from sovits.audio.split import Joiner, Piece, crossfade, find_pieces, frame_levels
from sovits.errors import AudioError

LEVELS = st.lists(st.sampled_from([-200.0, -80.0, -61.0, -59.0, -30.0, -3.0]), max_size=120)


def pieces_of(
    levels: list[float], hop: int, total: int, longest: float, margin: float
) -> list[Piece]:
    return find_pieces(
        np.array(levels, np.float32),
        hop=hop,
        total=total,
        silence_db=-60.0,
        silence_seconds=0.3,
        max_seconds=longest,
        sample_rate=1000,
        margin_seconds=margin,
    )


@given(LEVELS, st.integers(1, 50), st.integers(0, 49), st.floats(0.05, 3), st.floats(0, 0.3))
def test_pieces_cover_all_sound_in_order_and_are_short(
    levels: list[float], hop: int, missing: int, longest: float, margin: float
) -> None:
    total = max(0, len(levels) * hop - min(missing, hop - 1))
    pieces = pieces_of(levels, hop, total, longest, margin)
    covered = np.zeros(total, bool)
    for piece in pieces:
        assert 0 <= piece.start < piece.stop <= total
        assert piece.stop - piece.start <= max(1, int(longest * 1000))
        covered[piece.start : piece.stop] = True
    for before, after in pairwise(pieces):
        assert before.stop <= after.start
    loud = np.repeat(np.array(levels) > -60.0, hop)[:total] if levels else np.zeros(0, bool)
    if not loud.any():
        assert not pieces
        return
    edge = round(margin * 1000)
    around = np.convolve(loud, np.ones(2 * edge + 1), mode="full")[edge : edge + total] > 0.5
    assert covered[around].all()


@given(LEVELS, st.integers(1, 50))
def test_what_lies_between_pieces_is_a_long_silence(levels: list[float], hop: int) -> None:
    total = len(levels) * hop
    pieces = pieces_of(levels, hop, total, 1e6, 0.1)
    loud = np.repeat(np.array(levels) > -60.0, hop) if levels else np.zeros(0, bool)
    for before, after in pairwise(pieces):
        assert not loud[before.stop : after.start].any()
        assert after.start - before.stop + 2 * 100 >= 300


def test_a_short_pause_is_no_silence() -> None:
    levels = [-10.0] * 50 + [-90.0] * 29 + [-10.0] * 50
    assert pieces_of(levels, 10, 1290, 60, 0.05) == [Piece(0, 1290)]
    levels = [-10.0] * 50 + [-90.0] * 30 + [-10.0] * 50
    assert pieces_of(levels, 10, 1300, 60, 0.05) == [Piece(0, 550), Piece(750, 1300)]


def test_breaths_and_tails_around_sound_survive() -> None:
    levels = [-90.0] * 100 + [-10.0] * 10 + [-90.0] * 100
    assert pieces_of(levels, 10, 2100, 60, 0.2) == [Piece(800, 1300)]


@given(st.integers(60, 98))
def test_a_long_piece_is_cut_where_it_is_quietest(quiet: int) -> None:
    levels = [-10.0] * 200
    levels[quiet], levels[30] = -40.0, -50.0  # the second is too early to be a good cut
    first, second, *_ = pieces_of(levels, 10, 2000, 1.0, 0.2)
    assert first == Piece(0, 10 * quiet + 5)
    assert second.start == first.stop


def test_no_crumb_is_left_over() -> None:
    levels = [-10.0 - frame / 10 for frame in range(101)]  # quietest at the end
    pieces = pieces_of(levels, 10, 1010, 1.0, 0.0)
    assert min(piece.stop - piece.start for piece in pieces) >= 200


def test_silence_has_no_pieces() -> None:
    assert pieces_of([-200.0] * 100, 10, 1000, 1.0, 0.2) == []
    assert pieces_of([], 10, 0, 1.0, 0.2) == []


def test_levels_are_those_of_a_sine(tmp_path: Path) -> None:
    loud = 0.5 * torch.sin(2 * math.pi * 100 * torch.arange(8000) / 8000)
    wave = torch.stack([torch.zeros(16_050), torch.cat([loud, torch.zeros(8000), loud[:50]])])
    levels = frame_levels(wave, 80)
    assert levels.shape == (201,)
    assert levels[:100] == pytest.approx(20 * math.log10(0.5 / math.sqrt(2)), abs=1e-3)
    assert (levels[100:200] == -200.0).all()
    assert levels[200] > -10.0
    write(tmp_path / "a.wav", wave, 8000, subtype="FLOAT")
    with AudioReader(tmp_path / "a.wav") as reader:
        assert np.array_equal(frame_levels(reader, 80), levels)
    assert np.array_equal(frame_levels(wave[1], 80), levels)
    assert frame_levels(torch.zeros(1, 0), 80).shape == (0,)
    assert frame_levels(0.5 * torch.ones(2, 30), 80) == pytest.approx([20 * np.log10(0.5)])


def joined(
    pieces: list[tuple[int, torch.Tensor]], total: int, fade: int, channels: int
) -> torch.Tensor:
    """Return what a joiner writes of `pieces`."""
    written: list[torch.Tensor] = []
    joiner = Joiner(total, fade, lambda wave: written.append(wave.clone()), channels=channels)
    for start, wave in pieces:
        joiner.add(start, wave)
    joiner.finish()
    return torch.cat([torch.zeros(channels, 0), *written], dim=1)


@given(
    cuts=st.lists(st.integers(1, 3999), max_size=8, unique=True),
    fade=st.integers(0, 400),
    channels=st.integers(1, 2),
)
def test_overlapping_cuts_of_a_wave_join_to_that_wave(
    cuts: list[int], fade: int, channels: int
) -> None:
    wave = torch.randn(channels, 4000)
    edges = [0, *sorted(cuts), 4000]
    pieces = []
    for start, stop in pairwise(edges):
        padded_start, padded_stop = start - fade // 2, stop + fade - fade // 2
        padded = torch.nn.functional.pad(wave, (400, 400))
        pieces.append((padded_start, padded[:, padded_start + 400 : padded_stop + 400]))
    whole = joined(pieces, 4000, fade, channels)
    torch.testing.assert_close(whole, wave, atol=1e-6, rtol=1e-5)


@given(
    spans=st.lists(st.tuples(st.integers(-300, 2000), st.integers(0, 800)), max_size=6),
    total=st.integers(0, 2000),
    fade=st.integers(0, 200),
)
def test_the_total_is_exact_whatever_the_pieces(
    spans: list[tuple[int, int]], total: int, fade: int
) -> None:
    ordered = sorted((start, start + length) for start, length in spans)
    clipped = [(max(0, a), min(b, total)) for a, b in ordered]
    assume([b for _, b in clipped] == sorted(b for _, b in clipped))
    pieces = [(a, torch.rand(2, b - a) - 0.5) for a, b in ordered]
    whole = joined(pieces, total, fade, 2)
    assert whole.shape == (2, total)
    heard = torch.zeros(total, dtype=torch.bool)
    for a, b in clipped:
        heard[a:b] = True
    assert not whole[:, ~heard].any()


def test_pieces_of_the_whole_path_join_without_a_seam() -> None:
    """Cut a hummed tone as a converter would, and put it back together."""
    time = torch.arange(40_000) / 1000
    wave = (torch.sin(2 * math.pi * 110 * time) * (1 + torch.sin(0.9 * time)) / 2)[None]
    levels = frame_levels(wave, 20)
    pieces = find_pieces(
        levels, hop=20, total=40_000, silence_db=-60, silence_seconds=0.3, max_seconds=5,
        sample_rate=1000,
    )  # fmt: skip
    assert len(pieces) > 7
    cut = [(max(0, a - 10), wave[:, max(0, a - 10) : b + 10]) for a, b in pieces]
    torch.testing.assert_close(joined(cut, 40_000, 20, 1), wave, atol=1e-6, rtol=1e-5)


def test_a_gap_is_silent_and_its_edges_are_smooth() -> None:
    ones = torch.ones(1, 1000)
    whole = joined([(0, ones), (3000, ones), (6000, ones)], 7000, 100, 1)[0]
    assert not whole[1000:3000].any()
    assert not whole[4000:6000].any()
    assert (whole.diff().abs() < math.pi / 2 / 100 * 1.1).all()
    assert whole[0] == whole[-1] == 1.0
    assert (whole[3100:3900] == 1.0).all()


@pytest.mark.parametrize("alike", [0.0, 0.3, 0.7, 1.0])
def test_a_crossfade_keeps_the_power(alike: float) -> None:
    first, other = torch.randn(2, 1, 200_000)
    second = alike * first + math.sqrt(1 - alike**2) * other
    power = crossfade(first, second).square().reshape(20, -1).mean(1)
    torch.testing.assert_close(power, torch.ones(20), atol=0.05, rtol=0)


def test_a_crossfade_of_opposites_is_not_made_louder() -> None:
    wave = torch.randn(2, 1000)
    mixed = crossfade(wave, -wave)
    assert mixed.isfinite().all()
    assert (mixed.abs() <= wave.abs()).all()
    assert mixed[:, 490:510].abs().max() < 0.1
    assert not crossfade(torch.zeros(1, 50), torch.zeros(1, 50)).any()
    assert crossfade(torch.zeros(1, 0), torch.zeros(1, 0)).shape == (1, 0)


def test_pieces_out_of_order_are_refused() -> None:
    joiner = Joiner(1000, 10, lambda wave: None)
    joiner.add(500, torch.ones(1, 100))
    with pytest.raises(AudioError, match="Join pieces in the order"):
        joiner.add(400, torch.ones(1, 300))
    with pytest.raises(AudioError, match="samples 550 to 560, but"):
        joiner.add(550, torch.ones(1, 10))


def test_hours_of_silence_are_written_in_blocks() -> None:
    sizes: list[int] = []
    joiner = Joiner(10_000_000, 10, lambda wave: sizes.append(wave.shape[1]), channels=2)
    joiner.add(9_000_000, torch.ones(2, 100))
    joiner.finish()
    assert sum(sizes) == 10_000_000
    assert max(sizes) <= 1 << 18
