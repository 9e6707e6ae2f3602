"""What a live conversion shows while it runs, and the keys it knows."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.console import RenderableType

    from sovits.realtime.session import Status

BAR, LOWEST_DB = 24, -60.0
TOO_SLOW = 0.9
"""Share of a block that it may take before it is said that it is too much."""
KEYS = "up/down: transpose   m: mute   p: original   q: quit"


class Controls(NamedTuple):
    """What the keys have changed."""

    semitones: float
    muted: bool = False
    original: bool = False
    ended: bool = False

    def pressed(self, key: str) -> Controls:
        """Return what a key makes of them."""
        if key in ("\x1b[A", "+"):
            return self._replace(semitones=min(self.semitones + 1, 60.0))
        if key in ("\x1b[B", "-"):
            return self._replace(semitones=max(self.semitones - 1, -60.0))
        if key == "m":
            return self._replace(muted=not self.muted)
        if key == "p":
            return self._replace(original=not self.original)
        return self._replace(ended=True) if key in ("q", "\x03") else self


def decibels(peak: float) -> float:
    """Return the level of a peak (dBFS)."""
    return 20 * math.log10(max(peak, 1e-10))


def meter(peak: float) -> str:
    """Return a bar for the level of a peak, and the level.

    >>> meter(0.5)
    '######################    -6 dB'
    """
    level = decibels(peak)
    filled = round(BAR * min(max(1 - level / LOWEST_DB, 0.0), 1.0))
    return f"{'#' * filled:{BAR}} {max(level, -99):+3.0f} dB"


def advice(status: Status) -> str:
    """Return what ought to be done, if anything."""
    if status.waiting:
        return f"Waiting for {status.waiting}."
    if status.p99 > TOO_SLOW * status.block:
        longer = status.block * status.p99 / (0.7 * status.block)
        return f"This machine is too slow for such blocks: try -b {longer:.2f}."
    if status.faults:
        return f"{status.faults} samples were no sound, and are silent."
    return ""


def line(status: Status, controls: Controls) -> str:
    """Return how it goes, as one line."""
    told = [
        f"in {decibels(status.input_peak):+.0f} dB",
        f"out {decibels(status.output_peak):+.0f} dB",
        f"latency {1000 * status.latency:.0f} ms",
        f"block {1000 * status.block:.0f} ms",
        f"p50 {1000 * status.p50:.1f} ms",
        f"p99 {1000 * status.p99:.1f} ms",
        f"misses {status.misses}",
        f"losses {status.losses}",
        f"transpose {controls.semitones:+g}",
    ]
    return ", ".join([*told, *filter(None, [advice(status)])])


def panel(name: str, status: Status, controls: Controls) -> RenderableType:
    """Return how it goes, as a panel for a terminal."""
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_row("in", _meter(status.input_peak))
    table.add_row("out", _meter(status.output_peak))
    parts = f"voice {1000 * status.algorithm:.0f} + blocks {1000 * status.buffers:.0f}"
    parts += f" + devices {1000 * status.devices:.0f} ms"
    table.add_row("latency", f"[bold]{1000 * status.latency:.0f} ms[/]  [dim]{parts}[/]")
    p99 = f"{1000 * status.p99:.1f}"
    slow = status.p99 > TOO_SLOW * status.block
    table.add_row(
        "block",
        f"{1000 * status.block:.0f} ms  [dim]takes[/] {1000 * status.p50:.1f} "
        f"[dim]p99[/] {f'[red]{p99}[/]' if slow else p99} ms",
    )
    table.add_row("misses", f"{status.misses}  [dim]devices lost[/] {status.losses}")
    state = [f"{controls.semitones:+g} semitones"]
    state += ["[yellow]muted[/]"] * controls.muted + ["[yellow]original[/]"] * controls.original
    table.add_row("voice", f"{'  '.join(state)}")
    if told := advice(status):
        table.add_row("", Text(told, style="yellow"))
    return Panel(table, title=f"svc vc  {name}", subtitle=KEYS, width=72)


def _meter(peak: float) -> RenderableType:
    from rich.text import Text

    style = "red" if peak > 0.95 else "yellow" if peak > 0.7 else "green"
    bar = meter(peak)
    return Text.assemble((bar[:BAR], style), bar[BAR:])


@contextlib.contextmanager
def keys() -> Iterator[Callable[[], str]]:
    """Let keys be read as they are pressed; yield what returns the next one, or nothing."""
    if not sys.stdin.isatty():
        yield lambda: ""
        return
    if sys.platform == "win32":
        import msvcrt

        yield lambda: msvcrt.getwch() if msvcrt.kbhit() else ""
        return
    import select
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)

    def pressed() -> str:
        if not select.select([sys.stdin], [], [], 0)[0]:
            return ""
        key = sys.stdin.read(1)
        while key in ("\x1b", "\x1b[") and select.select([sys.stdin], [], [], 0.01)[0]:
            key += sys.stdin.read(1)
        return key

    try:
        tty.setcbreak(sys.stdin)
        yield pressed
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


@contextlib.contextmanager
def shown(name: str, every: float = 5.0) -> Iterator[Callable[[Status, Controls, float], None]]:
    """Show how it goes: a panel on a terminal, else a line every few seconds.

    Yields:
        What is told how it goes, and the time (s).
    """
    if sys.stdout.isatty():
        from rich.live import Live

        with Live(refresh_per_second=10, transient=True) as live:
            yield lambda status, controls, _now: live.update(panel(name, status, controls))
        return
    told = [-math.inf]

    def tell(status: Status, controls: Controls, now: float) -> None:
        if now - told[0] >= every:
            told[0] = now
            print(line(status, controls), flush=True)

    yield tell
