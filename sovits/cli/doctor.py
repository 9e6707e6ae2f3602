"""svc doctor."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from sovits.cli.infer import check_output
from sovits.cli.options import check_jobs
from sovits.cli.progress import counter, note
from sovits.errors import OutputError, one_line

if TYPE_CHECKING:
    from sovits.prepare.doctor import Diagnosis

MOST_LINES = 40
"""Findings of one speaker that are printed; the report and the JSON have all."""


@dataclass(frozen=True)
class Doctor:
    """Say what is wrong with recordings, before they are trained on, and what to do about it."""

    input_dir: Positional[Annotated[Path, arg(metavar="DIR")]] = Path("dataset_raw")
    """Recordings: a folder per speaker, or the sounds of one speaker."""
    goal: Literal["speech", "singing"] = "speech"
    """What the voice shall do; for singing a quarter of the recordings should be sung."""
    fix: bool = False
    """Write a copy of all recordings without what can safely be put right."""
    output_dir: Annotated[Path | None, arg(aliases=("-o",), metavar="DIR")] = None
    """Folder for that copy; DIR-fixed beside DIR if not given."""
    json: bool = False
    """Print all that was measured, as JSON."""
    report: Annotated[Path | None, arg(metavar="PATH")] = None
    """Page to write (HTML)."""
    n_jobs: Annotated[int, arg(aliases=("-n", "--workers"))] = -1
    """Processes; -1 for as many as cores and memory allow."""

    def run(self) -> int:
        """Print what is wrong; return 1 if a file cannot be read."""
        n_jobs = check_jobs(self.n_jobs)
        folder = self.input_dir
        out = self.output_dir or folder.with_name(f"{folder.resolve().name}-fixed")
        if self.fix and (
            out.resolve() == folder.resolve() or folder.resolve() in out.resolve().parents
        ):
            raise OutputError.inside_source(out, folder)
        if self.report is not None:
            check_output(self.report)
        from sovits.prepare.doctor import diagnose

        with counter("Examining") as move:
            diagnosis = diagnose(folder, goal=self.goal, n_jobs=n_jobs, on_progress=move)
        if self.json:
            print(json.dumps(_plain(diagnosis.to_json()), indent=2, ensure_ascii=False))
        else:
            _tell(diagnosis)
        if self.report is not None:
            from sovits.prepare.doctor_page import write_page

            self.report.parent.mkdir(parents=True, exist_ok=True)
            write_page(self.report, diagnosis)
            if not self.json:
                print(self.report)
        if self.fix:
            from sovits.prepare.mend import mend

            mended = mend(diagnosis, out)
            for skipped in mended.skipped:
                note(f"left out {skipped}")
            note(f"{len(mended.made)} recordings written to {out}.")
            if not self.json:
                print(out)
        return 1 if diagnosis.damaged else 0


def _plain(value: object) -> object:
    """Return JSON that holds no NaN."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and value != value else value  # noqa: PLR0124


def _tell(diagnosis: Diagnosis) -> None:
    """Print what was found, a line each."""
    from sovits.prepare.doctor_page import VERDICTS, summary, told

    for skipped in diagnosis.skipped:
        note(f"skipped {skipped}")
    for speaker in diagnosis.speakers:
        print(one_line(f"{speaker.name}: {speaker.light}. {VERDICTS[speaker.light]}."))
        print(f"  {summary(speaker.facts)}")
        known = "; ".join(f"{name.lower()} {value}" for name, value in told(speaker.facts))
        print(f"  {known}")
        for finding in speaker.findings[:MOST_LINES]:
            where = "" if finding.file is None else f"{finding.file}: "
            print(one_line(f"  {finding.weight}  {where}{finding.found}. {finding.do}"))
        if len(speaker.findings) > MOST_LINES:
            more = len(speaker.findings) - MOST_LINES
            print(f"  ... and {more} more: --report or --json has all.")
    sys.stdout.flush()
