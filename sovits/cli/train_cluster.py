"""svc train-cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from sovits.cli.models import LOGS
from sovits.cli.progress import note
from sovits.errors import ConfigError, OutputError

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class TrainCluster:
    """Find centres of each speaker's content, for svc infer -k; svc train-index supersedes it."""

    input_dir: Annotated[Path, arg(aliases=("-i",))] = Path("dataset/44k")
    """Features made by svc pre-hubert, in one folder per speaker."""
    output_path: Annotated[Path, arg(aliases=("-o",))] = LOGS / f"kmeans{SUFFIX}"
    """File to write (.safetensors)."""
    n_clusters: Annotated[int, arg(aliases=("-n",))] = 2000
    """Centres of each speaker; no more than there are frames."""
    minibatch: Annotated[bool, arg(aliases=("-m",))] = True
    """Move centres after each batch of frames: quicker. -nm: after each pass over all."""
    batch_size: Annotated[int, arg(aliases=("-b",))] = 4096
    """Frames per batch."""
    partial_fit: Annotated[bool, arg(aliases=("-p",))] = False
    """Read files again and again, for features that do not fit into memory. -np: do not."""
    device: Annotated[str, arg(aliases=("-d",))] = "auto"
    """Where distances are computed: auto, cpu, cuda, cuda:1, mps."""

    def run(self) -> int:
        """Write the centres."""
        for flag, value in (("--n-clusters", self.n_clusters), ("--batch-size", self.batch_size)):
            if value < 1:
                raise ConfigError.wrong_value(flag, value, "at least 1")
        if self.output_path.suffix != SUFFIX:
            raise OutputError.unknown_suffix(self.output_path, [SUFFIX])
        from sovits.device import choose_device
        from sovits.train.clusters import ClusterOptions, train_clusters

        options = ClusterOptions(
            self.n_clusters,
            self.minibatch,
            self.batch_size,
            from_disk=self.partial_fit,
            device=choose_device(self.device),
        )
        train_clusters(self.input_dir, self.output_path, options, note)
        print(self.output_path)
        return 0
