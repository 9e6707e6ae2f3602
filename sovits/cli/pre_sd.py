"""svc pre-sd."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from sovits.cli.options import check_between, check_jobs
from sovits.cli.progress import counter, note, tell


@dataclass(frozen=True)
class PreSd:
    """Tell speakers apart in recordings of several; a folder each. Needs no token and no GPU."""

    input_dir: Annotated[Path, arg(aliases=("-i",))] = Path("dataset_raw_raw")
    """Recordings, in any folders."""
    output_dir: Annotated[Path, arg(aliases=("-o",))] = Path("dataset_raw")
    """Where the speakers' folders go: speaker_1 is who is heard most."""
    n_jobs: Annotated[int, arg(aliases=("-n",))] = -1
    """Without effect: one process hears all recordings, as speakers are told apart over all."""
    min_speakers: Annotated[int, arg(aliases=("-min",))] = 2
    """Fewest speakers."""
    max_speakers: Annotated[int, arg(aliases=("-max",))] = 2
    """Most speakers."""
    huggingface_token: Annotated[str | None, arg(aliases=("-t",), metavar="TOKEN")] = None
    """Without effect: nothing is fetched."""
    sr: Annotated[int, arg(aliases=("-s",))] = 44_100
    """Rate of what is written (Hz)."""

    def run(self) -> int:
        """Write what each speaker says; return 1 if a recording could not be read."""
        check_jobs(self.n_jobs)
        check_between("--min-speakers", self.min_speakers, 1, 100)
        check_between("--max-speakers", self.max_speakers, self.min_speakers, 100)
        check_between("--sr", self.sr, 4_000, 384_000)
        if self.huggingface_token is not None:
            note("No token is needed: speakers are told apart by the bundled encoder.")
        from sovits.prepare.diarise import diarise

        with counter("Listening") as move:
            report = diarise(
                self.input_dir,
                self.output_dir,
                least=self.min_speakers,
                most=self.max_speakers,
                sample_rate=self.sr,
                on_progress=move,
            )
        tell(report, "turns")
        print(self.output_dir)
        return 1 if report.damaged else 0
