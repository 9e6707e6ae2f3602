"""Which voices are at hand: bundled, trained here, or cached from the hub; told without torch."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple
from zipfile import is_zipfile

from sovits.config import AudioConfig, DecoderKind, SynthesizerConfig, VoiceConfig, to_dict, typed
from sovits.errors import ConfigError, SovitsError, VoiceError
from sovits.header import may_be_voice, read_header
from sovits.hub import HUB, NATIVE, best, cached_repos
from sovits.legacy.settings import read_config

Kind = Literal["bundled", "trained", "hub"]
Table = dict[str, Any]

VOICES = Path(__file__).with_name("assets") / "voices"
"""Voices that ship with this package."""
LOGS = Path("logs")
"""Trainings of the current folder, each in a folder of its own."""
CONFIGS = Path("configs")
"""Settings of the current folder, likewise."""
USUAL = "44k"
"""Folder that trainings are in whatever they are of, so that it tells nothing."""
BASE = "G_0.pth"
"""What a training begins with, by its number."""
SAMPLE = ".sample.ogg"
"""How the name of a recording of a bundled voice's target ends."""
MOST_IN_NAME = 40
"""Characters up to which the speakers of a training give it its name."""
SETTINGS = "config.json"
"""Name of the settings of a `G_*.pth`."""
VERDICT = "verdict.json"
"""What training found out about the checkpoints of a folder, the best of them first of all."""
MOST_VERDICT = 64 << 20
"""Verdicts larger than this (bytes) are none."""
STREAMING = "sovits-native"
"""Architecture of voices that may stream."""
HIGHEST = 1e5
"""No pitch is above this (Hz)."""


@dataclass(frozen=True)
class Listed:
    """One voice at hand; what is not known of it is None."""

    name: str
    """What `-m` and `load_voice` take; no other voice at hand has it."""
    path: Path
    """The file with its weights."""
    kind: Kind
    """Whether it is bundled, trained in the current folder, or cached from the hub."""
    title: str
    """The name that it may share with others."""
    architecture: str | None = None
    """`sovits-native`, or `vits/` and the kind of its decoder."""
    speakers: tuple[str, ...] = ()
    """Their names, in the order of their rows."""
    sample_rate: int | None = None
    """Of the sound that it makes (Hz)."""
    median_f0_hz: float | None = None
    """Median pitch of its target (Hz), by its card."""
    f0_range_hz: tuple[float, float] | None = None
    """Between what pitches its target speaks or sings (Hz), by its card."""
    look_ahead: int | None = None
    """Frames of the future that a frame of sound depends on; None if it cannot stream."""
    sample: Path | None = None
    """A recording of its target, of at least 15 s."""
    licence: str | None = None
    """By its card."""
    content: str | None = None
    """Name of the content encoder it was trained with."""
    problem: str | None = None
    """Why it cannot be used, in one line."""
    source: Path | None = None
    """The folder of a training that it is the best of, or the newest."""
    config: Path | None = None
    """Its settings, if they are not in or beside the file."""

    def to_json(self) -> Table:
        """Return what other programs need to know of it, as plain JSON types."""
        return {
            "name": self.name,
            "path": str(self.path),
            "kind": self.kind,
            "architecture": self.architecture,
            "speakers": list(self.speakers),
            "sample_rate": self.sample_rate,
            "median_f0_hz": self.median_f0_hz,
            "f0_range_hz": None if self.f0_range_hz is None else list(self.f0_range_hz),
            "look_ahead": self.look_ahead,
            "sample": None if self.sample is None else str(self.sample),
            "licence": self.licence,
            "content": self.content,
            "problem": self.problem,
        }


class Chosen(NamedTuple):
    """One of the voices in a folder."""

    path: Path
    because: str
    """Why this one, as a sentence; nothing if there is no other."""


class Found(NamedTuple):
    """Where a voice is, and its settings if they are not in or beside it."""

    path: Path
    config: Path | None = None


def list_voices(*, bundled_only: bool = False) -> list[Listed]:
    """Return what is at hand: first the bundled voices, then those trained here, then the hub's.

    A voice that cannot be used is listed with its problem. Only headers and settings are read.
    """
    found = [_bundled(path) for path in bundled_files()]
    if not bundled_only:
        found += [*_trained(), *_cached()]
    return _with_unique_names(found)


