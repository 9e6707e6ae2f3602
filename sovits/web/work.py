"""What the process that converts does for a job."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sovits.config import ConvertOptions
from sovits.folder import VoiceFile

if TYPE_CHECKING:
    from sovits.voice import Voice

LARGEST_FILE = 1 << 31
"""No file that a job writes may be larger (bytes), where the system sees to it."""
PROGRESS, LOG = "progress", "log"
"""Files beside the result: the share that is done, and what there is to say."""


class Task(NamedTuple):
    """A job, for whoever does it."""

    source: Path
    out: Path
    voice: VoiceFile
    age: int
    """When the voice was written (ns), so that a newer one is read again."""
    options: ConvertOptions
    max_seconds: float


def convert_upload(task: Task) -> None:
    """Convert a sound that was sent, and keep how far it is beside the result."""
    from sovits.audio.io import AudioReader
    from sovits.convert import convert_file, into_range, range_fit
    from sovits.device import choose_device

    _bound_files()
    where = task.voice._replace(device=choose_device(task.voice.device))
    voice, options = _voice(where, task.age), task.options
    for remark in voice.remarks:
        _say(task, remark)
    with AudioReader(task.source, max_seconds=task.max_seconds) as reader:
        seconds = reader.frames / reader.sample_rate
        _say(task, f"Converting {seconds:.1f} s at {reader.sample_rate} Hz.")
        if options.auto_transpose:
            options = into_range(voice, reader, options)
            _say(task, f"Transposed by {options.semitones:+g} semitones.")
        elif (found := range_fit(voice, reader, options)) is not None and not found.fits:
            _say(task, found.sentence())
    convert_file(voice, task.source, task.out, options, on_progress=lambda x: _tell(task, x))
    _say(task, "Done.")


@lru_cache(maxsize=1)
def _voice(voice: VoiceFile, _age: int) -> Voice:
    """Read a voice once, as long as others do not come between."""
    return voice.load()


def _say(task: Task, text: str) -> None:
    with task.out.with_name(LOG).open("a", encoding="utf-8") as file:
        file.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def _tell(task: Task, share: float) -> None:
    path = task.out.with_name(PROGRESS)
    part = path.with_suffix(".part")
    part.write_text(f"{share:.4f}")
    part.replace(path)


def _bound_files() -> None:
    """Let no file grow without bounds, whatever a sound decodes to."""
    with suppress(ImportError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        most = LARGEST_FILE if hard == resource.RLIM_INFINITY else min(hard, LARGEST_FILE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
