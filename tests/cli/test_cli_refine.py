"""svc infer refines by the flags of so-vits-svc, and says in one line what it cannot refine."""

from __future__ import annotations

from pathlib import Path

import made_refiners
import pytest
import torch
from made_refiners import write_refiner, write_vocoder

from sovits.audio.io import read, write
from sovits.cli import main
from sovits.config import AudioConfig, RefinerConfig
from sovits.models.refiner import NativeRefiner, Velocity
from sovits.models.refiner import write_refiner as write_native

HEART = {"content_channels": 192}
LICENCE = "CC BY-NC-SA 4.0"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a sound, and a refiner and a vocoder for the bundled voice."""
    folder = tmp_path_factory.mktemp("refine")
    seconds = torch.arange(44_100) / 44_100
    write(folder / "in.wav", 0.3 * torch.sin(2 * torch.pi * 220 * seconds)[None], 44_100)
    write_refiner(folder / "diffusion", made_refiners.refiner(**HEART), encoder="sovits-content")
    write_vocoder(folder / "nsf")
    return folder


def infer(folder: Path, *flags: str, out: str = "out.wav") -> int:
    """Convert the sound with the bundled voice."""
    files = (str(folder / "in.wav"), "-m", "heart", "-o", str(folder / out))
    return main(["infer", *files, *flags])


def networks(folder: Path) -> tuple[str, ...]:
    """Return the flags that name them."""
    model = folder / "diffusion" / "model_100.pt"
    config = folder / "diffusion" / "diffusion.yaml"
    return ("-dm", str(model), "-dc", str(config), "--vocoder", str(folder / "nsf"))


def test_the_flags_of_so_vits_svc_refine(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert infer(place, *networks(place), "-shd", "-ks", "100", "--sampler", "ddim") == 0
    said = capsys.readouterr()
    assert said.out == f"{place / 'out.wav'}\n"
    assert LICENCE in said.err
    refined = read(place / "out.wav")[0]
    assert infer(place, out="plain.wav") == 0
    plain = read(place / "plain.wav")[0]
    assert refined.shape == plain.shape == (1, 44_100)
    assert float((refined - plain).abs().max()) > 0.001
    # A strength is another way to say it, and the seed gives the same file.
    strength = made_refiners.refiner(**HEART).strength_of(100)
    assert infer(place, *networks(place), "-rf", str(strength), "--sampler", "ddim") == 0
    assert torch.equal(read(place / "out.wav")[0], refined)


def test_all_may_be_drawn_by_the_refiner(place: Path) -> None:
    flags = ("-od", "--refine-steps", "4", "--sampler", "dpm++", "--seed", "2")
    assert infer(place, *networks(place), *flags, out="drawn.wav") == 0
    drawn = read(place / "drawn.wav")[0]
    assert drawn.shape == (1, 44_100)
    assert float(drawn.abs().max()) > 0.001


def refused(
    place: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], match: str
) -> None:
    capsys.readouterr()
    assert infer(place, *flags, out="refused.wav") == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len([line for line in said if line.startswith("svc:")]) == 1
    assert match in said[-1]
    assert not (place / "refused.wav").exists()


def test_what_cannot_be_refined_is_said(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = networks(place)
    shallow = write_refiner(
        tmp_path, made_refiners.refiner(**HEART), encoder="sovits-content", k_max=50
    )
    other = write_refiner(tmp_path / "other", made_refiners.refiner())
    vocoder = ("--vocoder", str(place / "nsf"))
    for flags, match in (
        ((*both, "-ks", "1001"), "1001 steps of noise (k) are asked for, but this refiner was"),
        (("-dm", str(shallow), "-shd", "-ks", "100", *vocoder), "trained for 1 to 50 (k_step_max)"),
        (("-dm", str(shallow), "-od", *vocoder), "trained for 50 of 1000 steps of noise"),
        (("-dm", str(other), "-shd", *vocoder), "content channels: 12, but the voice has 192"),
        ((*both, "-ks", "10", "-rf", "0.5"), "left out where -ks is given"),
        (("-shd",), "There is no refiner beside this voice"),
        ((*both, "-shd", "--sampler", "euler"), "has no sampler euler"),
        (("-dm", "none.pt", "-shd"), "none.pt is no file. Give the path of a refiner"),
        (("--vocoder", "none"), "none is no file. Give the path of a vocoder"),
        (("-rf", "2"), "refine is 2.0, but must be between 0 and 1"),
        ((*both, "-shd", "--refine-steps", "0"), "refine_steps is 0"),
    ):
        refused(place, capsys, flags, match)


def test_a_refiner_of_ours_counts_no_steps(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = RefinerConfig(content_channels=192, n_speakers=1, width=8, blocks=1)
    audio = AudioConfig(n_mels=128, mel_min=40.0, mel_max=16_000.0)
    native = NativeRefiner(config, Velocity(config, 128), "sovits-content", {}, audio)
    write_native(tmp_path / "refiner.safetensors", native)
    flags = ("-dm", str(tmp_path / "refiner.safetensors"), "--vocoder", str(place / "nsf"))
    refused(place, capsys, (*flags, "-ks", "100"), "counts the steps of refiners of so-vits-svc")
    assert infer(place, *flags, "-shd", out="ours.wav") == 0


def test_a_refiner_that_is_not_used_is_said_to_be(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert infer(place, *networks(place), out="plain.wav") == 0
    assert "model_100.pt is not used, as --refine is 0. Add -shd, say." in capsys.readouterr().err
