"""What is wrong with recordings: limits, and for each finding why it matters and what to do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from sovits.prepare.examine import Examined

Weight = Literal["stop", "warn", "note"]
Goal = Literal["speech", "singing"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, with a file or with all of a speaker's."""

    kind: str
    """What is wrong, in a word that programs know."""
    weight: Weight
    """stop: must be put right; warn: costs quality; note: good to know."""
    number: float | None
    """What was measured."""
    unit: str
    """Of `number`."""
    found: str
    """What was measured, in words."""
    why: str
    """Why it matters."""
    do: str
    """What to do."""
    file: str | None = None
    """Which file, from the speaker's folder on; None for all of them."""
    fixable: bool = False
    """Whether `--fix` puts it right."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON types."""
        return asdict(self)


SHORTEST = 1.0
"""Seconds of speech below which a file teaches little."""
LONGEST = 30.0
"""Length from which a file should be cut (s)."""
CLIP_RUNS = 2.0
"""Flat peaks a second of speech."""
OFFSET = 0.003
"""Share of full scale by which a sound may lie off zero."""
NOISY = 20.0
"""Signal to noise below which noise is learnt too (dB)."""
HISSES = 3.3
"""Tonality of the background up to which it is noise, and above which it is music (dB)."""
ROOMY = 0.31
"""Decay time above which the room is learnt too (s)."""
ROOM_HEARD = 25.0
"""Signal to noise below which noise hides the room (dB)."""
HUMS = -45.0
"""Level of hum beside that of speech (dB)."""
NARROW, DULL = 6_500.0, 10_000.0
"""Bandwidths below which a voice sounds as through a telephone, and merely dull (Hz)."""
QUIET = -45.0
"""Level of speech below which a recording is too quiet (dBFS)."""
EMPTY = 0.6
"""Share of silence that is too much."""
ALIKE, HARDLY_ALIKE = 0.70, 0.62
"""Likeness to the others below which somebody else speaks: in 5 s of speech, and in less."""
SAME = 0.3
"""Share of a file that is in another one, too."""


def of_file(found: Examined, name: str) -> Iterator[Finding]:
    """Yield what is wrong with one file by itself."""
    if found.speech_seconds < SHORTEST:
        what = "nothing but silence" if not found.speech_seconds else "hardly any sound"
        yield Finding(
            "empty", "warn", found.speech_seconds, "s", f"{what}: {found.speech_seconds:.1f} s",
            "Training takes crops of a few seconds; silence teaches nothing.",
            "Leave it out.", name, fixable=True,
        )  # fmt: skip
        return
    if found.seconds > LONGEST:
        yield Finding(
            "long", "note", found.seconds, "s", f"lasts {found.seconds:.0f} s",
            "A recording becomes one clip, of which each pass of a training hears a few seconds.",
            "Cut it with svc pre-split.", name,
        )  # fmt: skip
    if found.clip_runs_per_second > CLIP_RUNS:
        yield Finding(
            "clipped", "warn", found.clip_runs_per_second, "peaks/s",
            f"{found.clip_runs_per_second:.0f} peaks cut off each second",
            "Cut peaks rasp, and the voice learns to rasp.",
            "Record again with less gain, so that the loudest peaks stay below -3 dBFS.", name,
        )  # fmt: skip
    if abs(found.offset) > OFFSET:
        yield Finding(
            "dc", "warn", found.offset, "of full scale",
            f"lies {100 * found.offset:+.1f} % of full scale off zero",
            "It takes headroom, and clicks wherever a clip begins.",
            "--fix moves it back.", name, fixable=True,
        )  # fmt: skip
    yield from _background(found, name)
    if found.hum_db > HUMS:
        yield Finding(
            "hum", "warn", found.hum_db, "dB",
            f"hums at {found.hum_hz:.0f} Hz, {-found.hum_db:.0f} dB below the voice",
            "Hum is learnt as a part of the voice, and misleads the pitch of soft sounds.",
            "--fix takes it out; for the next recording use another outlet or a balanced cable.",
            name, fixable=True,
        )  # fmt: skip
    if 0 < found.bandwidth_hz < NARROW:
        yield Finding(
            "narrow", "warn", found.bandwidth_hz, "Hz",
            f"has nothing above {found.bandwidth_hz / 1000:.1f} kHz",
            "What is not in the recordings is not in the voice: it sounds as through a telephone.",
            "Use the original instead of a compressed or telephone copy.", name,
        )  # fmt: skip
    if found.level_db < QUIET:
        yield Finding(
            "quiet", "warn", found.level_db, "dBFS", f"speaks at {found.level_db:.0f} dBFS",
            "Its noise is raised with it when clips are made equally loud.",
            "Record closer to the microphone or with more gain.", name,
        )  # fmt: skip
    if found.silence_share > EMPTY and found.seconds > 3:
        yield Finding(
            "silence", "note", found.silence_share, "",
            f"is silent for {found.silence_share:.0%} of its time",
            "Silence takes the place of speech in the crops that training hears.",
            "svc pre-split --drop-silence leaves it out.", name,
        )  # fmt: skip


def has_music(found: Examined) -> bool:
    """Return whether something other than a voice and noise is behind it."""
    return _loud_behind(found) and (found.tonality_db or 0.0) > HISSES


def is_noisy(found: Examined) -> bool:
    """Return whether noise is behind it."""
    return _loud_behind(found) and not has_music(found)


def _loud_behind(found: Examined) -> bool:
    return found.snr_db is not None and found.snr_db < NOISY


