"""svc export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from sovits.cli.infer import check_output
from sovits.cli.models import choose
from sovits.cli.progress import note
from sovits.errors import OutputError

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Export:
    """Write a trained voice as one small file that needs nothing beside it."""

    output_path: Annotated[Path, arg(aliases=("-o",))]
    """Voice file to write (.safetensors)."""
    model_path: Annotated[str | None, arg(aliases=("-m",), metavar="MODEL")] = None
    """What to export: G_*.pth, a folder, or a name; the best in logs/44k if not given."""
    config_path: Annotated[Path | None, arg(aliases=("-c",), metavar="PATH")] = None
    """Settings of a G_*.pth; config.json beside it if not given."""

    def run(self) -> int:
        """Write the file."""
        if self.output_path.suffix != SUFFIX:
            raise OutputError.not_a_voice(self.output_path, SUFFIX)
        check_output(self.output_path)
        choice = choose(self.model_path, self.config_path)
        if choice.because:
            note(choice.because)
        from sovits.voice import load_voice, save_voice

        voice = load_voice(choice.model, choice.config)
        for remark in voice.remarks:
            note(remark)
        self.output_path.parent.mkdir(parents=True, exist_ok=True)
        save_voice(self.output_path, voice)
        print(self.output_path)
        return 0
