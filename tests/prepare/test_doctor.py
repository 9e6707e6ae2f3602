"""The doctor finds faults that were planted, names them, and says nothing of what is well."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from made_sounds import save, tone

import sovits
from sovits.cli import main
from sovits.errors import SovitsError
from sovits.prepare import measures, mend
from sovits.prepare.doctor import Diagnosis, centre, diagnose
from sovits.prepare.doctor_page import page
from sovits.prepare.prints import matches, prints

ROOT = Path(sovits.__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import doctor  # noqa: E402
import planted_faults as plant  # noqa: E402

SECONDS = 6.5
FAULTS = ("clipped", "noisy", "reverberant", "narrow", "hum", "music")


def clip(name: str, begin: float = 0.0) -> doctor.Clip:
    """Return some seconds of a recording that ships with the package."""
    wave, rate = sovits.read(ROOT / name, mono=True)
    start = round(begin * rate)
    return wave[0, start : start + round(SECONDS * rate)], rate


HEART, KUMO = (f"sovits/assets/voices/{name}.sample.ogg" for name in ("heart", "kumo"))


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> tuple[Diagnosis, dict[str, str]]:
    """Return what is found in clips of two speakers with one fault each, and which fault."""
    folder = tmp_path_factory.mktemp("ward") / "raw"
    own = [clip(HEART, begin) for begin in (0, 6.6, 13.2)]
    guests = [clip(KUMO, 2.0)]
    planted = doctor.write_speaker(folder / "heart", own, guests, doctor.plants([]), each=1)
    save(folder / "heart/offset.wav", own[1][0] + 0.02, sample_rate=own[1][1])
    save(folder / "heart/nothing.wav", torch.zeros(40_000))
    (folder / "heart/dämaged.wav").write_bytes(b"RIFF\0\0\0\0WAVEnothing")
    (folder / "heart/notes.txt").write_text("x")
    return diagnose(folder, n_jobs=1), planted


def kinds(diagnosis: Diagnosis, file: str) -> set[str]:
    return {f.kind for s in diagnosis.speakers for f in s.findings if f.file == file}


def test_planted_faults_are_found_and_no_others_in_clean_clips(
    ward: tuple[Diagnosis, dict[str, str]],
) -> None:
    diagnosis, planted = ward
    for file, fault in planted.items():
        found = kinds(diagnosis, file)
        if fault:
            assert fault in found, (file, found)
        # A clip that others were made of holds the same sound as they do.
        assert found - {fault, "duplicate"} == set(), (file, found)
    assert {"offset.wav"} == {f.file for f in diagnosis.speakers[0].findings if f.kind == "dc"}
    assert "empty" in kinds(diagnosis, "nothing.wav")
    assert kinds(diagnosis, "dämaged.wav") == {"unreadable"}
    assert (diagnosis.damaged, diagnosis.light) == (1, "red")
    assert [path.path.name for path in diagnosis.skipped] == ["notes.txt"]


def test_each_finding_tells_file_number_reason_and_cure(
    ward: tuple[Diagnosis, dict[str, str]],
) -> None:
    diagnosis, _ = ward
    for finding in diagnosis.speakers[0].findings:
        assert finding.why.endswith(".")
        assert finding.do.endswith(".")
        assert finding.found
        assert finding.number is not None or finding.kind == "unreadable"
    told = json.loads(json.dumps(diagnosis.to_json()))
    [speaker] = told["speakers"]
    assert told["schema"] == "sovits-doctor-1"
    assert speaker["name"] == "heart"
    assert speaker["usable_minutes"] < speaker["speech_minutes"] < speaker["minutes"]
    assert sum(speaker["notes"].values()) == pytest.approx(1, abs=0.01)
    assert sum(speaker["energies"].values()) == pytest.approx(1, abs=0.01)
    low, high = speaker["f0_range_hz"]
    assert 60 < low < 250 < high < 700
    assert {row["file"] for row in speaker["each"]} >= {"offset.wav", "clean0.wav"}
    text = page(diagnosis)
    assert "offset.wav" in text
    assert text.count("<svg") == 2
    assert "http" not in text


def test_the_copy_is_free_of_what_can_be_put_right(
    ward: tuple[Diagnosis, dict[str, str]], tmp_path: Path
) -> None:
    diagnosis, planted = ward
    report = mend.mend(diagnosis, tmp_path)
    names = {path.stem for path in report.made}
    assert {"nothing", "dämaged"} & names == set()
    again = diagnose(tmp_path / "heart", n_jobs=1)
    left = {f.kind for f in again.speakers[0].findings if f.file}
    assert {"dc", "hum", "empty", "unreadable"} & left == set()
    copies = [name for name, fault in planted.items() if fault == "duplicate"]
    assert len(copies) == 1
    assert Path(copies[0]).stem not in names or "clean0" not in names


def test_hum_is_taken_out_and_a_voice_stays() -> None:
    rate = 16_000
    wave, own = clip(HEART)
    voice = sovits.audio.resample.resample(wave, own, rate)
    dirty = plant.humming(voice, rate, 1)
    notches = mend.Notches(60.0, rate, 1)
    clean = torch.cat([notches(part[None])[0] for part in dirty.split(7_000)])
    settled = slice(3 * rate, None)
    assert (clean - voice)[settled].norm() < 0.25 * (dirty - voice)[settled].norm()
    assert (clean - voice)[settled].norm() < 0.05 * voice[settled].norm()


def test_numbers_mean_what_they_say() -> None:
    rate = measures.RATE
    wave = torch.randn(5 * rate) * 0.1
    wave[2 * rate : 3 * rate] = 0.001 * torch.randn(rate)
    power = measures.frame_power(wave)
    found = measures.snr_db(measures.Bands()(wave), power)
    assert found is not None
    assert 34 < found < 46  # 40 dB
    assert measures.snr_db(measures.Bands()(torch.zeros(rate)), torch.zeros(100)) is None
    assert measures.clipping(tone(2, 200)[None]).runs <= 2 * 2 * 200
    assert measures.clipping((2 * tone(2, 200)).clamp(-0.4, 0.4)[None]).runs == pytest.approx(
        800, 1
    )
    assert measures.clipping(torch.zeros(1, 9)).runs == 0
    spectrum = measures.spectrum_of_loud(plant.low_passed(torch.randn(rate), rate, 0))
    assert spectrum is not None
    assert measures.bandwidth(spectrum, rate) == pytest.approx(plant.LOW_HZ, rel=0.03)
    assert measures.spectrum_of_loud(torch.zeros(5)) is None
    hum, hz = measures.hum(0.01 * torch.randn(3 * rate) + 0.1 * tone(3, 60, rate, 1.0), 0.005)
    assert (hum, hz) == (pytest.approx(0, abs=1), 60)
    assert measures.hum(torch.zeros(9), 1.0)[0] < -1000
    assert (
        measures.tonality_db(torch.randn(2 * rate))
        < 3
        < 4
        < measures.tonality_db(  # type: ignore[operator]
            plant.chords(2 * rate, rate, 0)
        )
    )
    assert measures.tonality_db(torch.zeros(9)) is None


@pytest.mark.parametrize("seconds", [0.3, 0.5])
def test_a_room_is_as_long_as_it_is(seconds: float) -> None:
    rate = measures.RATE
    generator = torch.Generator().manual_seed(1)
    clicks = torch.zeros(8 * rate)
    for begin in range(0, 8 * rate, rate):
        clicks[begin : begin + 800] = torch.randn(800, generator=generator)
    t = torch.arange(round(seconds * rate)) / rate
    room = torch.randn(len(t), generator=generator) * torch.exp(-6.9 * t / seconds)
    found = measures.decay_seconds(measures.Bands()(plant.convolved(clicks, room)))
    assert found is not None
    assert 0.6 * seconds < found < 1.4 * seconds
    assert measures.decay_seconds(torch.zeros(22, 5)) is None


def test_the_same_sound_is_found_at_another_place_and_level() -> None:
    torch.manual_seed(1)
    first, other = (plant.chords(8 * 16_000, 16_000, seed) for seed in (1, 2))
    hidden = torch.cat([other[: 3 * 16_000 + 77], 0.3 * first[: 5 * 16_000]])
    [match] = matches([prints(first), prints(hidden), prints(other[-3 * 16_000 :])], 0.3)
    assert (match.first, match.second) == (0, 1)
    assert match.share > 0.3
    assert matches([prints(torch.zeros(9))] * 3, 0.3) == []


def test_the_centre_is_whom_most_are() -> None:
    own, other = torch.nn.functional.normalize(torch.randn(2, 256), dim=-1)
    vectors = torch.nn.functional.normalize(
        torch.stack([own] * 6 + [other] * 4) + 0.02 * torch.randn(10, 256), dim=-1
    )
    assert float(centre(vectors) @ own) > 0.95


def test_a_folder_of_one_speaker_that_is_to_sing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "歌手"
    save(raw / "a.wav", clip(HEART)[0], sample_rate=clip(HEART)[1])
    argv = ["doctor", str(raw), "--goal", "singing", "-n", "1"]
    assert main([*argv, "--report", str(tmp_path / "r.html")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("歌手: red.")
    assert "held notes" in out
    assert "minutes of usable speech. Record more" in out
    assert (tmp_path / "r.html").read_text("utf-8").startswith("<!doctype html>")
    assert main([*argv, "--json", "--fix"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert {"not-sung", "too-little"} <= {f["kind"] for f in told["speakers"][0]["findings"]}
    assert soundfile.info(tmp_path / "歌手-fixed/a.wav").samplerate == clip(HEART)[1]


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "raw").mkdir()
    for argv, said in (
        ([str(tmp_path / "raw")], "holds no files. Put recordings"),
        ([str(tmp_path / "no")], "does not exist. Name the folder"),
        ([str(tmp_path), "--fix", "-o", str(tmp_path / "raw")], "which is only read. Name another"),
    ):
        assert main(["doctor", *argv]) == 1
        assert said in capsys.readouterr().err
    (tmp_path / "raw/x.wav").write_bytes(b"RIFF")
    assert main(["doctor", str(tmp_path / "raw"), "-n", "1"]) == 1
    assert "unreadable" not in capsys.readouterr().err


def test_the_benchmark_counts_right() -> None:
    planted = {"a": "", "b": "hum", "c": "hum", "d": "noisy"}
    found = {("a", "hum"), ("b", "hum"), ("d", "noisy")}
    assert doctor.scores(found, planted, "hum") == [1, 2, 2, 1]
    assert doctor.scores({("d", "duplicate")}, planted, "duplicate") == [0, 0, 0, 0]
    text = doctor.table([("hum", [1, 2, 2, 1], 1), ("speed", [100, 200, 300, 0], 1)], "")
    assert "| hum | 2 | 1 | 0.50 | 0.50 | 1 of 1 |" in text
    assert "50 times real time" in text


def test_a_damaged_file_is_an_error_by_itself(tmp_path: Path) -> None:
    from sovits.prepare.examine import examine

    (tmp_path / "x.wav").write_bytes(b"RIFF")
    with pytest.raises(SovitsError):
        examine(tmp_path / "x.wav")
    found = examine(save(tmp_path / "y.wav", tone(0.1, 200)))
    assert (found.speech_seconds, found.sung_share, found.silence_share) == (0, 0, 1)
    assert np.isneginf(found.level_db)
