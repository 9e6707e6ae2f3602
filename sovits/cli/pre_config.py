"""svc pre-config."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from sovits.cli.models import CONFIG
from sovits.cli.progress import note


@dataclass(frozen=True)
class PreConfig:
    """Write the lists of clips and the configuration of a training (step 2 of 4)."""

    input_dir: Annotated[Path, arg(aliases=("-i",))] = Path("dataset/44k")
    """Clips, in one folder per speaker."""
    filelist_path: Annotated[Path, arg(aliases=("-f",))] = Path("filelists/44k")
    """Folder for the lists."""
    config_path: Annotated[Path, arg(aliases=("-c",))] = CONFIG
    """Configuration to write."""
    config_type: Annotated[str, arg(aliases=("-t",), metavar="TYPE")] = "sovits-native"
    """sovits-native, sovits-small, so-vits-svc-4.0v1, so-vits-svc-4.0v1-legacy or quickvc."""
    speech_encoder: Annotated[str | None, arg(metavar="NAME")] = None
    """Content encoder; else sovits-content, or contentvec-768l12 if here and the type may."""
    preset: Annotated[Literal["quick", "standard", "best"], arg(aliases=("-p",))] = "standard"
    """How long training goes on: quick ends early, best tries three times as long to get better."""

    def run(self) -> int:
        """Write the files."""
        from sovits.legacy.keys import NATIVE
        from sovits.prepare.filelists import BEST_ENCODER, BUNDLED_ENCODER, write_lists

        lists = write_lists(
            self.input_dir,
            self.filelist_path,
            self.config_path,
            self.config_type,
            self.speech_encoder,
            self.preset,
        )
        for skipped in lists.skipped:
            note(f"skipped {skipped}")
        if lists.replaced is not None:
            note(f"The configuration that was there is kept as {lists.replaced}.")
        voice = lists.config.voice
        note(
            f"{len(voice.speakers)} speakers, {len(lists.train)} clips to train on, "
            f"{len(lists.held_out)} to validate on."
        )
        for speaker in lists.shared:
            note(
                f"The clips held out of {speaker} are neighbours in a recording that is trained "
                "on: there are too few recordings to hold one out as a whole."
            )
        note(f"Content encoder: {voice.content}, {voice.synthesizer.content_channels} channels.")
        chosen = self.speech_encoder is not None or self.config_type == NATIVE
        if not chosen and voice.content == BUNDLED_ENCODER:
            note(
                f"{BEST_ENCODER} is not on this machine; "
                f"--speech-encoder {BEST_ENCODER} fetches it."
            )
        train = lists.config.train
        ends = f"after {train.epochs} epochs, or " if self.preset == "quick" else ""
        note(f"Training ends {ends}when {train.patience} evaluations have gained nothing.")
        print(self.config_path)
        return 0
