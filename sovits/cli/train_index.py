"""svc train-index."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from sovits.cli.models import CONFIG, LOGS
from sovits.cli.progress import note
from sovits.errors import OutputError

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class TrainIndex:
    """Make an index of each speaker's content, for svc infer -r (optional)."""

    input_dir: Annotated[Path, arg(aliases=("-i",))] = Path("dataset/44k")
    """Features made by svc pre-hubert, in one folder per speaker."""
    config_path: Annotated[Path, arg(aliases=("-c",))] = CONFIG
    """Configuration that says which speakers, and which content encoder."""
    output_path: Annotated[Path, arg(aliases=("-o",))] = LOGS / f"index{SUFFIX}"
    """File to write (.safetensors); svc infer finds the one beside its voice."""
    device: Annotated[str, arg(aliases=("-d",))] = "auto"
    """Where distances are computed: auto, cpu, cuda, cuda:1, mps."""

    def run(self) -> int:
        """Write the index."""
        if self.output_path.suffix != SUFFIX:
            raise OutputError.unknown_suffix(self.output_path, [SUFFIX])
        from sovits.legacy.settings import read_config

        config, remarks = read_config(self.config_path)
        for remark in remarks:
            note(remark)
        from sovits.device import choose_device
        from sovits.train.index import IndexOptions, train_index

        options = IndexOptions(device=choose_device(self.device))
        train_index(self.input_dir, self.output_path, config.voice, options, note)
        note(f"{self.output_path.stat().st_size / 1e6:.1f} MB. Use it with svc infer -r 0.5.")
        print(self.output_path)
        return 0
