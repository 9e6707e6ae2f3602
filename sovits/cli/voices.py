"""svc voices."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from shutil import get_terminal_size

from sovits.cli.progress import note
from sovits.errors import one_line
from sovits.library import LOGS, Listed, list_voices

UNKNOWN = "-"
SPEAKERS = 12
"""Characters of speakers' names that a table shows."""
OTHER_COLUMNS = 62
"""Characters that the columns of a table take, but for the first."""
NARROWEST = OTHER_COLUMNS + 12
"""Characters of a terminal on which a table can be read."""


@dataclass(frozen=True)
class Voices:
    """List the voices that -m can name: bundled, trained here, and cached from the hub.

    Their rate (Hz), the median and range of their target's pitch, and how many frames they look
    ahead, if they can stream.
    """

    bundled: bool = False
    """Only those that ship with this package."""
    json: bool = False
    """Print all that is known of them, as one JSON array."""

    def run(self) -> int:
        """Print a table, or where there is no room for one, a line for each with tabs."""
        voices = list_voices(bundled_only=self.bundled)
        if self.json:
            print(json.dumps([voice.to_json() for voice in voices], indent=2))
            return 0
        if not voices:
            where = "" if self.bundled else f", {LOGS} holds none, and none is cached from the hub"
            note(f"There are none: no voice is bundled{where}.")
        elif sys.stdout.isatty() and get_terminal_size().columns >= NARROWEST:
            _print_table(voices)
        else:
            for voice in voices:
                print("\t".join([*_cells(voice), one_line(str(voice.path))]))
        for voice in voices:
            if voice.problem is not None:
                note(f"{one_line(voice.name)} cannot be used: {voice.problem}")
        return 0


def _print_table(voices: list[Listed]) -> None:
    """Print a table as wide as the terminal at most, in which no name is cut short."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("name", overflow="fold", max_width=console.width - OTHER_COLUMNS)
    table.add_column("kind", no_wrap=True)
    table.add_column("speakers", no_wrap=True, max_width=SPEAKERS)
    table.add_column("rate", no_wrap=True, justify="right")
    table.add_column("pitch (Hz)", no_wrap=True, justify="right")
    table.add_column("ahead", no_wrap=True, justify="right")
    for voice in voices:
        table.add_row(*map(Text, _cells(voice)))
    console.print(table)


def _cells(voice: Listed) -> list[str]:
    """Return what is told of a voice: name, kind, speakers, rate, pitch, look-ahead."""
    cells = [
        voice.name,
        voice.kind,
        ", ".join(voice.speakers) or UNKNOWN,
        f"{voice.sample_rate or UNKNOWN}",
        _pitch(voice),
        UNKNOWN if voice.look_ahead is None else f"{voice.look_ahead}",
    ]
    return [one_line(cell) for cell in cells]


def _pitch(voice: Listed) -> str:
    """Return the median and the ends of the range of pitch."""
    median = UNKNOWN if voice.median_f0_hz is None else f"{voice.median_f0_hz:.0f}"
    if voice.f0_range_hz is None:
        return median
    low, high = voice.f0_range_hz
    return f"{median} ({low:.0f}-{high:.0f})"
