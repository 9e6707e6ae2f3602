"""Turn what was typed into a command, or into one line that says what is wrong with it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import Protocol, cast

from tyro.extras import subcommand_cli_from_dict

from sovits.cli.clean import Clean
from sovits.cli.cover import Cover
from sovits.cli.doctor import Doctor
from sovits.cli.evaluate import Evaluate
from sovits.cli.export import Export
from sovits.cli.infer import Infer
from sovits.cli.mix import Mix
from sovits.cli.pre_classify import PreClassify
from sovits.cli.pre_config import PreConfig
from sovits.cli.pre_hubert import PreHubert
from sovits.cli.pre_resample import PreResample
from sovits.cli.pre_sd import PreSd
from sovits.cli.pre_split import PreSplit
from sovits.cli.prepare import Prepare
from sovits.cli.record import Record
from sovits.cli.separate import Separate
from sovits.cli.serve import Serve
from sovits.cli.train import Train
from sovits.cli.train_cluster import TrainCluster
from sovits.cli.train_diffusion import TrainDiffusion
from sovits.cli.train_index import TrainIndex
from sovits.cli.train_vocoder import TrainVocoder
from sovits.cli.vc import Vc
from sovits.cli.voices import Voices
from sovits.errors import UsageError


class Command(Protocol):
    """What was typed, checked as far as it can be."""

    def run(self) -> int:
        """Do it, and return the exit status."""


COMMANDS: dict[str, Callable[..., Command]] = {
    "infer": Infer,
    "vc": Vc,
    "prepare": Prepare,
    "doctor": Doctor,
    "record": Record,
    "pre-split": PreSplit,
    "pre-sd": PreSd,
    "pre-classify": PreClassify,
    "pre-resample": PreResample,
    "pre-config": PreConfig,
    "pre-hubert": PreHubert,
    "train": Train,
    "train-index": TrainIndex,
    "train-cluster": TrainCluster,
    "train-diffusion": TrainDiffusion,
    "train-vocoder": TrainVocoder,
    "separate": Separate,
    "cover": Cover,
    "export": Export,
    "mix": Mix,
    "evaluate": Evaluate,
    "serve": Serve,
    "voices": Voices,
    "clean": Clean,
}
"""Every command by the name that is typed."""

ELSEWHERE = frozenset({"gui", "onnx"})
"""Commands of so-vits-svc-fork that are not here."""

# Short ways to say no, as the fork has them; what is said no to has its long name.
NEGATIONS = {
    "infer": {"-na": "--no-auto-predict-f0", "-nab": "--no-absolute-thresh"},
    "vc": {"-na": "--no-auto-predict-f0", "-npo": "--no-passthrough-original"},
    "cover": {"-na": "--no-auto-predict-f0", "-nab": "--no-absolute-thresh"},
    "evaluate": {"-na": "--no-auto-predict-f0", "-nab": "--no-absolute-thresh"},
    "pre-hubert": {"-nf": "--no-force-rebuild"},
    "pre-classify": {"-nc": "--no-create-new"},
    "train": {"-nt": "--no-tensorboard"},
    "train-cluster": {"-nm": "--no-minibatch", "-np": "--no-partial-fit"},
}

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_RULE = re.compile(r"[\s│─-]*[─-]{3}[\s│─-]*")  # ASCII where the terminal has no Unicode
_FLAG = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")


def parse(argv: Sequence[str]) -> Command | None:
    """Return the command that was typed; None if it was only a question, now answered.

    Raises:
        UsageError: There is no such command or flag, or a value is missing or wrong.
    """
    if not argv:
        argv = ["--help"]
    name, *rest = argv
    if name in ELSEWHERE:
        raise UsageError.elsewhere(name, COMMANDS)
    if name not in COMMANDS and name not in ("-h", "--help"):
        raise UsageError.unknown_command(name, COMMANDS)
    negations = NEGATIONS.get(name, {})
    rest = [negations.get(word, word) for word in rest]
    status, command, _, complaint = _ask([name, *rest])
    if command is not None:
        return command
    if status == 0:
        _ask_aloud([name, *rest])
        return None
    raise _in_one_line(name, complaint)


def _ask(argv: list[str]) -> tuple[int, Command | None, str, str]:
    """Return the exit status or the command, and what was printed meanwhile."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            return 0, _parse(argv), "", ""
        except SystemExit as left:
            status = left.code if isinstance(left.code, int) else 1
    return status, None, out.getvalue(), err.getvalue()


def _ask_aloud(argv: list[str]) -> None:
    """Print the help that was asked for."""
    try:
        _parse(argv)
    except SystemExit:
        return


def _parse(argv: list[str]) -> Command:
    return cast(Command, subcommand_cli_from_dict(COMMANDS, prog="svc", args=argv))


def _in_one_line(name: str, complaint: str) -> UsageError:
    """Return what tyro complains of in a frame of several lines, as one sentence."""
    lines = _COLOUR.sub("", complaint).splitlines()
    rules = [i for i, line in enumerate(lines) if "╭" in line or _RULE.fullmatch(line)]
    first = rules[0] + 1 if rules else 0
    last = next((i for i in rules if i > first), len(lines))
    text = " ".join(word for line in lines[first:last] for word in line.strip("│ ").split())
    unknown, found, words = text.partition("Unrecognized options:")
    if found and not unknown:
        word = words.split(",")[0].strip()
        if word.startswith("-"):
            _, _, help_text, _ = _ask([name, "--help"])
            return UsageError.unknown_flag(name, word, set(_FLAG.findall(help_text)))
        return UsageError.unexpected(name, word)
    return UsageError.not_understood(name, text)
