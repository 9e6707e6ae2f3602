"""svc pre-hubert."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from sovits.cli.models import CONFIG
from sovits.cli.options import check_f0_method, check_jobs
from sovits.cli.progress import counter, note, tell
from sovits.config import ConvertOptions


@dataclass(frozen=True)
class PreHubert:
    """Compute content, pitch and loudness of each clip (step 3 of 4; can be interrupted)."""

    input_dir: Annotated[Path, arg(aliases=("-i",))] = Path("dataset/44k")
    """Clips, in one folder per speaker."""
    config_path: Annotated[Path, arg(aliases=("-c",))] = CONFIG
    """Configuration that says which content encoder."""
    n_jobs: Annotated[int, arg(aliases=("-n",))] = -1
    """Processes; -1 for as many as cores and memory allow."""
    force_rebuild: Annotated[bool, arg(aliases=("-f",))] = False
    """Make again what is there already. -nf: do not."""
    f0_method: Annotated[str, arg(aliases=("-fm",), metavar="METHOD")] = ConvertOptions.f0_method
    """How pitch is found: swift, crepe, crepe-tiny, fcpe, rmvpe, harvest, dio or pm."""
    device: Annotated[str, arg(aliases=("-d",))] = "auto"
    """Where networks compute: auto, cpu, cuda, cuda:1, mps."""

    def run(self) -> int:
        """Write the features."""
        f0_method, n_jobs = check_f0_method(self.f0_method), check_jobs(self.n_jobs)
        from sovits.legacy.settings import read_config

        config, remarks = read_config(self.config_path)
        for remark in remarks:
            note(remark)
        from sovits.device import choose_device
        from sovits.prepare.features import make_features

        with counter("Features") as move:
            report = make_features(
                self.input_dir,
                config.voice,
                f0_method,
                device=choose_device(self.device),
                rebuild=self.force_rebuild,
                n_jobs=n_jobs,
                on_progress=move,
            )
        tell(report, "features files")
        if any(skipped.path.suffix.lower() == ".wav" for skipped in report.skipped):
            note(
                "Training needs every clip in its lists: "
                "remove these, and run svc pre-config again."
            )
        print(self.input_dir)
        return 0