def resolve(name: str | Path) -> Found:
    """Return the voice that is meant by a file, a folder, or a name that `list_voices` has.

    What is there as a file, or as a folder with voices, comes before what only has that name.

    Raises:
        VoiceError: There is no such voice, or there are several.
    """
    path = Path(name)
    if path.is_file() or candidates(path):
        return Found(path)
    voices, wanted = list_voices(), str(name)
    matches = [voice for voice in voices if wanted == voice.name] or [
        voice for voice in voices if wanted in (voice.title, f"{voice.kind}/{voice.title}")
    ]
    if len(matches) > 1:
        raise VoiceError.ambiguous(wanted, [(voice.name, voice.path) for voice in matches])
    if matches:
        return Found(matches[0].source or matches[0].path, matches[0].config)
    if path.is_dir():
        raise VoiceError.empty_folder(path)
    raise VoiceError.nowhere(wanted, [voice.name for voice in voices])


def bundled_files() -> list[Path]:
    """Return the voices that ship with this package; the first is the default."""
    return sorted(path for path in VOICES.glob(f"[!.]*{NATIVE}") if path.is_file())


def candidates(folder: Path) -> list[Path]:
    """Return the files in a folder that may hold a voice, the newest last.

    Newer is what has the higher number at the end of its name. A base that a training begins with
    comes before all others, and what is known to be no voice (centres, content) is left out.
    """
    if not folder.is_dir():
        return []
    found = [path for path in folder.glob("G_*.pth") if path.is_file()]
    for path in folder.glob(f"[!.]*{NATIVE}"):
        if path.is_file() and not _is_something_else(path):
            found.append(path)

    def age(path: Path) -> tuple[bool, int, str]:
        digits = re.search(r"(\d+)$", path.stem)
        return path.name != BASE, int(digits[1]) if digits else -1, path.name

    return sorted(found, key=age)


def newest(folder: Path) -> Path:
    """Return the last of the candidates in a folder.

    Raises:
        VoiceError: There are none.
    """
    found = candidates(folder)
    if not found:
        raise VoiceError.empty_folder(folder)
    return found[-1]


def chosen(folder: Path) -> Chosen:
    """Return the best of the voices in a folder, by its verdict; without one the newest.

    Raises:
        VoiceError: There are none.
    """
    last, names = newest(folder), [path.name for path in candidates(folder)]
    best = best_checkpoint(folder)
    if best in names:
        return Chosen(folder / best, f"Using {best}, the best checkpoint in {folder}.")
    if last.name == BASE:
        return Chosen(
            last, f"{folder} holds only {BASE}, a base: nothing has been trained on it yet."
        )
    if best is not None:
        gone = f"{best}, which was the best, is not there any more"
        return Chosen(last, f"Using {last.name}, the newest in {folder}: {gone}.")
    if len(names) == 1:
        return Chosen(last, "")
    return Chosen(last, f"Using {last.name}, the newest in {folder}.")


def best_checkpoint(folder: Path) -> str | None:
    """Return the name of the file that a training found to be its best, if it found one."""
    path = folder / VERDICT
    try:
        if path.stat().st_size > MOST_VERDICT:
            return None
        table = json.loads(path.read_text("utf-8"))
        name = table["best"]["checkpoint"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return name if isinstance(name, str) else None


def trained_pitches(folder: Path) -> Table:
    """Return the pitches of each speaker that a training in `folder` has learnt from.

    By name: `median_f0_hz`, and `f0_range_hz` with both ends. Empty if no training has told.
    """
    path = folder / VERDICT
    try:
        if path.stat().st_size > MOST_VERDICT:
            return {}
        told = json.loads(path.read_text("utf-8"))["pitches"]
        return {name: told[name] for name in told if pitch_range(told[name]) is not None}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def pitch_range(card: object) -> tuple[float, float] | None:
    """Return both ends of the pitches that a card tells (Hz), if it does."""
    told = card.get("f0_range_hz") if isinstance(card, dict) else None
    ends = [_pitch(end) for end in told] if isinstance(told, list) else []
    return (ends[0], ends[1]) if len(ends) == 2 and ends[0] and ends[1] else None


def _is_something_else(path: Path) -> bool:
    """Return whether a safetensors file is a sound one that holds no voice."""
    try:
        return read_header(path) is None
    except SovitsError:
        return False


def _bundled(path: Path) -> Listed:
    sample = path.with_name(path.stem + SAMPLE)
    listed = _described(_at(path, "bundled", path.stem))
    return replace(listed, sample=sample if sample.is_file() else None)


def _trained() -> Iterator[Listed]:
    """Yield the best voice of each training, and the voices that lie beside their folders."""
    for path in sorted(LOGS.absolute().glob("[!.]*")):
        if path.is_file() and path.suffix == NATIVE and not _is_something_else(path):
            yield _described(_at(path, "trained", path.stem))
        if not candidates(path):
            continue
        settings, beside = CONFIGS.absolute() / path.name / SETTINGS, path / SETTINGS
        config = settings if settings.is_file() and not beside.is_file() else None
        listed = _described(replace(_at(chosen(path).path, "trained", path.name), config=config))
        together = _plain("+".join(listed.speakers))
        if path.name == USUAL and 0 < len(together) <= MOST_IN_NAME:
            listed = replace(listed, title=together)
        yield replace(listed, source=path)


def _cached() -> Iterator[Listed]:
    """Yield the voices in the hub's cache; what else is in it is passed over."""
    for repo, folder in cached_repos():
        found = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): path for path in found}
        meant = best(list(files))
        for file, path in files.items():
            if may_be_voice(path) if file.endswith(NATIVE) else file == meant:
                title = f"{HUB}{repo}" if file == meant else f"{HUB}{repo}/{file}"
                yield _described(_at(path, "hub", title))


