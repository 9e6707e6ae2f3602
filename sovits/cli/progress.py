"""How far a command is, on the terminal, if there is one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sovits.prepare.report import Report
    from sovits.train.log import Progress


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


class TrainingLines(NamedTuple):
    """Where a training tells what."""

    on_log: Callable[[str], None]
    on_progress: Callable[[Progress], None] | None
    """None if there is nobody to watch a bar, so that lines are told instead."""


@contextmanager
def training_lines() -> Iterator[TrainingLines]:
    """Show how far a training is below its lines, on a terminal; else its lines alone."""
    if not sys.stderr.isatty():
        yield TrainingLines(note, None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar
    from rich.table import Column

    console = Console(stderr=True)
    columns = (
        TextColumn("step {task.completed:.0f}/{task.total:.0f}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=8)),
        TextColumn("{task.fields[pace]}", table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[terms]}", style="dim", table_column=Column(ratio=2)),
    )
    with Bar(*columns, console=console, transient=True, expand=True) as progress:
        task = progress.add_task("", total=1, visible=False, pace="", terms="")

        def move(now: Progress) -> None:
            progress.update(
                task,
                completed=now.step,
                total=max(now.last, 1),
                visible=True,
                pace=_pace(now),
                terms=" ".join(f"{name} {value:.3g}" for name, value in now.terms.items()),
            )

        def say(line: str) -> None:
            console.print(line.replace("\n", "\\n"), markup=False, highlight=False, soft_wrap=True)

        yield TrainingLines(say, move)


def _pace(now: Progress) -> str:
    """Return how fast a training is, how long it will take, and what it occupies."""
    from sovits.train.log import duration

    return f"{now.speed:.3g} it/s  {duration(now.left)} left  {now.memory}"


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
