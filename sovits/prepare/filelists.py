"""Write the lists of clips and the configuration that a training begins with."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from sovits.audio.io import AudioReader
from sovits.config import Config
from sovits.errors import AudioError, ConfigError, DatasetError, WeightsError
from sovits.features.content import CONTENT
from sovits.legacy.keys import NATIVE
from sovits.legacy.presets import PRESETS
from sovits.legacy.settings import read_config, write_config
from sovits.prepare.lengths import STANDARD, of_length
from sovits.prepare.recordings import Recording, find_clips
from sovits.prepare.report import Skipped
from sovits.prepare.resample import SHORTEST
from sovits.sources import in_order, read_sources, recording_of
from sovits.weights import at_hand

FEWEST = 3
"""Clips that a speaker needs at least."""
HELD_OUT = 2
"""Clips of each speaker that are kept for validation, if there are enough."""
MOST_HELD_OUT = 6
"""The same of speakers with many clips."""
PER_HELD_OUT = 25
"""How many of their clips stand behind each one that is held out."""
LARGEST = 5
"""A recording that has more than a fifth of a speaker's clips is too large to be held out."""
BEST_ENCODER, BUNDLED_ENCODER = "contentvec-768l12", "sovits-content"


@dataclass(frozen=True)
class Lists:
    """What was written."""

    config: Config
    """The configuration, as it is in the file."""
    train: tuple[Path, ...]
    """Clips to train on."""
    held_out: tuple[Path, ...]
    """Clips to validate on."""
    shared: tuple[str, ...]
    """Speakers of whom neighbouring clips of a recording that is trained on had to be held out."""
    skipped: tuple[Skipped, ...]
    """Files left out, with the reason."""
    replaced: Path | None
    """Where the configuration that was there before is kept."""


def write_lists(
    dataset: Path,
    filelists: Path,
    config_path: Path,
    preset: str,
    encoder: str | None = None,
    length: str = STANDARD,
) -> Lists:
    """Write `train.txt`, `val.txt`, `test.txt` and the configuration.

    Recordings that were cut into clips are held out as a whole, as far as names tell them apart.
    Most clips stay on their side of the split when others are added. Speakers are numbered from
    0 in the order of their names, after those who are in the configuration that is replaced.

    Args:
        dataset: Clips, `dataset/SPEAKER/NAME.wav`.
        filelists: Folder for the lists.
        config_path: Configuration to write; one that is there already is kept beside it.
        preset: One of `PRESETS`.
        encoder: Content encoder; if not given, the best whose weights are on this machine.
        length: One of `LENGTHS`.

    Raises:
        DatasetError: There are no clips, or a speaker has too few.
        ConfigError: There is no such preset or length.
        WeightsError: There is no such content encoder.
    """
    if preset not in PRESETS:
        raise ConfigError.unknown_key(preset, PRESETS)
    encoder = encoder or default_encoder(preset)
    if encoder not in CONTENT:
        raise WeightsError.unknown_encoder(encoder, CONTENT)
    found = find_clips(dataset)
    skipped = list(found.skipped)
    clips: dict[str, list[Path]] = {clip.speaker: [] for clip in found.recordings}
    for clip in found.recordings:
        if (reason := _unusable(clip)) is None:
            clips[clip.speaker].append(clip.path)
        else:
            skipped.append(Skipped(clip.path, reason))
    for speaker, paths in clips.items():
        if len(paths) < FEWEST:
            raise DatasetError.too_few_clips(speaker, len(paths), FEWEST)
    train, held_out, shared = _split(clips, read_sources(dataset))
    made = _with_speakers(PRESETS[preset], encoder, sorted(clips), config_path)
    made = of_length(made, length, len(train))
    lists = {name: filelists / f"{name}.txt" for name in ("train", "val", "test")}
    config = replace(
        made,
        train=replace(
            made.train,
            training_files=lists["train"].as_posix(),
            validation_files=lists["val"].as_posix(),
        ),
    )
    filelists.mkdir(parents=True, exist_ok=True)
    for name, path in lists.items():
        _write_lines(path, train if name == "train" else held_out)
    replaced = _keep(config_path)
    write_config(config_path, config)
    return Lists(config, tuple(train), tuple(held_out), shared, tuple(skipped), replaced)