def _at(path: Path, kind: Kind, title: str) -> Listed:
    """Return a voice of which nothing else is known yet."""
    title = title if kind == "hub" else _plain(title)
    return Listed(title, path, kind, title)


def _plain(title: str) -> str:
    """Return a title as it can be typed, and that is no path, no flag and no name on the hub."""
    text = "".join(c if c.isprintable() and c not in "/\\" else "_" for c in title)
    return re.sub(rf"^(-|{HUB})", "_", text)


def _with_unique_names(voices: list[Listed]) -> list[Listed]:
    """Name voices that share a title by kind too, and those that share that by path."""
    titles = Counter(voice.title for voice in voices)
    of_kind = Counter((voice.kind, voice.title) for voice in voices)
    named = []
    for voice in voices:
        name = voice.title
        if of_kind[voice.kind, voice.title] > 1:
            name = str(voice.source or voice.path)
        elif titles[voice.title] > 1:
            name = f"{voice.kind}/{voice.title}"
        named.append(replace(voice, name=name))
    return named


def _described(voice: Listed) -> Listed:
    """Add what the file of a voice tells, or why it cannot be used."""
    try:
        with voice.path.open("rb") as file:
            begin = file.read(9)
        if begin[8:] == b"{" or voice.path.suffix == NATIVE:
            header = read_header(voice.path)
            if header is None:
                raise VoiceError.bad_header(voice.path, "it has no settings, so it is no voice")
            return _told(voice, header["config"], header["card"])
        settings = voice.config or voice.path.with_name(SETTINGS)
        if not settings.is_file():
            raise VoiceError.no_config(voice.path, settings)
        config, _ = read_config(settings)
        voice = _told(voice, to_dict(config.voice), {})
        if not begin.startswith(b"\x80") and not is_zipfile(voice.path):
            raise VoiceError.not_a_checkpoint(voice.path)
    except VoiceError as error:
        return replace(voice, problem=str(error))
    except SovitsError as error:
        return replace(voice, problem=str(VoiceError.bad_header(voice.path, str(error))))
    except OSError as error:
        reason = error.strerror or "it cannot be opened"
        return replace(voice, problem=str(VoiceError.damaged(voice.path, reason)))
    return voice


def _told(voice: Listed, config: Table, card: Table) -> Listed:
    """Add what settings and card tell.

    Raises:
        ConfigError: A setting has another type than it should have.
    """
    audio, synthesizer = _section(config, "audio"), _section(config, "synthesizer")
    speakers = typed(dict[str, int], config.get("speakers", {}), "speakers")
    architecture = typed(str, synthesizer.get("architecture", "vits"), "synthesizer.architecture")
    look_ahead = None
    if architecture == STREAMING:
        look_ahead = typed(int | None, synthesizer.get("look_ahead"), "synthesizer.look_ahead")
    else:
        decoder = synthesizer.get("decoder", SynthesizerConfig.decoder)
        architecture += f"/{typed(DecoderKind, decoder, 'synthesizer.decoder')}"
    rate = audio.get("sample_rate", AudioConfig.sample_rate)
    licence = card.get("licence")
    return replace(
        voice,
        architecture=architecture,
        speakers=tuple(sorted(speakers, key=lambda name: speakers[name])),
        sample_rate=typed(int, rate, "audio.sample_rate"),
        median_f0_hz=_pitch(card.get("median_f0_hz")),
        f0_range_hz=pitch_range(card),
        look_ahead=look_ahead,
        licence=licence if isinstance(licence, str) else None,
        content=typed(str, config.get("content", VoiceConfig.content), "content"),
    )


def _section(config: Table, name: str) -> Table:
    section = config.get(name, {})
    if not isinstance(section, dict):
        raise ConfigError.wrong_value(name, section, "an object")
    return section


def _pitch(value: object) -> float | None:
    """Return a frequency that a card tells (Hz), if it can be one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value < HIGHEST else None
