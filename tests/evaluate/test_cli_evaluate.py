"""svc evaluate measures what is asked for, and stops before any work if it cannot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from made_voices import synthesizer_config, voice
from recordings import RATE, vowel

from sovits.audio.io import read, write
from sovits.cli import main
from sovits.config import AudioConfig, ConvertOptions, VoiceConfig
from sovits.errors import EvaluationError
from sovits.evaluate import evaluation, metrics
from sovits.evaluate.evaluation import evaluate
from sovits.evaluate.metrics import METRICS, choose_metrics, missing
from sovits.voice import save_voice

PLAIN = "similarity,pitch,reconstruction,speed"


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a voice, two sources, and a target."""
    folder = tmp_path_factory.mktemp("studio")
    config = VoiceConfig(
        AudioConfig(sample_rate=16_000, hop_length=512, n_fft=1024),
        synthesizer_config(content_channels=192),
        "sovits-content",
        {"alice": 0, "bob": 1},
    )
    save_voice(folder / "made.safetensors", voice(config))
    for name, wave in {
        "sources/one.wav": vowel(5, 140),
        "sources/two.wav": vowel(6, 180, seed=1),
        "target/her.wav": vowel(3, 210, seed=2),
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        write(folder / name, wave, RATE)
    return folder


@pytest.fixture(autouse=True)
def _here(studio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(studio)


def svc(*words: str) -> int:
    return main(["evaluate", *words, "--voice", "made.safetensors", "-d", "cpu"])


def no_conversion(*_args: Any, **_more: Any) -> None:
    raise AssertionError("work was begun")


def test_a_voice_is_measured_from_the_shell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, numbers, kept = tmp_path / "x.html", tmp_path / "x.json", tmp_path / "kept"
    status = svc(
        "sources", "--target", "target", "--metrics", PLAIN, "--report", str(page),
        "--json", str(numbers), "-o", str(kept), "-t", "5",
    )  # fmt: skip
    out, err = capsys.readouterr()
    assert status == 0, err
    assert out.splitlines()[-2:] == [str(numbers), str(page)]
    for label in ("Similarity to target", "Log-F0 correlation", "Log-mel distance", "CPU-seconds"):
        assert label in out
    assert "There is one clip only" in err
    found = json.loads(numbers.read_text("utf-8"))
    assert found["metrics"] == PLAIN.split(",")
    assert [source["name"] for source in found["sources"]] == ["one.wav", "two.wav"]
    assert found["voice"]["speaker"] == "alice"
    assert found["methods"]["pitch"] == "crepe-tiny"
    assert found["options"]["semitones"] == 5
    assert found["target"]["recordings"] == ["her.wav"]
    assert found["clips"][0]["sources"] == ["one.wav", "two.wav"]
    values = {measure["key"]: measure["result"]["value"] for measure in found["measures"]}
    assert 0 < values["rtf_processor"] < 20
    assert values["mel_distance"] > 0.1
    assert values["similarity_to_target"] < 0.9
    assert page.read_text("utf-8").count("<audio") == 3
    results = sorted(kept.glob("*.result.wav"))
    assert [path.name for path in results] == ["001-one.result.wav", "002-two.result.wav"]
    assert read(results[0])[0].shape == (1, 5 * RATE)


def test_what_is_missing_is_named_before_any_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(metrics, "find_spec", lambda name: None if name == "hama" else name)
    monkeypatch.setattr(evaluation, "convert_file", no_conversion)
    assert svc("sources") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "svc: intelligibility needs hama, which is not installed. Run pip install "
        "'sovits[evaluate]', or leave it out: --metrics "
        "similarity,pitch,quality,reconstruction,speed.\n"
    )


def test_all_is_measured_unless_some_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "find_spec", lambda name: name)
    assert choose_metrics(None) == tuple(METRICS)
    assert choose_metrics("speed, pitch") == ("pitch", "speed")
    monkeypatch.setattr(metrics, "find_spec", lambda name: None)
    assert missing(["pitch", "quality"]) == ["speechmos", "onnxruntime"]
    assert choose_metrics(PLAIN) == tuple(PLAIN.split(","))
    with pytest.raises(EvaluationError, match=r"intelligibility and quality need .*speechmos"):
        choose_metrics("intelligibility,quality")
    with pytest.raises(EvaluationError, match=r"leave it out: --metrics similarity,pitch,rec"):
        choose_metrics("quality")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "There is nothing to evaluate."),
        (["nothing.wav"], "nothing.wav does not exist."),
        (["sources", "--metrics", "pich"], "There is no metric 'pich'. Did you mean pitch?"),
        (["sources", "--metrics", ""], "There is no metric ''."),
        (["sources", "--metrics", "speed", "--target", "nobody"], "nobody does not exist."),
        (["sources", "--metrics", "speed", "--report", "no/x.html"], "no is not a folder."),
        (["sources", "--metrics", "speed", "--json", "target"], "target exists and is not a plain"),
        (["sources", "--metrics", "speed", "-o", "sources/one.wav"], "sources/one.wav is a file"),
        (["sources", "--metrics", "pitch", "--pitch-judge", "crep"], "Did you mean crepe?"),
        (["empty", "--metrics", "speed"], "empty holds no sound file"),
        (["sources", "--metrics", "similarity"], "comes without a recording of its target."),
        (["sources", "--metrics", "similarity", "--target", "empty"], "empty holds no sound file."),
        (["quiet.wav", "--metrics", "speed"], "quiet.wav is silent from end to end"),
    ],
)
def test_mistakes_are_answered_in_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir(exist_ok=True)
    write(Path("quiet.wav"), torch.zeros(RATE), RATE)
    assert svc(*words) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def made(tmp_path: Path, **more: Any) -> evaluation.Evaluation:
    """Evaluate one source in this process."""
    from sovits.voice import load_voice

    source = more.pop("source", Path("sources/one.wav"))
    return evaluate(load_voice("made.safetensors"), [source], tmp_path, **more)


