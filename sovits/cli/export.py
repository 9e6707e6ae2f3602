"""svc export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from sovits.cli.infer import check_output
from sovits.cli.models import choose
from sovits.cli.progress import note
from sovits.errors import OutputError

if TYPE_CHECKING:
    from sovits.voice import Voice

SUFFIX = ".safetensors"
LEGACY = ".pth"
"""How the names of files end that so-vits-svc and its fork read."""


@dataclass(frozen=True)
class Export:
    """Write a trained voice as one small file that needs nothing beside it, or for so-vits-svc."""

    output_path: Annotated[Path, arg(aliases=("-o",))]
    """Voice file to write (.safetensors); or G_NUMBER.pth, with a config.json, for so-vits-svc."""
    model_path: Annotated[str | None, arg(aliases=("-m",), metavar="MODEL")] = None
    """What to export: G_*.pth, a folder, or a name; the best in logs/44k if not given."""
    config_path: Annotated[Path | None, arg(aliases=("-c",), metavar="PATH")] = None
    """Settings of a G_*.pth; config.json beside it if not given."""

    def run(self) -> int:
        """Write the file."""
        if self.output_path.suffix not in (SUFFIX, LEGACY):
            raise OutputError.not_a_voice(self.output_path, f"{SUFFIX} or {LEGACY}")
        check_output(self.output_path)
        choice = choose(self.model_path, self.config_path)
        if choice.because:
            note(choice.because)
        from sovits.voice import load_voice, save_voice

        voice = load_voice(choice.model, choice.config)
        for remark in voice.remarks:
            note(remark)
        self.output_path.parent.mkdir(parents=True, exist_ok=True)
        if self.output_path.suffix == LEGACY:
            note(f"Its settings are in {self._legacy(voice)}.")
        else:
            save_voice(self.output_path, voice)
        print(self.output_path)
        return 0

    def _legacy(self, voice: Voice) -> Path:
        """Write what so-vits-svc reads, with all that the checkpoint has; return the settings."""
        from dataclasses import replace

        from sovits.config import Config
        from sovits.legacy.checkpoint import read_state
        from sovits.legacy.generator import write_generator
        from sovits.legacy.settings import read_config

        state, config = voice.synthesizer.state_dict(), Config(voice.config)
        source = voice.path
        if source is not None and source.suffix == LEGACY:
            state = read_state(source)
            settings = self.config_path or source.with_name("config.json")
            if settings.is_file():
                config = replace(read_config(settings)[0], voice=voice.config)
        return write_generator(self.output_path, state, config)
