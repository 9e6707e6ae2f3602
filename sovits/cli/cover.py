"""svc cover."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from sovits.cli.infer import check_output
from sovits.cli.models import choose
from sovits.cli.options import option_flags
from sovits.cli.progress import bar, note
from sovits.config import ConvertOptions, CoverOptions
from sovits.errors import AudioError, OutputError


@dataclass(frozen=True, kw_only=True)
class Cover:
    """Sing SONG, with its accompaniment, in another voice."""

    song: Positional[Annotated[Path, arg(metavar="SONG")]]
    """Sound file, mono or stereo."""
    output_path: Annotated[Path | None, arg(aliases=("-o",), metavar="PATH")] = None
    """File for the result; SONG.cover.wav beside SONG if not given."""
    model_path: Annotated[str | None, arg(aliases=("-m",), metavar="MODEL")] = None
    """Voice file, folder, name (see svc voices) or hub:OWNER/REPO; else logs/44k, else bundled."""
    config_path: Annotated[Path | None, arg(aliases=("-c",), metavar="PATH")] = None
    """Settings of a G_*.pth; config.json beside it if not given."""
    work: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder for what is made on the way, and used again; SONG.cover beside the result."""
    device: Annotated[str, arg(aliases=("-d",))] = "auto"
    """Where networks compute: auto, cpu, cuda, cuda:1, mps."""
    cover: Annotated[CoverOptions, OmitArgPrefixes]
    conversion: Annotated[ConvertOptions, OmitArgPrefixes, arg(constructor=option_flags())]

    def run(self) -> int:
        """Make the cover, and print where it is."""
        if not self.song.exists():
            raise AudioError.missing(self.song)
        out = self.output_path or self.song.with_name(f"{self.song.stem}.cover.wav")
        if out.is_dir():
            out /= f"{self.song.stem}.cover.wav"
        if out.exists() and out.samefile(self.song):
            raise OutputError.same_as_source(out)
        if not out.parent.is_dir():
            raise OutputError.no_folder(out)
        check_output(out)
        choice = choose(self.model_path, self.config_path)
        if choice.because:
            note(choice.because)
        # From here on with torch, so only when all else is right.
        from sovits.cover import cover
        from sovits.device import choose_device
        from sovits.voice import load_voice

        voice = load_voice(choice.model, choice.config, device=choose_device(self.device))
        for remark in voice.remarks:
            note(remark)
        with bar(self.song.name) as move:
            made = cover(
                voice,
                self.song,
                out,
                self.conversion,
                self.cover,
                work=self.work,
                on_progress=move,
            )
        for remark in made.remarks:
            note(remark)
        print(made.out)
        return 0
