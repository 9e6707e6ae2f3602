"""Takes are recorded, judged and taken again; recordings are sorted by a key."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
import torch

import sovits
from sovits.cli import keys as terminal
from sovits.cli import main, pre_classify
from sovits.cli.record import listen, session
from sovits.errors import LiveError
from sovits.prepare.prompts import prompts
from sovits.realtime import device

RATE = 16_000


def typed(*words: str):  # type: ignore[no-untyped-def]
    """Return keys that are pressed one after the other."""
    left: Iterator[str] = iter(words)
    return lambda timeout=None: next(left, "end")


def take(level: float) -> torch.Tensor:
    t = torch.arange(4 * RATE) / RATE
    word = level * torch.sin(2 * torch.pi * 200 * t) * (0.7 + 0.3 * torch.sin(9 * t))
    return torch.cat([torch.zeros(8_000), word, torch.zeros(8_000)])


def test_a_session_keeps_what_is_good_and_takes_the_rest_again(tmp_path: Path) -> None:
    wanted = prompts("en", count=4)
    takes = iter([take(0.3), take(0.001), take(0.3), take(0.001)])
    said: list[str] = []
    read = typed("x", "enter", "enter", "enter", "s", "enter", "k")
    done = session(wanted, tmp_path, RATE, lambda: next(takes), read, said.append)
    assert (done.kept, done.skipped, done.ended) == (3, 1, False)
    kept = {wanted[0].name, wanted[1].name, wanted[3].name}
    assert {path.stem for path in tmp_path.iterdir()} == kept
    assert any("Nothing was heard" in line for line in said)
    again: list[str] = []
    session(wanted, tmp_path, RATE, lambda: take(0.3), typed("q"), again.append)
    assert again[0] == "3 are recorded already."
    assert wanted[2].text in again[1]


def test_a_session_goes_to_its_end(tmp_path: Path) -> None:
    wanted = prompts("zh", singing=True, count=3)
    read = typed("s", "s", "enter", "enter", "q")
    done = session(wanted, tmp_path, RATE, lambda: take(0.001), read, lambda _: None)
    assert (done.kept, done.skipped, done.ended) == (0, 2, True)
    done = session(wanted, tmp_path, RATE, lambda: take(0.001), typed(*["enter", "s"] * 3), print)
    assert (done.kept, done.skipped, done.ended) == (0, 3, False)


class Microphone:
    """A sound card that hears a tone."""

    def __init__(self) -> None:
        self.closed = False

    def open(self, kind, found, rate, channels, callback):  # type: ignore[no-untyped-def]
        assert (kind, channels) == ("input", 1)
        for _ in range(3):
            callback(take(0.3)[:4_000, None].numpy())
        return self

    def close(self) -> None:
        self.closed = True


def test_a_take_lasts_until_a_key_is_pressed() -> None:
    card = Microphone()
    wave = listen(card, None, RATE, typed("a", "enter"))  # type: ignore[arg-type]
    assert wave.shape == (12_000,)
    assert card.closed


def test_prompts_can_be_listed_and_be_a_text_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["record", "--speaker", "a", "-o", str(tmp_path), "--list-prompts"]
    assert main([*argv, "--singing"]) == 0
    assert "scale_" in capsys.readouterr().out
    text = tmp_path / "own.txt"
    text.write_text("eins\n\nzwei\n", "utf-8")
    assert main([*argv, "--text", str(text)]) == 0
    assert capsys.readouterr().out == "own_001\teins\t\nown_002\tzwei\t\n"
    text.write_text("\n")
    for wrong, said in (
        (["--text", str(text)], "holds no sentences to read"),
        (["--text", str(tmp_path)], "holds no sentences to read"),
        (["--language", "xx"], "no sentences to read in 'xx'"),
        (["--speaker", "a/b"], "cannot be the name of a speaker"),
    ):
        assert main([*argv, *wrong]) == 1
        assert said in capsys.readouterr().err


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Return a folder of three recordings, one of them damaged, and two speakers' folders."""
    for name in ("1", "2", "4"):
        sovits.write(tmp_path / f"{name}.wav", take(0.2), RATE)
    (tmp_path / "3.wav").write_bytes(b"RIFF")
    for name in ("Alice", "bob"):
        (tmp_path / name).mkdir()
    sovits.write(tmp_path / "bob/1.wav", take(0.1), RATE)
    return tmp_path


class Loud(pre_classify.Silent):
    """Remembers at which rates it was asked to play."""

    def __init__(self) -> None:
        self.rates: list[int] = []

    def play(self, wave: torch.Tensor, sample_rate: float) -> None:
        self.rates.append(round(sample_rate))


def test_a_key_moves_a_recording_to_its_speaker(raw: Path) -> None:
    player, said = Loud(), list[str]()
    paths = sorted(raw.glob("*.wav"))
    read = typed("b", "up", "down", "?", "z", "a")
    counts = pre_classify.sort(paths, raw, read, player, said.append, create_new=True)
    assert counts == (3, 1)
    assert (raw / "bob/1_1.wav").is_file()
    assert soundfile.info(raw / "bob/1.wav").frames == soundfile.info(raw / "bob/1_1.wav").frames
    assert (raw / "z/2.wav").is_file()
    assert (raw / "Alice/4.wav").is_file()
    assert player.rates == [RATE, RATE, round(RATE * 1.1), RATE, RATE]
    assert any("3.wav" in line and line.startswith("skipped") for line in said)


def test_nothing_is_made_anew_if_it_is_not_wished(raw: Path) -> None:
    (raw / "berta").mkdir()
    said: list[str] = []
    read = typed("z", "enter", "b", ".")
    paths = [raw / "1.wav", raw / "2.wav", raw / "4.wav"]
    counts = pre_classify.sort(paths, raw, read, Loud(), said.append, create_new=False)
    assert counts == (1, 0)
    assert any("No folder begins with z" in line for line in said)
    assert any("b may be any of berta, bob" in line for line in said)
    assert (raw / "1.wav").is_file()


def test_without_a_sound_card_it_says_so_and_sorts_by_lines(
    raw: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none() -> None:
        raise LiveError.no_portaudio()

    monkeypatch.setattr(device, "PortAudio", none)
    monkeypatch.setattr("sys.stdin", io.StringIO("a\n\n"))
    assert main(["pre-classify", "-i", str(raw), "-nc"]) == 1  # one is damaged
    out, err = capsys.readouterr()
    assert "Nothing can be heard" in err
    assert "1 of 4 recordings sorted." in err
    assert out == f"{raw}\n"
    assert (raw / "Alice/1.wav").is_file()
    assert main(["record", "--speaker", "x", "-o", str(raw)]) == 1
    assert "PortAudio" in capsys.readouterr().err


def test_a_sound_is_played_again_and_again() -> None:
    class Card:
        def open(self, kind, found, rate, channels, callback):  # type: ignore[no-untyped-def]
            block = torch.zeros(5, 1).numpy()
            callback(block)
            callback(block)
            self.last = block[:, 0].tolist()
            return self

        def close(self) -> None:
            self.last = []

    card = Card()
    found = device.Device(0, "x", "y", 0, 2, RATE)
    player = pre_classify._CardPlayer(card, found)  # type: ignore[arg-type]
    player.play(torch.tensor([0.1, 0.2, 0.3]), RATE)
    assert card.last == pytest.approx([0.3, 0.1, 0.2, 0.3, 0.1])
    player.stop()
    assert card.last == []


def test_keys_come_as_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("bob\n\n"))
    with terminal.keys() as read:
        assert [read(), read(0.1), read()] == ["b", "enter", "end"]
