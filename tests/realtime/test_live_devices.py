"""Devices that drift, go away, come late or send nonsense, on a clock that the test drives."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from stand_ins import steady, whistler

from sovits.errors import LiveError
from sovits.realtime.device import choose_device
from sovits.realtime.ring import FADE, InputRing, OutputRing
from sovits.realtime.session import Devices, LiveSession
from sovits.realtime.settings import LiveSettings
from sovits.realtime.stream import LiveConverter
from sovits.realtime.virtual import VirtualCard, VirtualDevice
from sovits.types import Wave

BLOCK = 0.02


@pytest.fixture(autouse=True)
def _known_pitch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sovits.realtime.cores.load_pitch_extractor", steady())
    monkeypatch.setattr("sovits.realtime.pitch.load_pitch_extractor", steady())


class Late(LiveConverter):
    """Hands out what it hears, `late` samples later, and takes a time for it."""

    def __init__(self, rate: int, late: int = 4_000) -> None:
        super().__init__(whistler(), rate, settings=LiveSettings(gate_db=-200.0))
        self.held, self.latency = torch.zeros(late), late
        self.spend: Callable[[], None] = lambda: None

    def push(self, wave: Wave) -> Wave:
        self.spend()
        self.held = torch.cat([self.held, wave])
        out, self.held = self.held[: len(wave)], self.held[len(wave) :]
        return out

    def skip(self, samples: int) -> Wave:
        return self.push(torch.zeros(samples))


def pulses(rate: int, seconds: float = 0.25) -> Callable[[int, int], Any]:
    """Return a sound that is 0.5 for a sample, every so often."""
    period = round(rate * seconds)

    def sound(first: int, count: int) -> Any:
        place = (np.arange(first, first + count) + period // 2) % period
        return (0.5 * (place == 0)).astype(np.float32)

    return sound


def made(
    rate: int = 48_000, out_rate: int = 48_000, *, drift: float = 0.0, one: bool = True, **more: Any
) -> tuple[VirtualCard, LiveSession, VirtualDevice]:
    """Return a card, a session that has begun, and the loudspeaker."""
    if one:
        both = VirtualDevice("card", rate, inputs=1, outputs=2, sound=pulses(rate))
        card, speaker = VirtualCard(both), both
    else:
        microphone = VirtualDevice("microphone", rate, inputs=1, sound=pulses(rate))
        speaker = VirtualDevice("speaker", out_rate, 300, outputs=2, drift=drift)
        card = VirtualCard(microphone, speaker)
    session = LiveSession(Late, card, Devices(), BLOCK, clock=card.clock, **more)
    session.open()
    return card, session, speaker


def delays(played: Any, rate: int, seconds: float = 0.25) -> list[int]:
    """Return how much later than it was heard each pulse was played, in samples."""
    period = round(rate * seconds)
    places = np.flatnonzero(np.abs(played) > 0.2)
    return [int(place - period // 2) % period for place in places]


def test_the_latency_is_constant_to_the_sample() -> None:
    card, session, speaker = made()
    card.drive(session, 20.0)
    heard = delays(speaker.all_played(), 48_000)
    assert len(heard) > 75
    assert max(heard) == min(heard)
    status = session.status()
    assert (status.misses, status.losses) == (0, 0)
    # What is stated holds, to the two blocks of the device between which a block may end.
    stated = status.latency * 48_000 % 12_000
    assert abs(heard[0] - stated) <= 2 * 256


@pytest.mark.parametrize("out_rate", [44_100, 96_000])
def test_two_devices_may_have_two_rates(out_rate: int) -> None:
    card, session, speaker = made(out_rate=out_rate, one=False)
    card.drive(session, 8.0)
    heard = delays(speaker.all_played(), out_rate)
    assert len(heard) > 25
    assert max(heard) - min(heard) <= out_rate / 5000
    assert session.misses == 0


@pytest.mark.parametrize("drift", [3e-4, -3e-4])
def test_a_clock_that_drifts_is_followed(drift: float) -> None:
    card, session, _ = made(drift=drift, one=False)
    card.drive(session, 60.0)
    player = session.players[0]
    assert player.speed == pytest.approx(1 / (1 + drift), abs=5e-5)
    assert abs(player._fill - player._target) < 0.004 * 48_000
    assert session.misses == 0
    assert player.ring.missing < 48_000 // 2


def test_late_blocks_are_left_out_and_later_ones_are_in_time() -> None:
    card, session, speaker = made()
    card.drive(session, 3.0)
    before = delays(speaker.all_played(), 48_000)
    spent = iter([0.05, 0.3, 0.03])
    session.converter.spend = lambda: card.advance(next(spent, 0.0))
    card.drive(session, 5.0)
    after = delays(speaker.all_played(), 48_000)
    assert session.misses > 0
    assert set(before) == set(after)
    assert len(after) > len(before) + 12


def test_a_voice_that_is_always_too_slow_gets_no_later() -> None:
    card, session, speaker = made()
    session.converter.spend = lambda: card.advance(0.03)
    card.drive(session, 10.0)
    assert session.misses > 50
    assert session.ring.available < 6 * session.block
    played = speaker.all_played()
    assert float(np.abs(played).max()) <= 0.5
    session.converter.spend = lambda: None
    card.drive(session, 2.0)
    late = delays(speaker.all_played()[-48_000:], 48_000)
    assert len(set(late)) <= 1
    assert session.ring.available < 2 * session.block


def test_what_breaks_off_does_not_click() -> None:
    ring = OutputRing(4_000)
    ring.begin(0)
    wave = (0.5 * np.sin(np.arange(1000) * 0.05)).astype(np.float32)
    ring.put(wave)
    out = np.zeros((1500, 2), np.float32)
    ring.play(out)
    assert ring.missing == 500
    assert np.abs(np.diff(out[:, 0])).max() < 0.03
    assert ring.put(wave) == 500
    out = np.zeros((600, 2), np.float32)
    ring.play(out)
    assert np.abs(np.diff(out[:500, 0])).max() < 0.03
    assert (out[:, 0] == out[:, 1]).all()
    assert not out[500 + FADE :].any()


def test_rings_keep_what_was_written() -> None:
    one, rate = InputRing(1000, 2), np.arange(3000, dtype=np.float32)
    one.write(np.stack([rate[:700], rate[:700]], 1))
    assert one.take(600).tolist() == rate[:600].tolist()
    one.write(np.stack([rate[700:1400], rate[700:1400]], 1))
    assert one.available == 800
    assert one.take(800).tolist() == rate[600:1400].tolist()
    one.write(np.zeros((2500, 2), np.float32))
    one.drop(2500)
    assert one.available == 0


def test_devices_that_go_away_are_waited_for() -> None:
    card, session, speaker = made()
    chance = random.Random(1)
    for number in range(200):
        card.drive(session, chance.uniform(0.02, 0.3))
        speaker.plugged = False
        if number % 3:
            card.drive(session, chance.uniform(0.3, 1.5))
            assert session.losses == number + 1
            assert session.waiting or number % 3 == 2
        else:
            card.drive(session, 0.3)
        speaker.plugged = True
        card.drive(session, 1.5)
        assert session.waiting == ""
        assert session.losses == number + 1
        speaker.played.clear()
    card.drive(session, 3.0)
    assert len(delays(speaker.all_played(), 48_000)) > 9


def test_a_device_may_come_back_at_another_rate() -> None:
    card, session, speaker = made()
    card.drive(session, 1.0)
    speaker.plugged = False
    card.drive(session, 1.0)
    speaker.plugged, speaker.rate, speaker.sound = True, 44_100, pulses(44_100)
    speaker.played.clear()
    card.drive(session, 4.0)
    assert session.converter is not None
    assert session.converter.sample_rate == 44_100
    late = delays(speaker.all_played(), 44_100)
    assert len(late) >= 8
    assert len(set(late)) == 1


def test_a_worker_that_fails_is_told_of() -> None:
    card, session, _ = made()
    session.close()

    def fail() -> None:
        raise MemoryError

    thread_card = threading.Thread(target=lambda: [card.advance(0.02) for _ in range(200)])

    def tick() -> bool:
        if not thread_card.ident:
            session.converter.spend = fail
            thread_card.start()
        return True

    with pytest.raises(MemoryError):
        session.run(tick, every=0.01)
    thread_card.join()
    assert not card.streams


def test_a_device_that_falls_silent_is_gone() -> None:
    card, session, _ = made()
    card.drive(session, 1.0)
    card.streams[0].seconds = card.streams[-1].seconds = 5.0
    card.streams[0].due = card.streams[-1].due = card.time + 5.0
    card.drive(session, 3.5)
    assert session.losses == 1
    assert len(card.streams) == 2


def test_a_device_that_is_not_there_or_busy_is_named() -> None:
    card = VirtualCard(
        VirtualDevice("Microphone A", inputs=1),
        VirtualDevice("Microphone B", inputs=2),
        VirtualDevice("Speakers", outputs=2),
    )
    assert choose_device(card, "input", "1").name == "Microphone B"
    assert choose_device(card, "input", "phone a").name == "Microphone A"
    assert choose_device(card, "output", None).name == "Speakers"
    with pytest.raises(LiveError, match=r"no input device 'Speakers'. There are: Microphone A, "):
        choose_device(card, "input", "Speakers")
    with pytest.raises(LiveError, match="fits several input devices: Microphone A, Microphone B"):
        choose_device(card, "input", "micro")
    card.all[2].busy = True
    session = LiveSession(Late, card, Devices(), BLOCK, clock=card.clock)
    with pytest.raises(LiveError, match=r"Speakers.* cannot be opened at 48000 Hz"):
        session.open()
    assert not card.streams
    card.all[2].plugged = False
    with pytest.raises(LiveError, match=r"There is no output device. Plug one in"):
        choose_device(card, "output", None)


def test_what_is_played_is_recorded_and_monitored() -> None:
    parts: list[Any] = []
    both = VirtualDevice("card", inputs=1, outputs=2, sound=pulses(48_000))
    other = VirtualDevice("headphones", outputs=2)
    card = VirtualCard(both, other)
    session = LiveSession(
        Late,
        card,
        Devices(monitor="headphones"),
        BLOCK,
        record=lambda wave, rate: parts.append(wave),
        clock=card.clock,
    )
    session.open()
    card.drive(session, 3.0)
    session.tend()
    recorded = np.concatenate(parts)
    assert len(np.flatnonzero(recorded > 0.2)) >= 10
    assert len(recorded) % session.block == 0
    assert len(delays(other.all_played(), 48_000)) >= 8
    status = session.status()
    assert status.input_peak == status.output_peak == pytest.approx(0.5)


def test_an_hour_in_small_survives_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """What benchmarks/live.py does for an hour: changes, losses, nonsense and stalls."""
    from sovits.config import ConvertOptions

    voice, chance = whistler(), random.Random(5)

    def sound(first: int, count: int) -> Any:
        wave = 0.3 * np.sin((np.arange(first, first + count)) * 0.03).astype(np.float32)
        if chance.random() < 0.02:
            wave[:] = chance.choice([math.nan, math.inf, 1e30])
        return wave

    both = VirtualDevice("card", 24_000, 240, inputs=1, outputs=1, sound=sound)
    card = VirtualCard(both)
    session = LiveSession(
        lambda rate: LiveConverter(voice, rate, settings=LiveSettings(0.05)),
        card,
        Devices(),
        0.05,
        clock=card.clock,
    )
    session.open()
    for number in range(40):
        card.drive(session, 0.25)
        assert 0.0 <= session.status().input_peak < 0.4
        options = ConvertOptions(semitones=chance.randint(-12, 12), speaker=str(number % 5))
        session.ask(lambda live, options=options: live.change(options))
        if number % 10 == 9:
            both.plugged = False
            card.drive(session, 0.3)
            both.plugged = True
            card.drive(session, 1.2)
    played = both.all_played()
    status = session.status()
    assert np.isfinite(played).all()
    assert float(np.abs(played).max()) <= 0.96
    assert (status.losses, status.waiting) == (4, "")
    assert status.faults > 0
    assert float(np.abs(played[-12_000:]).max()) > 0.3
