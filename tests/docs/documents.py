"""The documentation, taken apart: blocks of code, commands, links, headings and tables."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
README, GUIDE = ROOT / "README.md", ROOT / "docs/guide.md"
BENCHMARKS = ROOT / "docs/benchmarks.md"
"""Written by `make bench`."""
DOCUMENTS = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """A stretch of code."""

    language: str
    text: str


LAUNCHERS = ("torchrun", "srun")
"""Commands that begin `svc` in several processes."""


def blocks(path: Path, language: str) -> list[str]:
    """Return the stretches of code of one language."""
    found = (Block(*match.groups()) for match in _BLOCK.finditer(path.read_text("utf-8")))
    return [block.text for block in found if block.language == language]


def prose(path: Path) -> str:
    """Return a document without its stretches of code."""
    return _BLOCK.sub("", path.read_text("utf-8"))


def spans(path: Path) -> list[str]:
    """Return what stands between backticks."""
    return re.findall(r"`([^`\n]+)`", prose(path))


def lines(path: Path) -> list[list[str]]:
    """Return the command lines of a document, in words, without settings of the environment."""
    found = []
    for block in blocks(path, "sh"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
                words.pop(0)
            if words:
                found.append(words)
    return found


def commands(path: Path) -> list[list[str]]:
    """Return what is typed after `svc`, or after what a launcher of processes calls it."""
    found = []
    for words in lines(path):
        name = {"torchrun": "sovits"}.get(words[0], "svc")
        if words[0] == "svc" or words[0] in LAUNCHERS:
            found.append(words[words.index(name) + 1 :])
    return found


def links(path: Path) -> list[str]:
    """Return where the links of a document lead."""
    return _LINK.findall(prose(path))


def anchors(path: Path) -> set[str]:
    """Return the names by which the headings of a document are linked to."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows(path: Path, head: str) -> list[list[str]]:
    """Return the cells of the table that begins with the line `head`, without its head."""
    text = path.read_text("utf-8").split("\n")
    begin = text.index(head) + 2
    found = []
    for line in text[begin:]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def tables() -> ModuleType:
    """Return `tools/flags.py`."""
    spec = importlib.util.spec_from_file_location("flags", ROOT / "tools/flags.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
