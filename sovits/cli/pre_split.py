"""svc pre-split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from sovits.cli.options import check_between, check_jobs
from sovits.cli.progress import counter, tell


@dataclass(frozen=True)
class PreSplit:
    """Cut long recordings into pieces of 10 to 15 seconds, in pauses; nothing is lost."""

    input_dir: Annotated[Path, arg(aliases=("-i",))] = Path("dataset_raw_raw")
    """Recordings, in any folders."""
    output_dir: Annotated[Path, arg(aliases=("-o",))] = Path("dataset_raw")
    """Where the pieces go, in the same folders."""
    n_jobs: Annotated[int, arg(aliases=("-n", "--workers"))] = -1
    """Processes; -1 for as many as cores and memory allow."""
    max_length: Annotated[float, arg(aliases=("-l",))] = 15.0
    """Longest piece (s)."""
    min_length: float | None = None
    """Shortest piece, where pauses allow it (s); two thirds of the longest if not given."""
    top_db: Annotated[float, arg(aliases=("-d",))] = 30.0
    """Level below the loud parts under which sound is silence (dB)."""
    frame_seconds: Annotated[float, arg(aliases=("-f",))] = 0.03
    """Length of the frames whose level is measured (s)."""
    hop_seconds: Annotated[float, arg(aliases=("-ho", "-hop"))] = 0.01
    """Time from one such frame to the next (s)."""
    sr: Annotated[int, arg(aliases=("-s",))] = 44_100
    """Rate of the pieces (Hz)."""
    drop_silence: bool = False
    """Leave out silences of more than a second."""

    def run(self) -> int:
        """Write the pieces; return 1 if a recording could not be read."""
        check_between("--sr", self.sr, 4_000, 384_000)
        check_between("--max-length", self.max_length, 1, 600)
        shortest = self.max_length * 2 / 3 if self.min_length is None else self.min_length
        check_between("--min-length", shortest, 0.1, self.max_length)
        check_between("--top-db", self.top_db, 1, 200)
        check_between("--hop-seconds", self.hop_seconds, 0.001, 0.1)
        check_between("--frame-seconds", self.frame_seconds, self.hop_seconds, 10)
        n_jobs = check_jobs(self.n_jobs)
        from sovits.prepare.split import SplitOptions, split_recordings

        options = SplitOptions(
            self.sr,
            self.max_length,
            shortest,
            self.top_db,
            self.frame_seconds,
            self.hop_seconds,
            self.drop_silence,
        )
        with counter("Cutting") as move:
            report = split_recordings(
                self.input_dir, self.output_dir, options, n_jobs=n_jobs, on_progress=move
            )
        tell(report, "pieces")
        print(self.output_dir)
        return 1 if report.damaged else 0
