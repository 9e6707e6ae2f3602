"""svc pre-hubert."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from sovits.choices import check_f0_method
from sovits.cli.models import CONFIG
from sovits.cli.progress import counter, note, tell
from sovits.cli.workers import check_workers, workplace
from sovits.config import ConvertOptions


@dataclass(frozen=True)
class PreHubert:
    """Compute content, pitch and loudness of each clip (step 3 of 4; can be interrupted)."""

    input_dir: Annotated[Path, arg(aliases=("-i",))] = Path("dataset/44k")
    """Clips, in one folder per speaker."""
    config_path: Annotated[Path, arg(aliases=("-c",))] = CONFIG
    """Configuration that says which content encoder."""
    workers: Annotated[str, arg(aliases=("-n", "--n-jobs"), metavar="N")] = "auto"
    """Processes, or actors with --ray; auto or -1: as many as cores and memory, or GPUs, allow."""
    force_rebuild: Annotated[bool, arg(aliases=("-f",))] = False
    """Make again what is there already. -nf: do not."""
    f0_method: Annotated[str, arg(aliases=("-fm",), metavar="METHOD")] = ConvertOptions.f0_method
    """How pitch is found: swift, crepe, crepe-tiny, fcpe, rmvpe, harvest, dio or pm."""
    device: Annotated[str, arg(aliases=("-d",))] = "auto"
    """Where networks compute: auto, cpu, cuda, cuda:1, mps."""
    ray: Annotated[str | None, arg(metavar="ADDRESS")] = None
    """Work on the machines of a Ray cluster, HOST:6379; auto: the one of this machine."""

    def run(self) -> int:
        """Write the features; return 1 if a clip has none."""
        f0_method, workers = check_f0_method(self.f0_method), check_workers(self.workers)
        from sovits.legacy.settings import read_config

        config, remarks = read_config(self.config_path)
        for remark in remarks:
            note(remark)
        from sovits.prepare.features import BYTES_EACH, make_features

        folder = self.input_dir if self.ray is None else self.input_dir.absolute()
        with (
            workplace(
                workers, self.ray, bytes_each=BYTES_EACH, device=self.device, shared=(folder,)
            ) as place,
            counter("Features") as move,
        ):
            report = make_features(
                folder,
                config.voice,
                f0_method,
                device=place.device,
                rebuild=self.force_rebuild,
                crew=place.crew,
                on_progress=move,
            )
        tell(report, "features files")
        if report.damaged:
            note(
                "Training needs every clip in its lists: "
                "remove these, and run svc pre-config again."
            )
        print(self.input_dir)
        return 1 if report.damaged else 0
