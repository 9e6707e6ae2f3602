"""svc prepare."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from sovits.cli.options import check_between
from sovits.cli.progress import note
from sovits.errors import DatasetError, OutputError, one_line


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """Make pieces to train on of raw recordings: separate, mend, cut, and leave out the rest."""

    raw_dir: Positional[Annotated[Path, arg(metavar="RAW_DIR")]]
    """Recordings of one speaker, of any length, in any folders."""
    speaker: str
    """Name of the speaker."""
    output_dir: Annotated[Path, arg(aliases=("-o",))] = Path("dataset_raw")
    """Where the speaker's folder goes."""
    work_dir: Path = Path("prepared")
    """Folder for what lies between, and for the report."""
    goal: Literal["speech", "singing"] = "speech"
    """What the voice shall do."""
    separate: Literal["auto", "never"] = "auto"
    """Whether the voice is separated from music where there is some."""
    denoise: Literal["auto", "never"] = "auto"
    """Whether noise is taken out where it is loud."""
    sampling_rate: Annotated[int, arg(aliases=("-s",))] = 44_100
    """Rate of the pieces (Hz)."""
    device: Annotated[str, arg(aliases=("-d",))] = "auto"
    """Where the separator computes: auto, cpu, cuda, cuda:1, mps."""

    def run(self) -> int:
        """Write the pieces and a report; return 1 if a recording could not be read."""
        name = self.speaker
        if not name.isprintable() or name.startswith(".") or name != Path(name).name:
            raise DatasetError.bad_speaker(name)
        check_between("--sampling-rate", self.sampling_rate, 4_000, 384_000)
        for folder in (self.output_dir / name, self.work_dir):
            if folder.resolve().is_relative_to(self.raw_dir.resolve()):
                raise OutputError.inside_source(folder, self.raw_dir)
        from sovits.device import choose_device
        from sovits.prepare.doctor_page import VERDICTS, summary
        from sovits.prepare.prepare import PrepareOptions, prepare

        options = PrepareOptions(
            self.goal, self.separate, self.denoise, self.sampling_rate, choose_device(self.device)
        )
        prepared = prepare(
            self.raw_dir, name, self.output_dir, self.work_dir, options, on_step=note
        )
        for skipped in prepared.skipped:
            note(f"skipped {skipped}")
        for path, source in prepared.sources.items():
            if source.damaged is not None:
                note(one_line(f"skipped {path}: {source.damaged}"))
            for done in source.done:
                note(one_line(f"{path}: {done}"))
            for piece, reason in source.left_out.items():
                note(one_line(f"left out {piece}: {reason}"))
        kept = len(prepared.sources) - prepared.fresh
        note(f"{prepared.pieces} pieces of {len(prepared.sources)} recordings, of which {kept} "
             "were done already.")  # fmt: skip
        for speaker in prepared.diagnosis.speakers if prepared.diagnosis else ():
            note(f"{speaker.light}: {VERDICTS[speaker.light]}. {summary(speaker.facts)}")
            note(f"{prepared.report} has the rest.")
        print(prepared.folder)
        return 1 if prepared.damaged else 0
