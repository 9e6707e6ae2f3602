"""A song in another voice: taken apart, converted, and put together again."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from sovits.audio.io import AudioReader, AudioWriter
from sovits.config import ConvertOptions, CoverOptions, SeparateOptions, to_dict
from sovits.convert import convert_file
from sovits.errors import SeparationError
from sovits.remix import Part, measure, remix
from sovits.reverb import missing_room, reverberate
from sovits.separation.centre import Centre
from sovits.separation.job import SeparationJob
from sovits.separation.separate import separate_file
from sovits.voice import Voice
from sovits.work import Work, file_digest, work_folder

VERSION = 1
"""Of how steps are done; older intermediates are made anew."""
NO_VOCALS = -30.0
"""A song has no vocals if they are so far below it (LU)."""
CENTRED = -6.0
"""A lead that is so far below all vocals is not in the middle, so all vocals are lead (LU)."""
INAUDIBLE = -70.0  # harmonies up to this are none (LUFS)
MOST_GAIN_DB = 12.0
_SHARES = (0.4, 0.45, 0.9)  # of the work that is done after separation, lead, and conversion


@dataclass
class Cover:
    """What a cover was made of."""

    out: Path
    """The result."""
    stems: dict[str, Path] = field(default_factory=dict)
    """Every intermediate sound, by name."""
    remarks: list[str] = field(default_factory=list)
    """What was settled while making it."""


def cover(
    voice: Voice,
    song: Path,
    out: Path,
    conversion: ConvertOptions | None = None,
    options: CoverOptions | None = None,
    *,
    work: Path | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Cover:
    """Write `song` as `voice` would sing it: as long, as loud, as wide and in the same room.

    Intermediates are kept in a folder beside `out`, so another try does only what has changed.

    Args:
        voice: Who sings.
        song: Mono or stereo.
        out: Where to write.
        conversion: How the lead is converted; the source's side is kept unless it says otherwise.
        options: How the song is taken apart and put together.
        work: Folder for intermediates.
        on_progress: Told the share that is done, 0 to 1.

    Raises:
        AudioError: `song` cannot be read.
        SeparationError: It has no vocals, or too many channels, or the separator is missing.
        OutputError: `out` or an intermediate cannot be written.
    """
    return _Making(
        voice,
        song,
        conversion or ConvertOptions(),
        options or CoverOptions(),
        Work(work or work_folder(song, out)),
        Cover(out),
        on_progress or (lambda _: None),
    ).run()


@dataclass
class _Making:
    """One cover on its way."""

    voice: Voice
    song: Path
    conversion: ConvertOptions
    options: CoverOptions
    work: Work
    cover: Cover
    progress: Callable[[float], None]

    def run(self) -> Cover:
        with AudioReader(self.song) as reader:
            if reader.channels > 2:
                raise SeparationError.too_many_channels(self.song, reader.channels)
            self.rate, self.channels = reader.sample_rate, reader.channels
        separated = self._separated()
        vocals, rest = separated["vocals"], separated["accompaniment"]
        self._check_vocals(vocals)
        self.progress(_SHARES[0])
        lead, backing = self._lead(vocals)
        self.progress(_SHARES[1])
        parts = [rest, self._sung("voice", lead, self.conversion)]
        if backing is not None:
            parts.append(self._harmonies(backing))
        self.progress(_SHARES[2])
        self._remix(parts)
        return self.cover

    def _separated(self) -> dict[str, Path]:
        """Return vocals and accompaniment."""
        settings = {
            "song": file_digest(self.song),
            "model": self.options.separator,
            "version": VERSION,
        }

        def make(paths: dict[str, Path]) -> None:
            job = SeparationJob(
                SeparateOptions(model=self.options.separator), str(self.voice.device)
            )
            job.into(self.song, paths, on_progress=self._within(0.0, _SHARES[0]))

        return self._step(("vocals", "accompaniment"), settings, [], make)

    def _check_vocals(self, vocals: Path) -> None:
        """Refuse a song in which nobody sings."""
        below = measure(vocals).lufs - measure(self.song).lufs
        if not below > NO_VOCALS:  # not a number where both are silent
            raise SeparationError.no_vocals(self.song, below)

    def _lead(self, vocals: Path) -> tuple[Path, Path | None]:
        """Return the lead, and the harmonies if there are any."""
        if self.channels == 1:
            return vocals, None

        def make(paths: dict[str, Path]) -> None:
            named = {"vocals": paths["lead"], "accompaniment": paths["backing"]}
            separate_file(vocals, named, Centre(self.rate))

        settings = {"step": "centre", "version": VERSION}
        made = self._step(("lead", "backing"), settings, [vocals], make)
        lead, backing = made["lead"], made["backing"]
        if measure(lead).lufs - measure(vocals).lufs < CENTRED:
            self.cover.remarks.append(
                "The lead is not in the middle, so all vocals are converted as one."
            )
            return vocals, None
        return lead, backing if measure(backing).lufs > INAUDIBLE else None

    def _harmonies(self, backing: Path) -> Path:
        """Return the harmonies as they are, or converted in each channel."""
        if self.options.backing == "keep":
            return backing
        semitones = self.options.backing_semitones
        if semitones is None:
            semitones = self.conversion.semitones
        both = replace(self.conversion, semitones=semitones, stereo="both")
        return self._sung("harmonies", backing, both)

    def _sung(self, name: str, source: Path, conversion: ConvertOptions) -> Path:
        """Return `source` in the other voice, as loud as it was, and in its room."""
        if self.channels == 2 and conversion.stereo == "mono":
            conversion = replace(conversion, stereo="side")
        conversion = replace(conversion, output_rate=None)

        def convert(paths: dict[str, Path]) -> None:
            move = self._within(_SHARES[1], _SHARES[2])
            convert_file(self.voice, source, paths[f"{name}-dry"], conversion, on_progress=move)

        settings = {"conversion": self._settings(conversion), "version": VERSION}
        dry = self._step((f"{name}-dry",), settings, [source], convert)[f"{name}-dry"]
        settings = {"reverb": self.options.reverb, "db": self.options.voice_db, "version": VERSION}
        finish = partial(self._finish, source, dry, name)
        return self._step((name,), settings, [source, dry], finish)[name]

    def _finish(self, source: Path, dry: Path, name: str, paths: dict[str, Path]) -> None:
        """Match the loudness and the room of `source`."""
        gain_db = measure(source).lufs - measure(dry).lufs
        if not math.isfinite(gain_db):
            gain_db = 0.0
        gain_db = max(-MOST_GAIN_DB, min(MOST_GAIN_DB, gain_db)) + self.options.voice_db
        with ExitStack() as stack:
            original, sung = (stack.enter_context(AudioReader(path)) for path in (source, dry))
            room = missing_room(original, sung) if self.options.reverb else None
            writer = AudioWriter(paths[name], self.rate, sung.channels, subtype="FLOAT")
            stack.enter_context(writer)
            reverberate(sung, room, writer.write, gain=10 ** (gain_db / 20))

    def _remix(self, paths: list[Path]) -> None:
        """Write the result."""
        with ExitStack() as stack:
            parts = [Part(stack.enter_context(AudioReader(path))) for path in paths]
            move = self._within(_SHARES[2], 1.0)
            master = remix(parts, self.song, self.cover.out, on_progress=move)
        if master.gain_db:
            self.cover.remarks.append(
                f"The remix was moved by {master.gain_db:+.1f} dB to be as loud as the song."
            )

    def _settings(self, conversion: ConvertOptions) -> dict[str, Any]:
        """Return all that decides how a conversion sounds: options, voice, and files they name."""
        settings = to_dict(conversion)
        named = [Path(value) for value in settings.values() if isinstance(value, str)]
        if self.voice.path is not None:
            named += [self.voice.path, *self.voice.path.parent.glob("config.json")]
        if conversion.retrieval_ratio and conversion.retrieval is None:
            named.append(self.voice.index_path())
        return {**settings, "files": [file_digest(path) for path in named if path.is_file()]}

    def _step(
        self,
        names: tuple[str, ...],
        settings: dict[str, Any],
        sources: list[Path],
        make: Callable[[dict[str, Path]], None],
    ) -> dict[str, Path]:
        made = self.work.step(names, settings, sources, make)
        self.cover.stems |= made
        return made

    def _within(self, first: float, last: float) -> Callable[[float], None]:
        """Return what moves the progress from `first` to `last`."""
        return lambda share: self.progress(first + (last - first) * share)
