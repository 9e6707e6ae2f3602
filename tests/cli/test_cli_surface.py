"""What is typed is understood as people mean it, without torch, or answered in one line."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

import pytest

import sovits
from sovits.choices import F0_METHODS, field_docs
from sovits.cli import INTERRUPTED, entry_gui, main, parse
from sovits.cli.infer import Infer
from sovits.cli.models import LOGS
from sovits.cli.options import FLAGS
from sovits.cli.pre_config import PreConfig
from sovits.cli.pre_hubert import PreHubert
from sovits.cli.pre_resample import PreResample
from sovits.cli.train import Train
from sovits.config import ConvertOptions
from sovits.features.content import CONTENT
from sovits.features.pitch import PITCH_METHODS
from sovits.legacy.keys import CHANNELS
from sovits.legacy.presets import PRESETS

ROOT = Path(sovits.__file__).parents[1]
DEFAULTS = ConvertOptions()

CHECK = """
import sys
from sovits.cli import main
statuses = [main(argv) for argv in {argvs!r}]
heavy = {{"torch", "numpy", "soundfile", "av", "safetensors", "huggingface_hub"}} & set(sys.modules)
assert not heavy, heavy
assert set(statuses) == {{{status}}}, statuses
"""
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "PATH": "/usr/bin:/bin"}


def shell(*argvs: list[str], status: int, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run command lines in a process of their own, and see that they load nothing heavy."""
    return subprocess.run(
        [sys.executable, "-c", CHECK.format(argvs=argvs, status=status)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=ENVIRONMENT,
        check=False,
    )


def typed(*argv: str) -> Any:
    """Return the command that was typed, in words or as a line."""
    return parse.parse(argv if len(argv) > 1 else argv[0].split())


def options(*argv: str) -> ConvertOptions:
    return cast(Infer, typed("infer", "x.wav", *argv)).conversion


def test_help_is_quick_and_loads_nothing_heavy(tmp_path: Path) -> None:
    begin = time.perf_counter()
    result = shell(["--help"], ["-h"], [], status=0, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("usage: svc") == 3
    assert time.perf_counter() - begin < 5  # one takes 0.4 s where nothing else runs
    result = shell(*([name, "-h"] for name in parse.COMMANDS), status=0, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")


def test_mistakes_are_noticed_without_anything_heavy(tmp_path: Path) -> None:
    (tmp_path / "x.wav").touch()
    (tmp_path / "logs" / "44k").mkdir(parents=True)
    mistakes = (
        ["infer", "missing.wav"],
        ["infer", "x.wav", "-fm", "crep"],
        ["infer", "x.wav", "-m", "missing.pth"],
        ["infer", "x.wav", "-m", "logs/44k"],
        ["infer", "."],
        ["train"],
        ["pre-hubert"],
        ["clean", "--log"],
    )
    result = shell(*mistakes, status=1, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, "")
    said = result.stderr.splitlines()
    assert len(said) == len(mistakes)
    assert all(line.startswith("svc: ") for line in said)


def test_every_command_and_every_flag_is_helped_with(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-h"]) == 0
    overview = capsys.readouterr().out
    for name in parse.COMMANDS:
        assert name in overview
        assert main([name, "-h"]) == 0
        assert f"usage: svc {name}" in capsys.readouterr().out
    assert main(["infer", "-h"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for option in fields(ConvertOptions):
        flag = FLAGS.get(option.name)
        for name in (*(flag.aliases if flag else ()), f"--{option.name.replace('_', '-')}"):
            assert f" {name}" in text, name
        assert field_docs(ConvertOptions)[option.name] in text


@pytest.mark.parametrize(
    ("argv", "changed"),
    [
        ([], {}),
        (["-t", "-12"], {"semitones": -12.0}),
        (["-t-12"], {"semitones": -12.0}),
        (["--transpose", "3.5"], {"semitones": 3.5}),
        (["--transpose=-3.5"], {"semitones": -3.5}),
        (["--semitones", "7"], {"semitones": 7.0}),
        (["-s", "alice b"], {"speaker": "alice b"}),
        (["--speaker", "0"], {"speaker": "0"}),
        (["-fm", "crepe"], {"f0_method": "crepe"}),
        (["--f0-method", "parselmouth"], {"f0_method": "pm"}),
        (["--f0_method", "crepe-tiny"], {"f0_method": "crepe-tiny"}),
        (["-a"], {"auto_f0": True}),
        (["--auto-predict-f0"], {"auto_f0": True}),
        (["-na"], {}),
        (["-a", "-na"], {}),
        (["--no-auto-predict-f0"], {}),
        (["-n", "0.1"], {"noise_scale": 0.1}),
        (["--noise-scale", "0"], {"noise_scale": 0.0}),
        (["-k", "k.pt", "-r", "0.5"], {"retrieval": "k.pt", "retrieval_ratio": 0.5}),
        (
            ["--cluster-model-path", "k.pt", "--cluster-infer-ratio", "1"],
            {"retrieval": "k.pt", "retrieval_ratio": 1.0},
        ),
        (["-db", "-40"], {"silence_db": -40.0}),
        (["--db-thresh", "-35.5"], {"silence_db": -35.5}),
        (["-ab"], {"absolute_silence": True}),
        (["-nab"], {}),
        (["--absolute-thresh"], {"absolute_silence": True}),
        (["-ch", "0.5"], {"silence_seconds": 0.5}),
        (["--chunk-seconds", "0.5"], {"silence_seconds": 0.5}),
        (["-mc", "40"], {"max_piece_seconds": 40.0}),
        (["--max-chunk-seconds", "40"], {"max_piece_seconds": 40.0}),
        (["-p", "0.1"], {"pad_seconds": 0.1}),
        (["--pad-seconds", "0.1"], {"pad_seconds": 0.1}),
        (["--stereo", "side"], {"stereo": "side"}),
        (["--output-rate", "48000"], {"output_rate": 48_000}),
        (["--seed", "3", "--precision", "bf16"], {"seed": 3, "precision": "bf16"}),
    ],
)
def test_flags_mean_what_they_meant(argv: list[str], changed: dict[str, Any]) -> None:
    assert options(*argv) == replace(DEFAULTS, **changed)


def test_infer_takes_its_own_flags() -> None:
    command = typed(
        "infer", "-re", "-o", "out", "-m", "m.pth", "-c", "c.json", "-d", "cpu", "songs"
    )
    assert replace(command, conversion=DEFAULTS) == Infer(
        input_path=Path("songs"),
        output_path=Path("out"),
        model_path="m.pth",
        config_path=Path("c.json"),
        recursive=True,
        device="cpu",
        conversion=DEFAULTS,
    )
    assert typed("infer", "--", "-odd name.wav").input_path == Path("-odd name.wav")


def test_the_other_commands_take_the_forks_flags() -> None:
    assert typed("pre-resample -i a -o b -s 24000 -n 2 -d 40 -f 1 -hop 0.3") == PreResample(
        Path("a"), Path("b"), 24_000, "2", 40.0, 1.0, 0.3
    )
    assert typed("pre-resample", "-ho", "0.1").hop_seconds == 0.1
    assert typed("pre-config -i a -f b -c c -t quickvc --speech-encoder e") == PreConfig(
        Path("a"), Path("b"), Path("c"), "quickvc", "e"
    )
    assert typed("pre-hubert -i a -c b -n 2 -f -fm dio -d cpu") == PreHubert(
        Path("a"), Path("b"), "2", True, "dio", "cpu"
    )
    assert typed("pre-hubert", "-nf").force_rebuild is False
    assert typed("train -c a -m b -t -r --max-steps 9 --max-time 5m -d cpu") == Train(
        Path("a"), Path("b"), True, True, 9, "5m", "cpu"
    )
    assert typed("train", "-nt").tensorboard is False
    assert typed("train").model_path == LOGS


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["infr"], "There is no command svc infr. Did you mean infer?"),
        (["onnx"], "svc onnx is a command of so-vits-svc-fork, and not part of this version."),
        (["infer", "x", "--sillence-db", "3"], "no flag --sillence-db. Did you mean --silence-db?"),
        (["infer", "x", "-q"], "svc infer has no flag -q."),
        (["infer", "my", "song.wav"], "svc infer does not know what 'song.wav' is for."),
        (["infer"], "Missing from svc infer: INPUT"),
        (["infer", "x", "-t"], "Missing value for argument '-t/"),
        (["infer", "x", "-t", "abc"], "could not convert string to float: 'abc'"),
        (["infer", "x", "--stereo", "wide"], "'wide' for argument '--stereo'"),
        (["infer", "x", "-t", "100"], "semitones is 100.0, but must be between -60 and 60."),
        (["infer", "x", "-r", "1.5"], "retrieval_ratio is 1.5, but must be between 0 and 1."),
        (["infer", "x", "-fm", "crep"], "There is no pitch method crep. Did you mean crepe?"),
        (["train", "--max-steps", "0", "-c", __file__], "--max-steps is 0, but must be at least 1"),
        (["pre-resample", "-s", "3"], "--sampling-rate is 3, but must be between"),
        (
            ["pre-resample", "-n", "-5"],
            "--workers is '-5', but must be between 1 and 1024, or auto",
        ),
        (["export", "-o", "voice.wav"], "voice.wav cannot be a voice file."),
    ],
)
def test_mistakes_are_answered_in_one_line(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("svc: ")
    assert message in err
    assert err.count("\n") == 1


def test_mistakes_are_told_in_colour_and_in_ascii_too() -> None:
    for complaint in (
        "╭─ Value error ─╮\n│ Wrong \x1b[1mvalue\x1b[0m │\n│ 'x' │\n│ ──── │\n│ more │\n╰──╯\n",
        " Value error \n ------------ \n  Wrong value\n  'x' \n  ------------\n  more\n \n",
        "Wrong value 'x'",
    ):
        error = parse._in_one_line("infer", complaint)
        assert str(error).startswith("Wrong value 'x'. Run svc infer --help")


def test_names_that_the_shell_knows_are_the_names_there_are() -> None:
    assert set(F0_METHODS) == set(PITCH_METHODS)
    assert {name: spec.channels for name, spec in CONTENT.items()} == CHANNELS
    assert F0_METHODS[0] == DEFAULTS.f0_method
    assert set(FLAGS) <= {option.name for option in fields(ConvertOptions)}
    assert PreConfig().config_type in PRESETS


def test_the_page_says_that_it_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        entry_gui()
    assert "not part of this version yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), INTERRUPTED, "svc: Interrupted."),
        (PermissionError(13, "Permission denied", "x/y"), 1, "svc: x/y: Permission denied."),
        (MemoryError(), 1, "svc: Out of memory."),
    ],
)
def test_what_happens_to_programs_is_one_line(
    error: BaseException,
    status: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_argv: Sequence[str]) -> None:
        raise error

    monkeypatch.setattr(parse, "parse", fail)
    assert main([]) == status
    err = capsys.readouterr().err
    assert err.startswith(message)
    assert err.count("\n") == 1


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_command_in_one_line(tmp_path: Path, kind: signal.Signals) -> None:
    (tmp_path / "dataset").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", "from sovits.cli import entry; entry()", "clean"],
        cwd=tmp_path,
        env=ENVIRONMENT | {"PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(6) == "Delete"
        time.sleep(0.5)  # Python notices no signal between the question and the wait for an answer
        process.send_signal(kind)
        assert process.wait(10) == INTERRUPTED
        listed, said = process.stderr.read().splitlines()
    assert listed == "dataset: 0 files, 0.0 MB"
    assert said.startswith("svc: Interrupted.")


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "from sovits.cli import entry; entry()", "infer", "-h"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(10) == 1
