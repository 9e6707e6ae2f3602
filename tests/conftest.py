"""The same numbers on every run: one thread, a fixed seed, derandomised Hypothesis.

Also notes every message of `sovits.errors` that a test produces; see `test_errors.py`.
"""

from __future__ import annotations

import inspect
import re
import signal
from collections.abc import Iterator, Sequence
from functools import wraps
from pathlib import Path
from types import MethodType
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings

from sovits import errors

settings.register_profile(
    "sovits",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("sovits")
torch.set_num_threads(1)
# A shell has what it runs in the background ignore these, and so would all that tests begin.
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGTERM, signal.SIG_DFL),
):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


PRODUCED: dict[str, list[str]] = {}
"""What each message said so far, by `Class.method`."""
PARTIAL: list[str] = []
"""What was left out; nothing if the whole suite runs."""
WRONG: list[str] = []


def messages() -> Iterator[tuple[type, str, MethodType]]:
    """Yield the class, name and method of every message there is."""
    for kind in vars(errors).values():
        if inspect.isclass(kind) and issubclass(kind, errors.SovitsError):
            for name, value in vars(kind).items():
                if isinstance(value, classmethod):
                    yield kind, name, getattr(kind, name)


def _note(kind: type, name: str, method: MethodType) -> None:
    """Let a message note that it was produced."""
    made = PRODUCED.setdefault(f"{kind.__name__}.{name}", [])

    @wraps(method.__func__)
    def noted(cls: type, *args: object, **kwargs: object) -> object:
        error = method.__func__(cls, *args, **kwargs)
        made.append(str(error))
        return error

    setattr(kind, name, classmethod(noted))


for message in list(messages()):
    _note(*message)


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Remember that not all tests run."""
    PARTIAL.extend(item.nodeid for item in items)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Remember which files are left out, and tests of files of which only a part runs."""
    missing = set(Path(__file__).parent.rglob("test_*.py")) - {item.path for item in items}
    PARTIAL.extend(sorted(map(str, missing)))
    PARTIAL.extend(arg for arg in config.args if "::" in arg)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take over what a worker of pytest-xdist has noted; one that died has told nothing."""
    told = getattr(node, "workeroutput", {})
    for name, made in told.get("produced", {}).items():
        PRODUCED.setdefault(name, []).extend(made)
    PARTIAL.extend(told.get("partial", ["a worker died"]))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Judge what all tests did, where all of them ran and none failed."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output |= {"produced": PRODUCED, "partial": PARTIAL}
    elif not PARTIAL and exitstatus == pytest.ExitCode.OK and not session.config.option.collectonly:
        WRONG.extend(wrong_messages(PRODUCED))
        if WRONG:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say which messages are wrong."""
    if WRONG:
        terminalreporter.section("messages of sovits.errors")
        for line in WRONG:
            terminalreporter.write_line(line)


def wrong_messages(produced: dict[str, list[str]]) -> list[str]:
    """Return what is wrong: messages that no test produced, or that are not one line."""
    never = [f"{name}: produced by no test" for name, made in sorted(produced.items()) if not made]
    unlike = [
        f"{name}: not one line of whole sentences: {message[:200]!r}"
        for name, made in sorted(produced.items())
        for message in made
        if len(message.splitlines()) != 1
        or not message.endswith((".", "?"))
        # Two full stops, but for three, and for folders that a message names.
        or re.search(r"[^./]\.\.(?![./])", message)
        or len(message) >= 2000
    ]
    return never + unlike
