"""svc infer reads what it retrieves from once, and says where that is."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from sovits.cli import main
from sovits.errors import VoiceError


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """Be in a folder with a voice, where conversion is only pretended; return what was read."""
    asked: list[Any] = []

    def index_path() -> Path:
        if not Path("index.safetensors").exists():
            raise VoiceError.no_index([Path("G_3.index.safetensors"), Path("index.safetensors")])
        return Path("index.safetensors")

    def index(path: Path, speaker: str | None) -> None:
        asked.append((path, speaker))
        if path.read_bytes() == b"bad":
            raise VoiceError.damaged(path, "it is bad")

    def load_voice(*args: Any, **kwargs: Any) -> SimpleNamespace:
        row = {None: 0, "alice": 0, "bob": 1}.__getitem__
        return SimpleNamespace(remarks=[], row=row, index=index, index_path=index_path)

    def convert_file(voice: Any, source: Path, out: Path, *args: Any, **kwargs: Any) -> None:
        out.touch()

    for name, made in (("voice", load_voice), ("convert", convert_file)):
        module = ModuleType(f"sovits.{name}")
        setattr(module, made.__name__, made)
        monkeypatch.setitem(sys.modules, f"sovits.{name}", module)
    # These sounds are none, and have no range; test_vocal_range.py has some that do.
    monkeypatch.setattr("sovits.cli.infer.transposed", lambda _voice, _source, options: options)
    monkeypatch.chdir(tmp_path)
    for file in ("a.mp3", "b.mp3", "G_3.pth", "k.pt"):
        Path(file).touch()
    return asked


def test_without_a_ratio_nothing_is_read(
    read: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["infer", "a.mp3", "-m", "G_3.pth"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["infer", "a.mp3", "-m", "G_3.pth", "-k", "k.pt"]) == 0
    assert capsys.readouterr().err == "k.pt is not used, as -r is 0. Add -r 0.5, say.\n"
    assert read == []


def test_the_index_beside_the_voice_is_named(
    read: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["infer", "a.mp3", "-m", "G_3.pth", "-r", "0.5"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("svc: There is nothing to retrieve from: no G_3.index.safetensors and no")
    Path("index.safetensors").touch()
    assert main(["infer", "a.mp3", "-m", "G_3.pth", "-r", "0.5", "-s", "bob"]) == 0
    assert capsys.readouterr().err == "Retrieving from index.safetensors.\n"
    assert read == [(Path("index.safetensors"), "bob")]


def test_a_file_that_is_wrong_is_complained_of_once_for_a_whole_folder(
    read: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("k.pt").write_bytes(b"bad")
    assert main(["infer", ".", "-re", "-m", "G_3.pth", "-r", "0.5", "-k", "k.pt"]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", "svc: k.pt is damaged (it is bad). Download or copy it again.\n")
    assert read == [(Path("k.pt"), None)]


def test_each_speaker_of_a_mix_has_its_index_read(
    read: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["infer", "a.mp3", "-m", "G_3.pth", "-k", "k.pt", "-r", "1"]
    Path("mix.json").write_text('[{"time": 0, "speakers": {"alice": 1, "bob": 1}}]')
    assert main([*argv, "--mix", "mix.json"]) == 0
    assert read == [(Path("k.pt"), "alice"), (Path("k.pt"), "bob")]
    Path("mix.json").write_text("[]")
    capsys.readouterr()
    assert main([*argv, "--mix", "mix.json"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("svc: mix.json is no timeline of speakers (it has no point). ")
    assert err.count("\n") == 1
