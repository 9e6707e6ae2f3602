"""svc infer finds its voice, names its results, and leaves nothing half done."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sovits import library
from sovits.cli import INTERRUPTED, main
from sovits.config import ConvertOptions
from sovits.device import choose_device
from sovits.errors import AudioError, ConfigError


@dataclass
class Studio:
    """Stand in for loading and converting; remembers what it was asked for."""

    loaded: list[tuple[Any, Any, str]] = field(default_factory=list)
    converted: list[tuple[Path, Path, ConvertOptions]] = field(default_factory=list)
    remarks: tuple[str, ...] = ()
    path: Path | None = None
    interrupt_at: str | None = None

    def load_voice(self, path: Any, config: Any = None, *, device: str = "cpu") -> Studio:
        self.loaded.append((path, config, device))
        self.path = Path(path)
        return self

    def row(self, _speaker: str | None) -> int:
        return 0

    def convert_file(
        self,
        voice: Studio,
        source: Path,
        out: Path,
        options: ConvertOptions,
        *,
        on_progress: Callable[[float], None],
    ) -> None:
        assert voice is self
        on_progress(0.5)
        if self.interrupt_at == source.name:
            raise KeyboardInterrupt
        if source.read_bytes() == b"bad":
            raise AudioError.not_audio(source, "it is bad")
        self.converted.append((source, out, options))
        out.write_bytes(source.read_bytes())


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Studio:
    """Be in an empty folder, where conversion is only pretended."""
    studio = Studio()
    for name in ("voice", "convert"):
        module = ModuleType(f"sovits.{name}")
        module.load_voice = studio.load_voice  # type: ignore[attr-defined]
        module.convert_file = studio.convert_file  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, f"sovits.{name}", module)
    # These sounds are none, and have no range; test_vocal_range.py has some that do.
    monkeypatch.setattr("sovits.cli.infer.transposed", lambda _voice, _source, options: options)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(library, "VOICES", tmp_path / "assets")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    Path("song.mp3").write_bytes(b"song")
    Path("G_3.pth").touch()
    return studio


def test_the_result_is_a_wav_beside_the_source(
    studio: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["infer", "song.mp3", "-m", "G_3.pth", "-t", "-12", "-d", "cpu"]) == 0
    assert studio.loaded == [(Path("G_3.pth"), None, "cpu")]
    assert studio.converted == [
        (Path("song.mp3"), Path("song.out.wav"), ConvertOptions(semitones=-12))
    ]
    out, err = capsys.readouterr()
    assert (out, err) == ("song.out.wav\n", "")


def test_what_was_settled_while_reading_a_voice_is_said(
    studio: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    studio.remarks = ("Without effect here: train.port.",)
    assert main(["infer", "song.mp3", "-m", "G_3.pth"]) == 0
    assert capsys.readouterr() == ("song.out.wav\n", "Without effect here: train.port.\n")


def test_the_result_goes_where_it_is_asked_for(studio: Studio) -> None:
    Path("there").mkdir()
    for asked, got in (("x.flac", "x.flac"), ("there", "there/song.out.wav")):
        assert main(["infer", "song.mp3", "-m", "G_3.pth", "-o", asked]) == 0
        assert studio.converted[-1][1] == Path(got)


def test_without_a_model_the_newest_training_is_taken(
    studio: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    logs, config = Path("logs/44k"), Path("configs/44k/config.json")
    for path in (logs / "G_9.pth", logs / "G_10.pth", config):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert main(["infer", "song.mp3"]) == 0
    assert studio.loaded[-1][:2] == (logs / "G_10.pth", config)
    assert capsys.readouterr().err == f"Using G_10.pth, the newest in {logs}.\n"
    assert library.newest(logs).name == "G_10.pth"
    (logs / "config.json").touch()
    assert main(["infer", "song.mp3"]) == 0
    assert studio.loaded[-1][:2] == (logs / "G_10.pth", None)
    assert main(["infer", "song.mp3", "-c", str(config)]) == 0
    assert studio.loaded[-1][:2] == (logs / "G_10.pth", config)
    (logs / "verdict.json").write_text('{"best": {"checkpoint": "G_9.pth"}}')
    capsys.readouterr()
    assert main(["infer", "song.mp3"]) == 0
    assert studio.loaded[-1][:2] == (logs / "G_9.pth", None)
    assert capsys.readouterr().err == f"Using G_9.pth, the best checkpoint in {logs}.\n"


def test_a_training_without_settings_is_said_so(
    studio: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("logs/44k").mkdir(parents=True)
    Path("logs/44k/G_9.pth").touch()
    assert main(["infer", "song.mp3"]) == 1
    assert "configs/44k/config.json does not exist" in capsys.readouterr().err
    Path("logs/44k/alice_10.safetensors").touch()  # which has its settings in it
    assert main(["infer", "song.mp3"]) == 0
    assert studio.loaded[-1][:2] == (Path("logs/44k/alice_10.safetensors"), None)


def test_without_any_training_the_bundled_voice_is_taken(
    studio: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["infer", "song.mp3"]) == 1
    assert "There is no voice to use" in capsys.readouterr().err
    bundled = Path("assets/heart.safetensors").absolute()
    bundled.parent.mkdir()
    bundled.touch()
    assert main(["infer", "song.mp3"]) == 0
    assert studio.loaded[-1][:2] == (bundled, None)
    assert "Using the bundled voice heart" in capsys.readouterr().err
    assert main(["infer", "song.mp3", "-m", "heart"]) == 0
    assert studio.loaded[-1][:2] == (bundled, None)
    assert main(["infer", "song.mp3", "-m", "hub:me/voice"]) == 0
    assert studio.loaded[-1][:2] == ("hub:me/voice", None)
    capsys.readouterr()
    assert main(["infer", "song.mp3", "-m", "hart"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("svc: hart does not exist. ")
    assert err.endswith("Did you mean heart?\n")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["missing.wav"], "missing.wav does not exist"),
        (["."], ". is a folder. Name one sound file, or add -re"),
        (["song.mp3", "-re"], "song.mp3 is not a folder, but -re needs one"),
        (["song.mp3", "-m", "G_4.pth"], "G_4.pth does not exist"),
        (["song.mp3", "-m", "empty"], "empty holds no voice"),
        (["song.mp3", "-m", "G_3.pth", "-c", "c.json"], "c.json does not exist"),
        (["song.mp3", "-m", "G_3.pth", "-o", "no/x.wav"], "no is not a folder. Make it first"),
        (["song.mp3", "-m", "G_3.pth", "-o", "song.mp3"], "song.mp3 is the source itself"),
        (["song.mp3", "-m", "G_3.pth", "-o", "fifo"], "fifo exists and is not a plain file"),
        (["song.mp3", "-m", "G_3.pth", "-k", "k.pt", "-r", "1"], "k.pt is no file"),
        (["song.mp3", "-m", "G_3.pth", "-d", "cuda:99"], "There is no device cuda:99"),
        ([".", "-re", "-m", "G_3.pth", "-o", "song.mp3"], "song.mp3 is a file, but the results"),
        (["empty", "-re", "-m", "G_3.pth"], "empty holds no sound file to convert"),
    ],
)
def test_bad_input_is_refused_before_any_work(
    studio: Studio, argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    os.mkfifo("fifo")
    assert main(["infer", *argv]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert studio.converted == []
    assert Path("song.mp3").read_bytes() == b"song"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_locked_folder_is_refused(studio: Studio, capsys: pytest.CaptureFixture[str]) -> None:
    Path("locked").mkdir(mode=0o500)
    assert main(["infer", "song.mp3", "-m", "G_3.pth", "-o", "locked/x.wav"]) == 1
    assert "locked may not be written to" in capsys.readouterr().err


def test_a_folder_is_converted_but_not_its_results(
    studio: Studio, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("a.wav", "a.mp3", "sub/b.FLAC", "old.out.wav", ".hidden.wav", "notes.txt")
    for name in names:
        path = Path("songs") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"bad" if name == "a.wav" else b"song")
    pairs = [
        (Path("songs/a.mp3"), Path("songs/a.out.wav")),
        (Path("songs/sub/b.FLAC"), Path("songs/sub/b.out.wav")),
    ]
    # The second time, results of the first are there; the third time, they are of other settings.
    for more, converted in (([], pairs), ([], []), (["-t", "1"], pairs)):
        studio.converted.clear()
        assert main(["infer", "songs", "-re", "-m", "G_3.pth", *more]) == 1
        out, err = capsys.readouterr()
        assert [pair[:2] for pair in studio.converted] == converted
        assert out.splitlines() == ["songs/a.out.wav", "songs/sub/b.out.wav"]
        *kept, bad, summary = err.splitlines()
        assert bad.startswith("svc: songs/a.wav is not a sound file")
        assert summary == "svc: 1 of 3 files could not be converted."
        assert len(kept) == (not converted)
    Path("songs/a.wav").write_bytes(b"good")
    for count in (1, 3):  # a run that is whole is not gone on with
        studio.converted.clear()
        assert main(["infer", "songs", "-re", "-m", "G_3.pth", "-t", "1"]) == 0
        assert len(studio.converted) == count
        assert not list(Path("songs").glob(".sovits*"))


def test_a_folder_can_be_converted_into_another(studio: Studio) -> None:
    for name in ("a.wav", "a.mp3", "sub/a.wav"):
        path = Path("songs") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"song")
    assert main(["infer", "songs", "-re", "-m", "G_3.pth", "-o", "new/results"]) == 0
    results = Path("new/results")
    assert sorted(path.relative_to(results).as_posix() for path in results.rglob("*.wav")) == [
        "a.out.wav",
        "a.wav.out.wav",
        "sub/a.out.wav",
    ]


def test_ctrl_c_ends_a_folder_too(studio: Studio, capsys: pytest.CaptureFixture[str]) -> None:
    Path("second.wav").write_bytes(b"song")
    studio.interrupt_at = "song.mp3"
    assert main(["infer", ".", "-re", "-m", "G_3.pth"]) == INTERRUPTED
    assert capsys.readouterr().err.startswith("svc: Interrupted.")
    studio.interrupt_at = None
    assert main(["infer", ".", "-re", "-m", "G_3.pth"]) == 0
    assert [source.name for source, *_ in studio.converted] == ["second.wav", "song.mp3"]
    assert "1 files were converted by an earlier run" in capsys.readouterr().err


def test_progress_is_shown_on_a_terminal_only(
    studio: Studio, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["infer", "song.mp3", "-m", "G_3.pth"]) == 0
    out, err = capsys.readouterr()
    assert out == "song.out.wav\n"
    assert "50%" in err or "song.mp3" in err


def test_devices_are_there_or_refused() -> None:
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") in ("cpu", "cuda")
    for name in ("cuda:99", "gpu", "meta"):
        with pytest.raises(ConfigError, match=f"There is no device {name}"):
            choose_device(name)