def _with_speakers(
    make: Callable[[str, Mapping[str, int]], Config], encoder: str, names: list[str], path: Path
) -> Config:
    """Return a configuration in which speakers keep the rows that they had in the one before it.

    Others take the rows after these, so that a training can go on with them; where nobody was
    there before, rows go by names.
    """
    known: dict[str, int] = {}
    before = None
    if path.is_file():
        with suppress(ConfigError):  # it is replaced, whatever it is
            voice = read_config(path)[0].voice
            if set(voice.speakers) & set(names):
                known, before = voice.speakers, voice.synthesizer
    speakers = {name: known[name] for name in names if name in known}
    free = 1 + max(known.values(), default=-1)
    speakers |= {name: free + i for i, name in enumerate(n for n in names if n not in known)}
    speakers = dict(sorted(speakers.items(), key=lambda entry: entry[1]))
    made = make(encoder, {f"{row}": row for row in range(max(speakers.values()) + 1)})
    network = made.voice.synthesizer
    if type(network) is type(before):  # rows of speakers who have gone stay
        network = replace(network, n_speakers=max(before.n_speakers, network.n_speakers))
    return replace(made, voice=replace(made.voice, synthesizer=network, speakers=speakers))


def default_encoder(preset: str | None = None) -> str:
    """Return the best content encoder that needs no network on this machine.

    Args:
        preset: What it is for; `sovits-native` streams, and so must its encoder.
    """
    if preset == NATIVE:
        return BUNDLED_ENCODER
    best = CONTENT.get(BEST_ENCODER)
    return BEST_ENCODER if best is not None and at_hand(best.weights) else BUNDLED_ENCODER


def _unusable(clip: Recording) -> str | None:
    """Return why a clip cannot be used, or None."""
    if not clip.path.name.isprintable():
        return "its name holds control or undecodable characters"
    try:
        with AudioReader(clip.path) as reader:
            seconds = reader.frames / reader.sample_rate
    except AudioError as error:
        return str(error)
    return f"too short: {seconds:.2f} s, below {SHORTEST} s" if seconds < SHORTEST else None


def _split(
    clips: dict[str, list[Path]], sources: Mapping[str, str]
) -> tuple[list[Path], list[Path], tuple[str, ...]]:
    """Return clips to train on, those to hold out, and of whom a recording is on both sides."""
    train: list[Path] = []
    held_out: list[Path] = []
    shared = []
    for speaker, paths in sorted(clips.items()):
        recordings: dict[str, list[Path]] = {}
        for path in sorted(paths, key=in_order):
            recordings.setdefault(recording_of(path, sources), []).append(path)
        wanted = max(HELD_OUT, min(MOST_HELD_OUT, len(paths) // PER_HELD_OUT))
        wanted = min(wanted, len(paths) // FEWEST)
        chosen = _whole(recordings, wanted, max(wanted, len(paths) // LARGEST))
        if not chosen:
            chosen = _neighbours(max(recordings.values(), key=len), wanted)
            shared.append(speaker)
        held_out += sorted(chosen)
        train += sorted(set(paths) - set(chosen))
    return train, held_out, tuple(shared)


def _whole(recordings: dict[str, list[Path]], wanted: int, most: int) -> list[Path]:
    """Return all clips of a few recordings; none if that would be too few or too many."""
    chosen: list[Path] = []
    # By a digest of the name: adding a recording does not move the others.
    for name in sorted(recordings, key=_digest):
        if len(chosen) < wanted and len(chosen) + len(recordings[name]) <= most:
            chosen += recordings[name]
    return chosen if len(chosen) >= wanted else []


def _neighbours(clips: list[Path], wanted: int) -> list[Path]:
    """Return clips that follow one another, so that only the two outer ones border on others."""
    starts = range(max(1, len(clips) - wanted + 1))
    first = min(starts, key=lambda start: _digest(clips[start].name))
    return clips[first : first + wanted]


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _write_lines(path: Path, clips: Iterable[Path]) -> None:
    """Write one path a line, in one step."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text("".join(f"{clip.as_posix()}\n" for clip in clips), "utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _keep(path: Path) -> Path | None:
    """Move a file that is about to be replaced aside, and return where it is."""
    if not path.is_file():
        return None
    kept = path.with_name(f"{path.name}.bak")
    path.replace(kept)
    return kept