def test_notes_say_what_to_keep_in_mind(tmp_path: Path) -> None:
    shares: list[float] = []
    found = made(
        tmp_path,
        target=Path("target"),
        metrics=("similarity", "pitch"),
        judge="swift",
        options=ConvertOptions(auto_f0=True),
        on_progress=shares.append,
    )
    notes = " ".join(found.notes)
    assert "The shortest clip holds 5.0 s" in notes
    assert "3.0 s of the target only" in notes
    assert "swift measures the pitch that it sang by" in notes
    assert "chose its own melody" in notes
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_the_target_is_said_again_at_its_own_pitch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[ConvertOptions] = []

    def copy(_voice: Any, source: Path, out: Path, options: ConvertOptions, **_more: Any) -> None:
        asked.append(options)
        write(out, read(source)[0], RATE)

    monkeypatch.setattr(evaluation, "convert_file", copy)
    monkeypatch.setattr(evaluation._Job, "warm_up", lambda _job: None)
    options = ConvertOptions(
        semitones=7, formants=2, auto_f0=True, output_rate=RATE, noise_scale=0.1
    )
    found = made(tmp_path, target=Path("target"), metrics=("reconstruction",), options=options)
    own = replace(options, semitones=0.0, formants=0.0, auto_f0=False, output_rate=None)
    assert asked == [options, own]
    assert found.measures[0].units == ("her.wav",)
    assert found.measures[0].result.estimate.value == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "reason"),
    [(b"\xff\xfe\x00", "utf-8"), (b" \n...", "no letters"), (b"a" * 100_001, "longer than")],
)
def test_texts_that_are_none_are_refused(tmp_path: Path, text: bytes, reason: str) -> None:
    source = tmp_path / "one.wav"
    write(source, vowel(1), RATE)
    source.with_suffix(".txt").write_bytes(text)
    with pytest.raises(EvaluationError, match=rf"one\.txt is no text .*{reason}"):
        made(tmp_path, source=source, metrics=("speed",))


def test_texts_beside_recordings_are_read(tmp_path: Path) -> None:
    source = tmp_path / "one.wav"
    write(source, vowel(1), RATE)
    source.with_suffix(".txt").write_text("\ufeffHello\n  world", "utf-8")
    found = made(tmp_path, source=source, metrics=("speed",))
    assert found.recordings[0].text == "Hello world"


def test_python_is_told_of_wrong_metrics_too(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="There is no metric 'beauty'"):
        made(tmp_path, metrics=("beauty",))
    with pytest.raises(EvaluationError, match="There is nothing to evaluate"):
        evaluate(voice(VoiceConfig(AudioConfig(), synthesizer_config())), [], tmp_path)
