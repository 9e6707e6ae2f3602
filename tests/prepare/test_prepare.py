"""Raw recordings become pieces to train on, once: what has not changed is not made again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from made_sounds import save

import sovits
from sovits.audio.resample import resample
from sovits.cli import main
from sovits.config import SeparateOptions
from sovits.errors import SeparationError
from sovits.prepare import prepare as module

VOICES = Path(sovits.__file__).parent / "assets/voices"
RATE = 16_000


def voice(begin: float, end: float) -> torch.Tensor:
    wave, rate = sovits.read(VOICES / "heart.sample.ogg", mono=True)
    return resample(wave[0, round(begin * rate) : round(end * rate)], rate, RATE)


class Separation:
    """Stands in for a separator: what comes out is the voice that was put in."""

    clean: torch.Tensor

    def __init__(self, options: SeparateOptions, device: str) -> None:
        assert options.names == ("vocals",)

    def run(self, song: Path, folder: Path) -> dict[str, Path]:
        folder.mkdir(parents=True, exist_ok=True)
        sovits.write(folder / "vocals.wav", self.clean, RATE)
        return {"vocals": folder / "vocals.wav"}


def music(seconds: float) -> torch.Tensor:
    t = torch.arange(round(seconds * RATE)) / RATE
    notes = sum(torch.sin(2 * torch.pi * hz * t) for hz in (220, 277.2, 329.6, 440, 554.4))
    return 0.03 * notes * (1 + 0.5 * torch.sin(5 * t))


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a folder with raw recordings: plain, off zero, with music, damaged, noise alone."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save(tmp_path / "raw/日記.wav", voice(0, 7), sample_rate=RATE)
    save(tmp_path / "raw/sub/日記.wav", 0.5 * voice(7, 13) + 0.02, sample_rate=RATE)
    song = voice(13, 19)
    save(tmp_path / "raw/song.wav", song + music(6)[: len(song)], sample_rate=RATE)
    save(tmp_path / "raw/hiss.wav", 0.05 * torch.randn(5 * RATE), sample_rate=RATE)
    (tmp_path / "raw/bad.wav").write_bytes(b"RIFF")
    monkeypatch.setattr(Separation, "clean", song, raising=False)
    monkeypatch.setattr(module, "SeparationJob", Separation)
    monkeypatch.setattr(module, "load_denoiser", lambda: None)
    monkeypatch.setattr(module, "clean_file", lambda source, out, _: shutil.copy(source, out))
    return tmp_path


def pieces(work: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (work / "dataset_raw/ann").iterdir()}


def test_raw_recordings_become_pieces_once(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["prepare", "raw", "--speaker", "ann", "-s", "16000"]
    assert main(argv) == 1  # one is damaged
    out, err = capsys.readouterr()
    assert out == "dataset_raw/ann\n"
    made = pieces(work)
    assert {name.split("_")[0] for name in made} == {"日記", "sub-日記", "song"}
    assert "song.wav: separated from music" in err
    assert "moved back to zero" in err
    assert "skipped bad.wav" in err
    assert "left out hiss_" in err
    assert "hiss.wav: denoised" in err
    assert (work / "prepared/ann/report.html").is_file()
    assert main(argv) == 1
    assert "of which 4 were done already" in capsys.readouterr().err
    assert pieces(work) == made
    (work / "raw/bad.wav").unlink()
    (work / "raw/sub/日記.wav").unlink()
    save(work / "raw/日記.wav", voice(0, 6), sample_rate=RATE)
    assert main(argv) == 0
    again = pieces(work)
    assert {name.split("_")[0] for name in again} == {"日記", "song"}
    assert {n: t for n, t in again.items() if "song" in n} == {
        n: t for n, t in made.items() if "song" in n
    }


def test_without_a_separator_it_says_what_is_missing(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(options: SeparateOptions, device: str) -> None:
        raise SeparationError.unknown_model("x", ["y"])

    def no_denoiser() -> None:
        raise SeparationError.no_package("--denoise", "x", "offline")

    monkeypatch.setattr(module, "SeparationJob", missing)
    monkeypatch.setattr(module, "load_denoiser", no_denoiser)
    shutil.rmtree(work / "raw/sub")
    (work / "raw/bad.wav").unlink()
    assert main(["prepare", "raw", "--speaker", "ann"]) == 0
    err = capsys.readouterr().err
    assert "There is music, and it cannot be separated" in err
    assert "hiss.wav: it cannot be taken out: " in err
    assert {name.split("_")[0] for name in pieces(work)} == {"日記"}


def test_what_is_of_no_use_and_what_is_typed_wrong_is_told(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("日記.wav", "song.wav", "bad.wav", "sub"):
        path = work / "raw" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    argv = ["prepare", "raw", "--speaker"]
    for wrong, said in (
        (["ann"], "Nothing in raw can be used (the first because of hiss_"),
        (["a/b"], "'a/b' cannot be the name of a speaker"),
        (["ann", "-o", "raw/out"], "lies in raw, which is only read"),
    ):
        assert main([*argv, *wrong]) == 1
        assert said in capsys.readouterr().err.splitlines()[-1]
