"""A room that is planted is found again, and given to a voice without one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sovits.audio.io import AudioReader, read, write
from sovits.reverb import Room, missing_room, reverberate

RATE = 16_000


@pytest.fixture
def dry(tmp_path: Path) -> Path:
    """Return phrases of noise that end at once, with pauses between them."""
    wave = torch.zeros(1, 20 * RATE)
    for start in range(0, 20, 2):
        begin = start * RATE
        wave[:, begin : begin + RATE // 2] = 0.2 * torch.randn(1, RATE // 2)
    write(tmp_path / "dry.wav", wave, RATE)
    return tmp_path / "dry.wav"


def in_room(dry: Path, room: Room | None, gain: float = 1.0) -> Path:
    path = dry.with_name("wet.wav")
    parts: list[torch.Tensor] = []
    with AudioReader(dry) as reader:
        reverberate(reader, room, parts.append, gain=gain)
        assert sum(part.shape[-1] for part in parts) == reader.frames
    write(path, torch.cat(parts, -1), RATE)
    return path


@pytest.mark.parametrize("planted", [Room(0.5, 0.3), Room(1.2, 0.15)])
def test_a_planted_room_is_found(dry: Path, planted: Room) -> None:
    with AudioReader(in_room(dry, planted)) as wet, AudioReader(dry) as reader:
        found = missing_room(wet, reader)
    assert found is not None
    assert found.seconds == pytest.approx(planted.seconds, rel=0.25)
    assert found.wet == pytest.approx(planted.wet, rel=0.4)


def test_nothing_is_added_where_nothing_is_missing(dry: Path) -> None:
    with AudioReader(dry) as a, AudioReader(dry) as b:
        assert missing_room(a, b) is None


def test_no_phrase_tells_no_room(tmp_path: Path) -> None:
    write(tmp_path / "noise.wav", 0.1 * torch.randn(1, RATE), RATE)
    with AudioReader(tmp_path / "noise.wav") as a, AudioReader(tmp_path / "noise.wav") as b:
        assert missing_room(a, b) is None


def test_without_a_room_a_sound_is_only_raised(dry: Path) -> None:
    wave, raised = read(dry)[0], read(in_room(dry, None, 0.5))[0]
    torch.testing.assert_close(raised, wave / 2, atol=1e-6, rtol=0)


def test_blocks_of_a_long_sound_join(dry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(in_room(dry, Room(0.4, 0.2)))[0]
    monkeypatch.setattr("sovits.reverb.BLOCK_SECONDS", 0.7)
    torch.testing.assert_close(read(in_room(dry, Room(0.4, 0.2)))[0], whole, atol=1e-5, rtol=0)
