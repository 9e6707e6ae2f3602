"""svc separate names its results, goes on after a bad file, and says what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from sovits.audio.io import read, write
from sovits.cli import main

RATE = 8_000


class Half:
    """Stand in for a separator: half of everything is voice."""

    sample_rate, window, hop, frames = RATE, 256, 64, 192

    def share(self, spectrum: Tensor) -> Tensor:
        return torch.full(spectrum.shape, 0.5)


@pytest.fixture
def songs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("sovits.separation.job.load_separator", lambda *_: Half())
    write(tmp_path / "a.wav", torch.rand(2, RATE) - 0.5, RATE)
    return tmp_path


def test_stems_are_in_a_folder_named_after_the_song(
    songs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["separate", str(songs / "a.wav"), "-o", str(songs / "out"), "-d", "cpu"]) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert paths == [songs / "out" / "a" / f"{x}.wav" for x in ("vocals", "accompaniment")]
    total = sum(read(path)[0] for path in paths)
    torch.testing.assert_close(total, read(songs / "a.wav")[0], atol=1e-6, rtol=0)


def test_one_stem_may_be_enough(songs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["separate", str(songs / "a.wav"), "--stems", "vocals"]) == 0
    assert [path.name for path in (songs / "a").iterdir()] == ["vocals.wav"]


def test_a_bad_file_in_a_folder_is_named_and_the_rest_is_done(
    songs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (songs / "b.wav").write_bytes(b"no sound")
    write(songs / "c.flac", torch.zeros(1, RATE), RATE)
    write(songs / "c.wav", torch.zeros(1, RATE), RATE)
    assert main(["separate", str(songs), "-o", str(songs / "out")]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 6
    assert {path.name for path in (songs / "out").iterdir()} >= {"a", "c", "c.wav.stems"}
    first, last = err.splitlines()
    assert str(songs / "b.wav") in first
    assert last == "svc: 1 of 4 files could not be separated."


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "There is nothing to work on"),
        (["none.wav"], "does not exist"),
        (["empty"], "holds no sound file"),
        (["a.wav", "--stems", "drums"], "stems is 'drums'"),
        (["a.wav", "--model", "spleter"], "Did you mean spleeter-2stems?"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    songs: Path,
    arguments: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(songs)
    Path("empty").mkdir()
    assert main(["separate", *arguments]) == 1
    out, err = capsys.readouterr()
    assert says in err
    assert (out, err.count("\n")) == ("", 1)
