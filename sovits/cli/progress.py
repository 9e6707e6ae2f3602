"""How far a command is, on the terminal, if there is one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sovits.prepare.report import Report


@contextmanager
def bar(what: str) -> Iterator[Callable[[float], None]]:
    """Show a bar on stderr while something runs; hand out what moves it, from 0 to 1."""
    if not sys.stderr.isatty():
        yield lambda _share: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=1.0)
        yield lambda share: progress.update(task, completed=share)


@contextmanager
def counter(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar of files done, and of how many."""
    with bar(what) as move:
        yield lambda done, total: move(done / total)


def note(message: str) -> None:
    """Print one line beside the result."""
    print(message.replace("\n", "\\n"), file=sys.stderr)


def tell(report: Report, what: str) -> None:
    """Print what a stage left out, and how much it did.

    Raises:
        DatasetError: It could do nothing at all.
    """
    for skipped in report.skipped:
        note(f"skipped {skipped}")
    for path in report.stale:
        note(f"{path} is of an earlier run and belongs to no recording now; delete it if so")
    if not report.made and not report.kept:
        from sovits.errors import DatasetError

        first = str(report.skipped[0]) if report.skipped else "there were none"
        raise DatasetError.nothing_made(what, first, len(report.skipped))
    kept = f", {len(report.kept)} were there already" if report.kept else ""
    note(f"{len(report.made)} {what} made{kept}, {len(report.skipped)} files left out.")
