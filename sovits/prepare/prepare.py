"""Raw recordings of one speaker become pieces to train on: separated, mended, cut, sorted out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from sovits.config import SeparateOptions
from sovits.errors import AudioError, DatasetError, SeparationError
from sovits.evaluate.report import write_text
from sovits.prepare.doctor import Diagnosis, diagnose, speaker_of
from sovits.prepare.doctor_page import write_page
from sovits.prepare.examine import examine
from sovits.prepare.findings import Finding, Goal, has_music, is_noisy, name_of, of_file
from sovits.prepare.mend import copy
from sovits.prepare.recordings import sound_files
from sovits.prepare.report import Skipped
from sovits.prepare.split import SplitOptions, split_file
from sovits.separation.denoise import Denoiser, load_denoiser
from sovits.separation.job import SeparationJob, clean_file

STATE = "prepared.json"
FORMAT = "sovits-prepared-1"
REPORT = "report.html"
USELESS = frozenset({"empty", "clipped", "noisy", "music", "duplicate", "other-voice"})
"""Findings with which a piece is left out."""
SHORTEST = 1.5
"""Shortest piece that is kept (s)."""


@dataclass(frozen=True)
class PrepareOptions:
    """How raw recordings become pieces."""

    goal: Goal = "speech"
    """What the voice shall do."""
    separate: Literal["auto", "never"] = "auto"
    """Whether music is separated where it is heard."""
    denoise: Literal["auto", "never"] = "auto"
    """Whether noise is taken out where it is loud."""
    sample_rate: int = 44_100
    """Rate of the pieces (Hz)."""
    device: str = "cpu"
    """Where the separator computes."""


@dataclass
class Source:
    """What became of one recording."""

    stamp: str
    """Its size, time and the options, by which it is known again."""
    done: list[str] = field(default_factory=list)
    """What was done with it, in words."""
    pieces: list[str] = field(default_factory=list)
    """Names of its pieces that are kept."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Pieces that are not, with the reason."""
    damaged: str | None = None
    """Why it could not be read."""


@dataclass
class Prepared:
    """What there is now."""

    folder: Path
    """The pieces."""
    report: Path
    sources: dict[str, Source]
    fresh: int
    """Recordings that this run worked on."""
    diagnosis: Diagnosis | None = None
    """Of the pieces; None if nothing was new."""
    skipped: Sequence[Skipped] = ()
    """Files that are no sounds."""

    @property
    def pieces(self) -> int:
        """Return how many pieces there are."""
        return sum(len(source.pieces) for source in self.sources.values())

    @property
    def damaged(self) -> dict[str, str]:
        """Return why which recordings could not be read."""
        return {n: s.damaged for n, s in self.sources.items() if s.damaged is not None}


def prepare(
    raw: Path,
    speaker: str,
    out: Path,
    work: Path,
    options: PrepareOptions | None = None,
    *,
    on_step: Callable[[str], None] | None = None,
) -> Prepared:
    """Make `out/SPEAKER` of the recordings in `raw`, in bounded memory.

    What was made of a recording that has not changed since is kept, and so is what was left out.

    Args:
        raw: Recordings of one speaker, of any length, in any folders; only read.
        speaker: Name of the speaker.
        out: Folder of all speakers' recordings.
        work: Folder for what lies between, for the report and for what is known.
        options: How.
        on_step: Told what is being done.

    Raises:
        DatasetError: There is no sound in `raw`, or nothing of it is usable.
        OutputError: A file cannot be written.
    """
    options, say = options or PrepareOptions(), on_step or (lambda _: None)
    found = sound_files(raw)
    home, state = out / speaker, work / speaker / STATE
    home.mkdir(parents=True, exist_ok=True)
    state.parent.mkdir(parents=True, exist_ok=True)
    before, sources, stems = _read(state), {}, set[str]()
    bench = _Bench(work / speaker, home, options, say)
    fresh = 0
    for path in found.paths:
        name = name_of(path, raw)
        stem = _stem(path.relative_to(raw), stems)
        known = before.pop(name, None)
        stamp = _stamp(path, options)
        if known is not None and known.stamp == stamp and _whole(known, home):
            sources[name] = known
            continue
        _remove(known, home)
        say(f"{name}: listening")
        fresh += 1
        sources[name] = bench.work_on(path, stem, stamp)
        _write(state, {**before, **sources})
    for gone in before.values():  # its recording is not there any more
        _remove(gone, home)
    prepared = Prepared(home, work / speaker / REPORT, sources, fresh, skipped=found.skipped)
    if fresh or before:
        say("judging the pieces")
        prepared.diagnosis = _sort_out(prepared, options.goal)
        _write(state, sources)
        if prepared.pieces:
            write_page(prepared.report, prepared.diagnosis)
    if not prepared.pieces:
        raise DatasetError.nothing_usable(raw, _reasons(sources))
    return prepared


