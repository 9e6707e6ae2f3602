"""svc pre-resample."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from sovits.cli.progress import counter, tell
from sovits.cli.workers import check_workers, workplace
from sovits.errors import ConfigError


@dataclass(frozen=True)
class PreResample:
    """Make clips of recordings: mono, one rate, one level, no silent ends (step 1 of 4)."""

    input_dir: Annotated[Path, arg(aliases=("-i",))] = Path("dataset_raw")
    """Recordings, in one folder per speaker."""
    output_dir: Annotated[Path, arg(aliases=("-o",))] = Path("dataset/44k")
    """Where the clips go."""
    sampling_rate: Annotated[int, arg(aliases=("-s",))] = 44_100
    """Rate of the clips (Hz)."""
    workers: Annotated[str, arg(aliases=("-n", "--n-jobs"), metavar="N")] = "auto"
    """Processes, or actors with --ray; auto or -1: as many as cores and memory allow."""
    top_db: Annotated[float, arg(aliases=("-d",))] = 30.0
    """Level below the loudest frame under which the ends are silence (dB)."""
    frame_seconds: Annotated[float, arg(aliases=("-f",))] = 0.05
    """Length of the frames whose level is measured (s)."""
    hop_seconds: Annotated[float, arg(aliases=("-ho", "-hop"))] = 0.0125
    """Time from one such frame to the next (s)."""
    ray: Annotated[str | None, arg(metavar="ADDRESS")] = None
    """Work on the machines of a Ray cluster, HOST:6379; auto: the one of this machine."""

    def run(self) -> int:
        """Write the clips; return 1 if a recording could not be read."""
        for flag, value, low, high in (
            ("--sampling-rate", self.sampling_rate, 4_000, 384_000),
            ("--top-db", self.top_db, 1, 200),
            ("--hop-seconds", self.hop_seconds, 0.001, 10),
            ("--frame-seconds", self.frame_seconds, self.hop_seconds, 60),
        ):
            if not low <= value <= high:
                raise ConfigError.wrong_value(flag, value, f"between {low:g} and {high:g}")
        workers = check_workers(self.workers)
        from sovits.prepare.resample import BYTES_EACH, ResampleOptions, resample_recordings

        options = ResampleOptions(
            self.sampling_rate, self.top_db, self.frame_seconds, self.hop_seconds
        )
        folder, out = self.input_dir, self.output_dir
        if self.ray is not None:
            folder, out = folder.absolute(), out.absolute()
            out.mkdir(parents=True, exist_ok=True)
        with (
            workplace(workers, self.ray, bytes_each=BYTES_EACH, shared=(folder, out)) as place,
            counter("Resampling") as move,
        ):
            report = resample_recordings(folder, out, options, crew=place.crew, on_progress=move)
        tell(report, "clips")
        print(self.output_dir)
        return 1 if report.damaged else 0
