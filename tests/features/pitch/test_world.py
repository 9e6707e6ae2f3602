from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from sung import medley

from sovits.features.pitch import world

pytestmark = pytest.mark.skipif(
    find_spec("pyworld") is None,
    reason="pyworld is not installed",
)


@pytest.mark.parametrize("load", [world.load_harvest, world.load_dio])
def test_where_blocks_meet_can_hardly_be_told(
    load: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = load()  # type: ignore[operator]
    sound = medley().repeat(2)
    whole = extractor.track(sound, 16_000).f0
    monkeypatch.setattr(world, "BLOCK", 300)
    parts = extractor.track(sound, 16_000).f0
    assert whole.shape == parts.shape
    same = torch.isclose(whole, parts, rtol=0.003)
    assert same.float().mean() > 0.98


def test_the_tracks_of_both_have_an_entry_every_five_milliseconds() -> None:
    assert len(world.load_harvest().track(medley(), 16_000).f0) == 201
    track = world.load_dio().track(medley(), 16_000)
    assert track.start == pytest.approx(0.005)
    assert len(track.f0) == 199
