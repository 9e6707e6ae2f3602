"""Every message is produced by some test, is one line, and stands in `sovits.errors`."""

from __future__ import annotations

import ast
import pickle
import re
from pathlib import Path

import pytest
from conftest import messages

import sovits
from sovits.errors import MOST_NAMES, AudioError, SovitsError, UsageError, VoiceError

KINDS = {kind.__name__ for kind, _, _ in messages()}


@pytest.mark.whole_suite
def test_every_message_is_produced_by_some_test(produced: dict[str, list[str]]) -> None:
    assert sorted(name for name, made in produced.items() if not made) == []


@pytest.mark.whole_suite
def test_every_message_is_one_line_of_whole_sentences(produced: dict[str, list[str]]) -> None:
    wrong = [
        (name, message[:200])
        for name, made in produced.items()
        for message in made
        if len(message.splitlines()) != 1
        or not message.endswith((".", "?"))
        # Two full stops, but for three, and for folders that a message names.
        or re.search(r"[^./]\.\.(?![./])", message)
        or len(message) >= 2000
    ]
    assert wrong == []


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