def _background(found: Examined, name: str) -> Iterator[Finding]:
    """Yield music, noise or room."""
    if has_music(found):
        yield Finding(
            "music", "warn", found.snr_db, "dB",
            f"music or other voices {found.snr_db:.0f} dB below the voice",
            "What sounds with the voice is learnt as a part of it.",
            "Separate it: svc prepare does so, or svc separate.", name,
        )  # fmt: skip
    elif is_noisy(found):
        yield Finding(
            "noisy", "warn", found.snr_db, "dB", f"noise {found.snr_db:.0f} dB below the voice",
            "The voice learns to hiss; 30 dB or more is good, 20 dB the least.",
            "Record in a quieter room and closer to the microphone, or denoise it.", name,
        )  # fmt: skip
    elif found.decay_s is not None and found.decay_s > ROOMY and (found.snr_db or 0) > ROOM_HEARD:
        yield Finding(
            "reverberant", "warn", found.decay_s, "s",
            f"the room takes {found.decay_s:.2f} s to fall by 60 dB",
            "Every result will sound as in that room.",
            "Record closer to the microphone, among soft things; a wardrobe does.",
            name,
        )  # fmt: skip


def unreadable(name: str, reason: str) -> Finding:
    """Return that a file cannot be read."""
    return Finding(
        "unreadable", "stop", None, "", reason.rstrip("."),
        "Preparation leaves it out.", "All others can be used without it.", name, fixable=True,
    )  # fmt: skip


def other_voice(name: str, likeness: float, seconds: float, where: Sequence[float]) -> Finding:
    """Return that somebody else speaks in a file."""
    at = ", ".join(f"{second:.0f} s" for second in where[:4])
    return Finding(
        "other-voice", "warn", likeness, "cosine",
        f"likeness {likeness:.2f} to the others for {seconds:.0f} s, around {at}",
        "Two people in one folder become one voice that is neither.",
        "Listen; move it to a folder of its own (svc pre-sd tells speakers apart), or cut it out.",
        name,
    )  # fmt: skip


def duplicate(name: str, other: str, share: float) -> Finding:
    """Return that a file holds the sound of another."""
    return Finding(
        "duplicate", "warn", share, "", f"{share:.0%} of it is in {other} too",
        "What is there twice counts twice, and if it is held out the verdict is worth nothing.",
        "Keep one of the two.", name, fixable=share > 0.8,
    )  # fmt: skip


def of_all(facts: dict[str, Any], goal: Goal) -> Iterator[Finding]:
    """Yield what is wrong with all recordings of a speaker together."""
    minutes, clips = facts["usable_minutes"], facts["files"]
    if minutes < 5:
        yield Finding(
            "too-little", "stop" if minutes < 1 else "warn", minutes, "min",
            f"{minutes:.1f} minutes of usable speech",
            "Below 5 minutes a voice is hardly alike; 20 to 40 sound natural.",
            "Record more: svc record has texts.",
        )  # fmt: skip
    if clips < 200 and minutes < 33:
        yield Finding(
            "few-clips", "note", clips, "files", f"{clips} files, {minutes:.0f} minutes",
            "200 clips of about 10 s are where more stops to help much.",
            "Record more if you can.",
        )  # fmt: skip
    if facts["loudness_spread_db"] > 8:
        yield Finding(
            "uneven", "note", facts["loudness_spread_db"], "dB",
            f"the level varies by {facts['loudness_spread_db']:.0f} dB from file to file",
            "Clips are made equally loud, and with quiet ones their noise.",
            "Keep the distance to the microphone.",
        )  # fmt: skip
    if len(facts["sample_rates"]) > 1:
        yield Finding(
            "rates", "note", len(facts["sample_rates"]), "rates",
            f"recorded at {', '.join(map(str, facts['sample_rates']))} Hz",
            "The voice learns that some words are dull.", "Use one rate, 44.1 kHz or more.",
        )  # fmt: skip
    band = facts["bandwidth_hz"]
    if band is not None and NARROW <= band < DULL:
        yield Finding(
            "dull", "note", band, "Hz", f"half of the files end at {band / 1000:.1f} kHz",
            "What is not in the recordings is not in the voice: it will be a little dull.",
            "Record at 44.1 kHz or more, and keep the files uncompressed.",
        )  # fmt: skip
    if facts["sounds_share"] is not None and facts["sounds_share"] < 0.55 and minutes >= 1:
        yield Finding(
            "sounds", "warn", facts["sounds_share"], "",
            f"{facts['sounds_share']:.0%} of the sounds of speech are heard",
            "Sounds that are not in the recordings come out as others.",
            "Read sentences that hold all of them: svc record.",
        )  # fmt: skip
    if goal == "singing" and facts["sung_share"] < 0.25:
        yield Finding(
            "not-sung", "warn", facts["sung_share"], "",
            f"{facts['sung_share']:.0%} of the voiced time is held notes",
            "A voice that has only spoken sings flat and breaks on long notes.",
            "Sing for about a quarter of the time: vowels, glides, scales and songs, from the "
            "lowest to the highest note you need.",
        )  # fmt: skip
    span = facts["range_semitones"]
    if goal == "singing" and not math.isnan(span) and span < 17:
        yield Finding(
            "range", "warn", span, "semitones", f"spans {span:.0f} semitones",
            "Songs reach an octave and a half; notes that were never sung come out hoarse.",
            "Sing scales up and down to your limits.",
        )  # fmt: skip


def name_of(path: Path, folder: Path) -> str:
    """Return the name of a file for people, from its speaker's folder on."""
    return path.relative_to(folder).as_posix().encode("utf-8", "replace").decode("utf-8")
