"""The same numbers on every run: one thread, a fixed seed, derandomised Hypothesis.

Also notes every message of `sovits.errors` that a test produces; see `test_errors.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from functools import wraps
from pathlib import Path
from types import MethodType

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


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


PRODUCED: dict[str, list[str]] = {}
"""What each message said so far, by `Class.method`."""
DESELECTED: list[pytest.Item] = []


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


def pytest_configure(config: pytest.Config) -> None:
    """Make a marker known."""
    config.addinivalue_line("markers", "whole_suite: judges what all other tests did")


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Remember that not all tests run."""
    DESELECTED.extend(items)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put what judges the whole suite at its end, and leave it out where only a part runs."""
    last = [item for item in items if item.get_closest_marker("whole_suite")]
    items[:] = [item for item in items if item not in last] + last
    here = Path(__file__).parent
    missing = set(here.rglob("test_*.py")) - {item.path for item in items}
    parts = missing or any("::" in arg for arg in config.args)
    for item in last:
        item.add_marker(pytest.mark.skipif(bool(parts), reason="only a part of the suite runs"))


@pytest.fixture
def produced() -> dict[str, list[str]]:
    """Return what each message said in all tests so far."""
    if DESELECTED:
        pytest.skip("only a part of the suite runs")
    return PRODUCED
