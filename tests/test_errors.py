"""Every message is produced by some test, is one line, and stands in `sovits.errors`."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import pytest
from conftest import PRODUCED, messages, wrong_messages

import sovits
from sovits.errors import MOST_NAMES, AudioError, SovitsError, UsageError, VoiceError

KINDS = {kind.__name__ for kind, _, _ in messages()}


def test_messages_that_are_wrong_fail_the_whole_suite() -> None:
    """`conftest.py` judges all that the tests have produced, at their end."""
    good = ["a.wav is empty. Give another.", "Is it ../a...?"]
    assert wrong_messages({"A.good": good}) == []
    for bad in ("two\nlines.", "no stop", "two stops..", "long " * 400 + "."):
        assert len(wrong_messages({"A.good": good, "A.bad": [bad]})) == 1
    assert wrong_messages({"A.never": []}) == ["A.never: produced by no test"]
    assert {f"{kind.__name__}.{name}" for kind, name, _ in messages()} == set(PRODUCED)


def test_errors_are_made_in_one_place() -> None:
    """Elsewhere they are raised by their names; texts beside the code would go untested."""
    root = Path(sovits.__file__).parent
    for path in root.rglob("*.py"):
        if path.name == "errors.py":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in KINDS, f"{path}:{node.lineno}"


def test_errors_keep_their_type_out_of_a_worker() -> None:
    for error in (AudioError.missing(Path("x.wav")), VoiceError.no_f0_decoder()):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))


@pytest.mark.parametrize("breaking", ["\n", "\r", "\x1b[2J", "\u2028", "\x85", "\x00", "\ud800"])
def test_names_from_files_break_no_line_and_no_terminal(breaking: str) -> None:
    error = VoiceError.unknown_speaker(f"a{breaking}b", [f"x{breaking}y"])
    assert len(str(error).splitlines()) == 1
    assert str(error).encode("utf-8").decode().isprintable()
    assert breaking[0] not in str(error)


def test_letters_of_all_languages_stay() -> None:
    assert "歌手 Zoë 🎤 नमस्ते" in str(SovitsError("歌手 Zoë 🎤 नमस्ते"))


def test_long_lists_of_names_are_cut() -> None:
    names = [f"speaker-{i:04}" for i in range(MOST_NAMES + 7)]
    told = str(VoiceError.unknown_speaker("xyz", names))
    assert told.endswith(f"{names[MOST_NAMES - 1]} and 7 more.")
    assert "Did you mean infer?" in str(UsageError.unknown_command("infre", ["infer", "train"]))
