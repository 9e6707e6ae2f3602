"""What is documented is there, and what is there is documented."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from documents import (
    BENCHMARKS,
    DOCUMENTS,
    GUIDE,
    LAUNCHERS,
    README,
    ROOT,
    anchors,
    blocks,
    commands,
    lines,
    links,
    prose,
    rows,
    spans,
    tables,
)

import sovits
from sovits.cli import main
from sovits.cli.parse import COMMANDS, ELSEWHERE, NEGATIONS, parse
from sovits.config import ConvertOptions, DecoderKind
from sovits.features.content import CONTENT
from sovits.features.pitch import PITCH_METHODS
from sovits.legacy.keys import COMPOSED, ENCODERS
from sovits.legacy.presets import PRESETS
from sovits.train.ears import MEASURES

LEGAL, ARCHITECTURE = ROOT / "docs/legal.md", ROOT / "docs/architecture.md"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
FLAGS = tables()
ids = {"ids": lambda value: value.name if isinstance(value, Path) else None}


@pytest.mark.parametrize("path", DOCUMENTS, **ids)
def test_every_command_line_is_understood(path: Path) -> None:
    for argv in commands(path):
        assert parse(argv) is not None, argv


@pytest.mark.parametrize("path", DOCUMENTS, **ids)
def test_other_lines_of_shell_name_what_there_is(path: Path) -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    extras = PROJECT["project"]["optional-dependencies"]
    for words in lines(path):
        assert words[0] in {"svc", "make", "python3", "pip", ".", *LAUNCHERS}, words
        if words[0] == "make":
            assert set(words[1:]) <= set(targets)
    for extra in re.findall(r"(?:sovits|'\.)\[(\w+)\]", path.read_text("utf-8")):
        assert extra in extras


@pytest.mark.parametrize("path", DOCUMENTS, **ids)
def test_commands_and_flags_that_are_spoken_of_are_there(path: Path) -> None:
    known = {"-h", "--help", "--no-", "--write"}
    known |= {
        name for command in COMMANDS for option in FLAGS.options(command) for name in option.names
    }
    known |= {name for negations in NEGATIONS.values() for name in negations}
    switches = (o for command in COMMANDS for o in FLAGS.options(command) if o.default == "on")
    known |= {f"--no-{name.removeprefix('--')}" for o in switches for name in o.names}
    for span in spans(path):
        words = span.split()
        if words[0] in ("pip", "ray"):  # which have flags of their own
            continue
        if words[0] == "svc" and len(words) > 1:
            assert words[1] in {*COMMANDS, *ELSEWHERE, "--help"}, span
        if words[0] in COMMANDS and any(word.startswith("-") for word in words[1:]):
            words = words[1:]
        assert {word for word in words if re.match(r"--?[a-z]", word)} <= known, span


@pytest.mark.parametrize("name", FLAGS.TABLES)
def test_tables_are_those_of_the_code(name: str) -> None:
    text = (ROOT / "docs" / name).read_text("utf-8")
    for make in FLAGS.TABLES[name]:
        assert f"\n{make()}\n" in text, "run tools/flags.py --write"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_of_a_command_has_all_that_its_help_has(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    flag = re.compile(r"(?<![\w-])--?[a-z][\w-]*")
    options = FLAGS.options(name)
    ours = {word for option in options for word in option.names if word.startswith("-")}
    sentences = [str(COMMANDS[name].__doc__), *(option.meaning for option in options)]
    theirs = set(flag.findall(capsys.readouterr().out)) - {"-h", "--help"}
    theirs = {word for word in theirs if not word.startswith("--no-")}
    assert ours <= theirs
    assert theirs - ours <= set(flag.findall(" ".join(sentences)))


def test_tables_are_put_in_place_of_what_was_there() -> None:
    text = "before\n| a | b |\n|---|---|\n| old | 1 |\n| older | 2 |\n\nafter"
    made = "| a | b |\n|---|---|\n| new | 3 |"
    assert FLAGS.updated(text, made) == f"before\n{made}\n\nafter"


@pytest.mark.parametrize("path", DOCUMENTS, **ids)
def test_links_lead_somewhere(path: Path) -> None:
    for link in links(path):
        if re.match(r"https?://", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if target == BENCHMARKS and not target.exists():
            continue
        assert target.exists(), link
        assert target.is_relative_to(ROOT)
        assert not anchor or anchor in anchors(target), link


def test_nothing_names_a_machine() -> None:
    machine = re.compile(
        r"/(?:work|root|home|Users|mnt)/\w|\bpypi\.org|pythonhosted|:\\\\|@\w+\.example"
        # Not a version of four numbers, nor the addresses that mean whichever machine it is.
        r"|(?<!==)(?<![\w.])(?!127\.0\.0\.1)\d{1,3}(?:\.\d{1,3}){3}(?![\w.])"
    )
    found = [*DOCUMENTS, ROOT / "Makefile", ROOT / "pyproject.toml"]
    for folder in ("sovits", "tools", "examples", "benchmarks"):
        found += sorted(
            path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".sh")
        )
    for path in found:
        assert not machine.search(path.read_text("utf-8")), path


def test_the_readme_is_short_and_names_what_there_is() -> None:
    text = README.read_text("utf-8")
    assert len(text.splitlines()) <= 150
    named = set(spans(README))
    assert {*CONTENT, *PITCH_METHODS, *get_args(DecoderKind)} <= named
    assert {*PRESETS} - {"so-vits-svc-4.0v1-legacy"} <= named


def test_the_readme_has_the_defaults() -> None:
    here = {row[0]: row[2] for row in rows(README, "| default | the fork | here | because |")}
    options = ConvertOptions()
    assert here["auto pitch (`-a`)"] == ("on" if options.auto_f0 else "off")
    assert here["pitch method (`-fm`)"] == options.f0_method
    assert here["silence (`-db`)"] == f"{options.silence_db:g} dB"
    assert here["longest piece (`-mc`)"].startswith(f"{options.max_piece_seconds:g} s,")


def test_the_guide_has_every_measure_of_a_training_and_what_it_is_worth() -> None:
    table = rows(GUIDE, "| in `verdict.json` | what it is | one point |")
    assert [row[0].strip("`") for row in table] == list(MEASURES)
    for row, measure in zip(table, MEASURES.values(), strict=True):
        size, *_, sign = row[2].split()
        assert float(size) == abs(measure.point)
        assert sign == ("less" if measure.point < 0 else "more")


def test_the_guide_has_every_command_and_every_key() -> None:
    named = set(spans(GUIDE))
    for command in COMMANDS:
        assert f"svc {command}" in named
    named |= set(spans(ROOT / "docs/config.md"))
    for section, keys in COMPOSED.items():
        assert {f"{section}.{key}" for key in keys} <= named
    assert {name for name in ENCODERS if not name.endswith("-onnx")} <= named


def _messages() -> list[str]:
    """Return every message of errors.py, with … for what it is about."""

    def text(node: ast.AST) -> str:
        if isinstance(node, ast.JoinedStr):
            return "".join(text(part) for part in node.values)
        return str(node.value) if isinstance(node, ast.Constant) else "…"

    tree = ast.parse((ROOT / "sovits/errors.py").read_text("utf-8"))
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args)
    return [text(call.args[0]) for call in calls if ast.unparse(call.func) == "cls"]


def test_errors_that_are_explained_can_happen() -> None:
    messages = _messages()
    for row in rows(GUIDE, "| message | what it means |"):
        shown = row[0].strip("`")
        assert any(shown.strip("… ") in message for message in messages), shown


def test_every_bundled_file_has_its_licence_named() -> None:
    named = set(spans(LEGAL))
    for folder in (ROOT / "sovits/assets", ROOT / "examples"):
        for path in folder.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert path.relative_to(folder).as_posix() in named


def test_every_package_has_its_licence_named() -> None:
    text = " ".join(row[0] for row in rows(LEGAL, "| package | for | licence |"))
    extras = PROJECT["project"]["optional-dependencies"]
    for needed in (PROJECT["project"]["dependencies"], *extras.values()):
        for requirement in needed:
            name = re.split(r"[<>=\[]", requirement)[0]
            assert name == "sovits" or re.sub(r"-[12]$", "", name) in text


def test_the_layers_are_those_that_are_checked() -> None:
    (layers,) = (
        contract["layers"]
        for contract in PROJECT["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    )
    assert [layer.replace("sovits.", "") for layer in layers] == next(
        block.split("\n")[:-1]
        for block in blocks(ARCHITECTURE, "")
        if "\nmodels | features\n" in block
    )


def test_the_architecture_names_what_there_is() -> None:
    code = "\n".join(path.read_text("utf-8") for path in (ROOT / "sovits").rglob("*.py"))
    rooms = " ".join(row[0] for row in rows(ARCHITECTURE, "| room | what is in it |"))
    for path in (ROOT / "sovits").iterdir():
        if path.stem.strip("_") != "init" and path.suffix in ("", ".py") and path.name[0] != "_":
            assert f"`sovits/{path.name}{'/' if path.is_dir() else ''}`" in rooms
    decisions = prose(ARCHITECTURE).partition("## Words")
    for part in (decisions[0], decisions[2].partition("## Rules")[2]):
        for span in re.findall(r"`([^`\n]+)`", part):
            if re.fullmatch(r"[\w.-]+/[\w./-]*", span):
                assert (ROOT / span).exists() or (ROOT / "sovits" / span).exists(), span
            elif re.fullmatch(r"[\w.]+", span) and not span.endswith(".md"):
                assert all(word in code for word in span.split(".")), span


def test_every_public_name_says_what_it_is() -> None:
    for name in sovits.__all__:
        public: Any = getattr(sovits, name)
        assert public.__doc__, name
        assert public.__doc__.strip()[-1] in ".`\n" or "Args:" in public.__doc__


def test_the_version_is_the_same_everywhere() -> None:
    newest = re.findall(r"^## \[(\d[\w.]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    assert newest == sovits.__version__ == PROJECT["project"]["version"]
