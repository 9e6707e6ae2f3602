"""How fast a machine is and how late devices are, as measured where both are known."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from stand_ins import steady, whistler

from sovits.config import ConvertOptions
from sovits.errors import LiveError
from sovits.realtime.measure import BUDGET, chirp, choose_block, find_chirp, loop_delay
from sovits.realtime.settings import LiveSettings
from sovits.realtime.stream import LiveConverter
from sovits.realtime.virtual import VirtualCard, VirtualDevice
from sovits.realtime.virtual_mic import SOURCE, virtual_microphone


class Clock:
    """A machine on which a block takes `rest`, and `slope` for each second of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rest: float, slope: float) -> None:
        self.now = 0.0
        monkeypatch.setattr("sovits.realtime.cores.load_pitch_extractor", steady())

        def push(live: Any, wave: Any) -> Any:
            self.now += rest + slope * len(wave) / live.sample_rate
            return wave

        monkeypatch.setattr(LiveConverter, "push", push)

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("rest", "block"), [(0.02, 0.1), (0.08, 0.25), (0.4, 1.0)])
def test_the_shortest_block_that_holds_is_chosen(
    monkeypatch: pytest.MonkeyPatch, rest: float, block: float
) -> None:
    clock = Clock(monkeypatch, rest, 0.3)
    speed = choose_block(whistler(), 24_000, ConvertOptions(), LiveSettings(), clock=clock)
    assert speed.block == block
    assert speed.p99 == pytest.approx(rest + 0.3 * block)
    assert speed.p99 <= BUDGET * block


def test_a_voice_that_is_too_slow_says_what_would_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, 0.8, 0.3)
    with pytest.raises(LiveError, match=r"1250 ms\. Blocks of 2\.0 s would hold: -b 2\.0\."):
        choose_block(whistler(), 24_000, ConvertOptions(), LiveSettings(), clock=clock)
    clock = Clock(monkeypatch, 0.1, 1.3)
    with pytest.raises(LiveError, match=r"too slow for this machine: 1500 ms .* Close other"):
        choose_block(whistler(), 24_000, ConvertOptions(), LiveSettings(), clock=clock)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_chirp_is_found_to_the_sample(noise: float) -> None:
    rate, place = 48_000, 12_345
    heard = noise * np.random.default_rng(0).standard_normal(rate).astype(np.float32)
    heard[place : place + len(chirp(rate))] += 0.2 * chirp(rate)
    assert find_chirp(heard, rate) == place
    assert find_chirp(0.1 * np.random.default_rng(1).standard_normal(rate), rate) is None
    assert find_chirp(np.zeros(rate, np.float32), rate) is None


def looped(late: int, gain: float = 0.3) -> tuple[VirtualCard, Any, Any]:
    """Return a card whose microphone hears what was played `late` samples ago."""
    speaker = VirtualDevice("speaker", outputs=2)

    def sound(first: int, count: int) -> Any:
        played = speaker.all_played()
        heard = np.zeros(count, np.float32)
        begin = max(0, first - late)
        there = played[begin : max(0, first - late + count)]
        if len(there):
            heard[count - (first - late + count - begin) :][: len(there)] = gain * there
        return heard

    card = VirtualCard(VirtualDevice("microphone", inputs=1, sound=sound), speaker)
    one, other = card.devices()
    return card, one, other


def test_the_delay_of_devices_is_measured() -> None:
    card, one, other = looped(2000)
    delay = loop_delay(card, one, other, wait=card.advance)
    assert delay * 48_000 == pytest.approx(2000, abs=256)
    assert not card.streams


def test_a_microphone_that_hears_nothing_is_told_of() -> None:
    card, one, other = looped(2000, gain=0.0)
    with pytest.raises(LiveError, match="did not hear the loudspeaker"):
        loop_delay(card, one, other, wait=card.advance)


# The virtual microphone


def test_a_virtual_microphone_is_there_as_long_as_it_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[list[str]] = []

    def run(words: list[str], **_more: object) -> Any:
        said.append(words[1:3])
        return SimpleNamespace(returncode=0, stdout=f"{len(said)}\n", stderr="")

    monkeypatch.setenv("PULSE_SINK", "speakers")
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(subprocess, "run", run)
    with virtual_microphone() as source:
        assert source == SOURCE
        assert os.environ["PULSE_SINK"] == "sovits"
        assert said == [["load-module", "module-null-sink"], ["load-module", "module-remap-source"]]
    assert said[2:] == [["unload-module", "2"], ["unload-module", "1"]]
    assert os.environ["PULSE_SINK"] == "speakers"


def test_no_sound_server_is_told_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(LiveError, match="needs pactl"), virtual_microphone():
        pass
    refusing = tmp_path / "pactl"
    refusing.write_text("#!/bin/sh\necho Connection refused >&2; exit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda name: str(refusing))
    with (
        pytest.raises(LiveError, match=r"no virtual microphone \('Connection refused'\)"),
        virtual_microphone(),
    ):
        pass
