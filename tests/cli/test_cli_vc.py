"""svc vc: what it shows, which keys it knows, and that it runs between devices."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from rich.console import Console
from stand_ins import steady, whistler

from sovits.cli import live_view, main
from sovits.cli.live_view import Controls, line, panel
from sovits.realtime.measure import Speed
from sovits.realtime.session import Status
from sovits.realtime.virtual import VirtualCard, VirtualDevice

STATUS = Status("", 0.5, 0.25, 0.011, 0.017, 0.0465, 2, 1, 0, 0.135, 0.084, 0.021)


def test_a_line_tells_all() -> None:
    assert line(STATUS, Controls(-3.0)) == (
        "in -6 dB, out -12 dB, latency 240 ms, block 46 ms, p50 11.0 ms, p99 17.0 ms, misses 2, "
        "losses 1, transpose -3"
    )
    slow = STATUS._replace(p99=0.06)
    assert line(slow, Controls(0.0)).endswith("too slow for such blocks: try -b 0.09.")
    waiting = STATUS._replace(waiting="a device that went away")
    assert line(waiting, Controls(0.0)).endswith("Waiting for a device that went away.")
    assert "7 samples were no sound" in line(STATUS._replace(faults=7), Controls(0.0))


def test_the_panel_tells_the_same() -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(panel("heart", STATUS, Controls(2.0, muted=True, original=True)))
    shown = console.file.getvalue()
    for word in ("heart", "240 ms", "voice 135 + blocks 84 + devices 21", "17.0", "+2 semitones"):
        assert word in shown
    assert "muted" in shown
    assert "original" in shown


def test_keys_change_what_they_say() -> None:
    controls = Controls(0.0)
    for key in ("\x1b[A", "+", "+", "-", "m", "p", "x"):
        controls = controls.pressed(key)
    assert controls == Controls(2.0, muted=True, original=True)
    assert controls.pressed("m").muted is False
    assert controls.pressed("q").ended
    assert Controls(60.0).pressed("+").semitones == 60.0
    assert Controls(-60.0).pressed("\x1b[B").semitones == -60.0


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[VirtualCard]:
    """Return devices whose time is the real one, with a voice that whistles."""

    def sound(first: int, count: int) -> Any:
        return (0.2 * np.sin(np.arange(first, first + count) * 0.02)).astype(np.float32)

    both = VirtualDevice("laptop", 24_000, inputs=1, outputs=2, sound=sound)
    there = VirtualCard(both)
    monkeypatch.setattr("sovits.cli.vc.sound_card", lambda: there)
    monkeypatch.setattr("sovits.realtime.cores.load_pitch_extractor", steady())
    monkeypatch.setattr("sovits.realtime.pitch.load_pitch_extractor", steady())
    voice = whistler()
    voice.remarks = ["A remark."]
    monkeypatch.setattr("sovits.voice.load_voice", lambda *_, **__: voice)
    ended = threading.Event()

    def tick() -> None:
        while not ended.is_set():
            there.advance(0.01)
            time.sleep(0.01)

    thread = threading.Thread(target=tick)
    thread.start()
    yield there
    ended.set()
    thread.join()


def pressing(monkeypatch: pytest.MonkeyPatch, ready: Callable[[], bool], *keys: str) -> None:
    """Let keys be pressed, one in each tenth of a second, as soon as it is time."""
    left, given = list(keys), [False]

    def pressed() -> str:
        given[0] = not given[0] and ready()
        return left.pop(0) if given[0] else ""

    monkeypatch.setattr("sovits.cli.vc.keys", lambda: nullcontext(pressed))


def test_devices_are_listed(card: VirtualCard, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vc", "--list-devices"]) == 0
    assert capsys.readouterr().out == "<>   0  laptop  (virtual, 1 in, 2 out, 24000 Hz)\n"
    card.all[0].plugged = False
    assert main(["vc", "--list-devices"]) == 1
    assert "no sound devices" in capsys.readouterr().err


def test_it_runs_until_it_is_ended(
    card: VirtualCard,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    speaker = card.all[0]
    until = time.monotonic() + 60
    pressing(
        monkeypatch,
        lambda: (
            np.abs(speaker.all_played()[-6000:]).max(initial=0) > 0.4 or time.monotonic() > until
        ),
        *["+", "m", "m", "q"],
    )
    out = tmp_path / "said.wav"
    assert main(["vc", "-m", "heart", "-b", "0.1", "--record", str(out)]) == 0
    said = capsys.readouterr()
    assert said.out.endswith(f"{out}\n")
    assert "latency" in said.out
    assert "A remark." in said.err
    wave, rate = soundfile.read(out)
    assert rate == 24_000
    assert len(wave) > 6_000
    assert 0.4 < np.abs(wave).max() <= 0.951
    assert np.abs(speaker.all_played()).max() > 0.4
    assert not card.streams


def test_latencies_are_measured(
    card: VirtualCard, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sovits.realtime.measure.loop_delay", lambda *_: 0.0213)
    monkeypatch.setattr("sovits.realtime.measure.block_speed", lambda *_: Speed(0.1, 0.01, 0.02))
    assert main(["vc", "-m", "heart", "--measure"]) == 0
    said = capsys.readouterr()
    for told in (
        "devices       21.3 ms",
        "block        100.0 ms",
        "compute       20.0 ms",
        "total",
    ):
        assert told in said.out
    assert "Blocks of 100 ms: they take 10.0 ms, and 20.0 ms at most." in said.err


def test_what_is_wrong_is_one_line(
    card: VirtualCard, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for words, told in (
        (["-i", "nothing"], "There is no input device 'nothing'"),
        (["-b", "99"], "block_seconds is 99, but must be between"),
        (["--input-gain", "99"], "--input-gain is 99.0, but must be between -60 and 60."),
        (["-k", str(tmp_path / "none")], "is no file. Name an index"),
    ):
        assert main(["vc", "-m", "heart", *words]) == 1
        assert told in capsys.readouterr().err
    card.all[0].busy = True
    assert main(["vc", "-m", "heart", "-b", "0.1"]) == 1
    assert "cannot be opened at 24000 Hz" in capsys.readouterr().err


def test_without_the_library_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert main(["vc", "--list-devices"]) == 1
    assert "pip install 'sovits[live]'" in capsys.readouterr().err

    class NoLibrary:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice")
    monkeypatch.setattr(sys, "meta_path", [NoLibrary(), *sys.meta_path])
    assert main(["vc", "--list-devices"]) == 1
    assert "apt install libportaudio2" in capsys.readouterr().err


def test_a_terminal_sees_a_panel(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    with live_view.shown("heart") as tell:
        tell(STATUS, Controls(0.0), 0.0)
    assert "heart" in screen.getvalue()


def test_keys_are_read_from_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    pty = pytest.importorskip("pty")
    import os

    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r", buffering=1) as terminal, os.fdopen(ours, "wb", 0) as keyboard:
        monkeypatch.setattr(sys, "stdin", terminal)
        with live_view.keys() as pressed:
            assert pressed() == ""
            keyboard.write(b"m")
            time.sleep(0.05)
            assert pressed() == "m"
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with live_view.keys() as pressed:
        assert pressed() == ""
