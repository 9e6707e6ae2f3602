"""Speakers are told apart without a token, and each has a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
import torch
from made_sounds import save

import sovits
from sovits.audio.resample import resample
from sovits.cli import main
from sovits.prepare.diarise import Heard, cluster, turns

VOICES = Path(sovits.__file__).parent / "assets/voices"
RATE = 16_000


def voice(name: str, begin: float, end: float) -> torch.Tensor:
    wave, rate = sovits.read(VOICES / f"{name}.sample.ogg", mono=True)
    return resample(wave[0, round(begin * rate) : round(end * rate)], rate, RATE)


def test_two_speakers_get_a_folder_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    pause = torch.zeros(RATE)
    talk = torch.cat([voice("heart", 0, 7), pause, voice("kumo", 0, 5), pause])
    save(raw / "a/talk.wav", talk, sample_rate=RATE)
    save(raw / "more.wav", voice("heart", 9, 13), sample_rate=RATE)
    (raw / "bad.wav").write_bytes(b"RIFF")
    argv = ["pre-sd", "-i", str(raw), "-o", str(out), "-t", "token", "-s", "16000"]
    assert main(argv) == 1
    assert "No token is needed" in capsys.readouterr().err
    spans: dict[str, list[tuple[str, float, float]]] = {"speaker_1": [], "speaker_2": []}
    for path in sorted(out.rglob("*.wav")):
        stem, start, stop = path.stem.rsplit("_", 2)
        spans[path.parent.name].append((stem, float(start), float(stop)))
        assert soundfile.info(path).duration == pytest.approx(float(stop) - float(start), abs=0.01)
    assert {stem for stem, _, _ in spans["speaker_1"]} == {"a-talk", "more"}
    assert all(stop < 9 for stem, _, stop in spans["speaker_1"] if stem == "a-talk")
    assert {stem for stem, _, _ in spans["speaker_2"]} == {"a-talk"}
    assert all(start > 6.5 for _, start, _ in spans["speaker_2"])
    assert sum(stop - start for _, start, stop in spans["speaker_2"]) > 3.5


def test_as_many_speakers_as_are_well_apart() -> None:
    own = torch.nn.functional.normalize(torch.randn(3, 256), dim=1)
    vectors = torch.cat([own[0].repeat(30, 1), own[1].repeat(20, 1), own[2].repeat(10, 1)])
    vectors = torch.nn.functional.normalize(vectors + 0.03 * torch.randn(60, 256), dim=1)
    found = cluster(vectors, 1, 6)
    assert len(found) == 3
    assert torch.allclose((found * own).sum(1), torch.ones(3), atol=0.1)
    assert len(cluster(vectors, 2, 2)) == 2
    assert len(cluster(vectors[:1], 1, 3)) == 1


def test_a_turn_goes_on_until_another_speaks_or_nobody() -> None:
    one, two = torch.eye(256)[:2]
    heard = [Heard(0.8 + 0.77 * i, one if i not in (3, 8, 9, 10) else two) for i in range(11)]
    heard.append(Heard(20.0, one))
    heard.append(Heard(20.77, one))
    found = turns(heard, torch.stack([one, two]))
    assert [turn.speaker for turn in found] == [0, 1, 0]
    assert found[0].start < 0.1
    assert found[0].stop == found[1].start
    assert found[2].start == pytest.approx(20 - 0.385 - 0.4)


def test_nobody_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "x.wav", torch.zeros(20_000))
    assert main(["pre-sd", "-i", str(tmp_path), "-o", str(tmp_path / "o")]) == 1
    assert "Nobody is heard in" in capsys.readouterr().err
    assert main(["pre-sd", "-min", "3", "-max", "2"]) == 1
    assert "--max-speakers is 2, but must be between 3 and 100" in capsys.readouterr().err