class _Bench:
    """Where one recording after the other is worked on; a separator is loaded when it is needed."""

    def __init__(
        self, work: Path, home: Path, options: PrepareOptions, say: Callable[[str], None]
    ) -> None:
        self.work, self.home, self.options, self.say = work, home, options, say
        self._separation: SeparationJob | None = None
        self._missing: str | None = None
        self._denoiser: Denoiser | None = None
        self._noise_stays: str | None = None

    def work_on(self, path: Path, stem: str, stamp: str) -> Source:
        """Make pieces of one recording."""
        source = Source(stamp)
        try:
            sound = self._improved(path, stem, source)
            cut = SplitOptions(self.options.sample_rate, drop_silence=True)
            source.pieces = [p.name for p in split_file(sound, self.home / stem, cut)]
        except AudioError as error:
            source.damaged = str(error)
        return source

    def _improved(self, path: Path, stem: str, source: Source) -> Path:
        """Return a better copy of a recording, or the recording if there is nothing to do."""
        examined, sound = examine(path, sounds=False), path
        if has_music(examined):
            sound = self._separated(path, stem, source)
            if sound != path:
                examined = examine(sound, sounds=False)
        if is_noisy(examined):
            source.done.append(f"noise {examined.snr_db:.0f} dB below the voice")
            quiet = self._denoised(sound, stem, source)
            if quiet != sound:
                sound, examined = quiet, examine(quiet, sounds=False)
        wrong = {finding.kind for finding in of_file(examined, stem)} & {"dc", "hum"}
        if not wrong:
            return sound
        mended = self.work / "mended" / f"{stem}.wav"
        mended.parent.mkdir(parents=True, exist_ok=True)
        hum_hz = examined.hum_hz if "hum" in wrong else None
        copy(sound, mended, offset="dc" in wrong, hum_hz=hum_hz)
        source.done.append("hum taken out" if hum_hz else "moved back to zero")
        return mended

    def _denoised(self, path: Path, stem: str, source: Source) -> Path:
        """Return a recording without noise, if it can be had."""
        if self.options.denoise == "never" or self._noise_stays is not None:
            source.done.append(self._noise_stays or "not denoised, as asked")
            return path
        if self._denoiser is None:
            try:
                self._denoiser = load_denoiser()
            except SeparationError as error:
                self._noise_stays = f"it cannot be taken out: {error}"
                return self._denoised(path, stem, source)
        self.say(f"{path.name}: denoising")
        target = self.work / "denoised" / f"{stem}.wav"
        target.parent.mkdir(parents=True, exist_ok=True)
        clean_file(path, target, self._denoiser)
        source.done.append("denoised")
        return target

    def _separated(self, path: Path, stem: str, source: Source) -> Path:
        """Return the voice alone, if it can be had."""
        if self.options.separate == "never" or self._missing is not None:
            source.done.append(f"music behind it; {self._missing or 'not separated, as asked'}")
            return path
        if self._separation is None:
            try:
                wanted = SeparateOptions(stems="vocals")
                self._separation = SeparationJob(wanted, self.options.device)
            except SeparationError as error:
                self._missing = str(error)
                self.say(f"There is music, and it cannot be separated: {error}")
                return self._separated(path, stem, source)
        self.say(f"{path.name}: separating")
        folder = self.work / "voice" / stem
        voice = self._separation.run(path, folder)["vocals"]
        source.done.append("separated from music")
        return voice


def _sort_out(prepared: Prepared, goal: Goal) -> Diagnosis:
    """Delete pieces that are of no use, and say why; return what is known of the others."""
    home = prepared.folder
    owner = {n: source for source in prepared.sources.values() for n in source.pieces}
    if not owner:
        return Diagnosis(home, goal, [])
    [patient] = diagnose(home, goal=goal, n_jobs=1).speakers
    useless: dict[str, Finding] = {}
    for finding in patient.findings:
        if finding.file in owner and finding.kind in USELESS:
            useless.setdefault(finding.file, finding)
    for examined in patient.files:
        if examined.speech_seconds < SHORTEST and examined.path.name in owner:
            for finding in of_file(examined, examined.path.name):
                useless.setdefault(examined.path.name, finding)
    for name, finding in useless.items():
        (home / name).unlink(missing_ok=True)
        owner[name].pieces.remove(name)
        owner[name].left_out[name] = f"{finding.kind}: {finding.found}"
    left = [examined for examined in patient.files if examined.path.name not in useless]
    return Diagnosis(home.parent, goal, [speaker_of(home, left, goal)] if left else [])


def _stem(inside: Path, taken: set[str]) -> str:
    """Return how the names of a recording's pieces begin; no two are alike."""
    stem = "-".join(inside.with_suffix("").parts)
    if stem.casefold() in taken:
        stem = f"{stem}_{inside.suffix[1:]}"
    taken.add(stem.casefold())
    return stem


def _stamp(path: Path, options: PrepareOptions) -> str:
    status = path.stat()
    wanted = {key: value for key, value in asdict(options).items() if key not in ("device", "goal")}
    told = f"{status.st_size} {status.st_mtime_ns} {sorted(wanted.items())}"
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _whole(source: Source, home: Path) -> bool:
    """Return whether all that was made of a recording is there."""
    return source.damaged is None and all((home / name).is_file() for name in source.pieces)


def _remove(source: Source | None, home: Path) -> None:
    """Delete what an earlier run made of a recording."""
    for name in source.pieces if source else ():
        if Path(name).name == name:
            (home / name).unlink(missing_ok=True)


def _reasons(sources: dict[str, Source]) -> list[str]:
    """Return why nothing is left."""
    found = [f"{name}: {source.damaged}" for name, source in sources.items() if source.damaged]
    for source in sources.values():
        found += [f"{name}: {reason}" for name, reason in source.left_out.items()]
        found += source.done
    return found


def _read(path: Path) -> dict[str, Source]:
    """Return what an earlier run kept note of; nothing if that cannot be read."""
    try:
        table = json.loads(path.read_text("utf-8"))
        if table["format"] != FORMAT:
            return {}
        return {name: Source(**entry) for name, entry in table["sources"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write(path: Path, sources: dict[str, Source]) -> None:
    """Keep note of what was made."""
    table: dict[str, Any] = {"format": FORMAT}
    table["sources"] = {name: asdict(source) for name, source in sources.items()}
    write_text(path, json.dumps(table, indent=1, ensure_ascii=False) + "\n")
