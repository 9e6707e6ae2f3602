"""Convert many files: here, in processes, or on the machines of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sovits.choices import FILES
from sovits.config import ConvertOptions
from sovits.errors import SovitsError
from sovits.library import VOICES
from sovits.workers.crew import Crew, Failure, run
from sovits.workers.ledger import Ledger

if TYPE_CHECKING:
    from sovits.voice import Voice

LEDGER = ".sovits-converted.jsonl"
"""Kept among the results of a run that was interrupted, or that failed in part."""
BYTES_EACH = 3 << 29
"""Memory that one worker needs, most of it torch and a content encoder."""


class VoiceFile(NamedTuple):
    """Where workers find a voice."""

    model: Path
    config: Path | None
    device: str

    def load(self) -> Voice:
        """Read it; one that ships with this package is found wherever that is installed."""
        from sovits.voice import load_voice

        bundled = self.model.parent.parts[-2:] == VOICES.parts[-2:] and not self.model.exists()
        model = VOICES / self.model.name if bundled else self.model
        return load_voice(model, self.config, device=self.device)


class FileJob(NamedTuple):
    """One file to convert."""

    source: Path
    out: Path
    options: ConvertOptions
    voice: VoiceFile


class Outcome(NamedTuple):
    """What became of the files of a folder."""

    made: tuple[Path, ...]
    """Results written."""
    kept: tuple[Path, ...]
    """Results of an earlier run with the same settings, which was not finished."""
    failed: tuple[Failure, ...]
    """Results that could not be made, and why."""


def convert_files(
    voice: Voice,
    where: VoiceFile,
    pairs: Sequence[tuple[Path, Path]],
    options: ConvertOptions,
    *,
    folder: Path,
    crew: Crew | None = None,
    on_result: Callable[[Path], None] | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Outcome:
    """Convert each source to its result; what cannot be converted is named, and the rest goes on.

    A run that was interrupted, or failed in part, goes on where it was when it is begun again with
    the same voice and options.

    Args:
        voice: Who sings, if this process does the work.
        where: Where workers find the same voice.
        pairs: Sources and results.
        options: What is asked for.
        folder: Where all results are, or in folders of it.
        crew: Workers; this process if not given.
        on_result: Told of each result, as it is there.
        on_progress: Told the share that is done, 0 to 1.
    """
    jobs = [FileJob(source, out, options, where) for source, out in pairs]
    files = [where.model, where.config, *files_of(options).values()]
    settings = (with_absolute_paths(options), *map(_identity, files))
    ledger = Ledger(folder / LEDGER, settings)
    left: list[FileJob] = []
    kept: list[FileJob] = []
    for job in jobs:
        (kept if ledger.has(job.source, job.out) else left).append(job)
    progress = on_progress or (lambda _share: None)
    done = len(kept)

    def finish(job: FileJob, result: Path | Failure) -> None:
        nonlocal done
        done += 1
        if isinstance(result, Path):
            ledger.add(job.source, job.out)
            if on_result is not None:
                on_result(result)
        progress(done / len(jobs))

    for job in kept:
        if on_result is not None:
            on_result(job.out)
    function: Callable[[FileJob], Path | Failure] = _convert_in_worker
    if crew is None:
        function = partial(_convert, voice, lambda share: progress((done + share) / len(jobs)))
    results: list[Path | Failure] | None = None
    try:
        results = run(function, left, crew, on_result=finish)
    finally:
        whole = results is not None and all(isinstance(result, Path) for result in results)
        ledger.close(forget=whole)
    made = tuple(result for result in results if isinstance(result, Path))
    failed = tuple(result for result in results if isinstance(result, Failure))
    return Outcome(made, tuple(job.out for job in kept), failed)


def files_of(options: ConvertOptions) -> dict[str, Path]:
    """Return the files that options name, by the options."""
    named = {name: getattr(options, name, None) for name in FILES}
    return {name: Path(value) for name, value in named.items() if value and Path(value).is_file()}


def with_absolute_paths(options: ConvertOptions) -> ConvertOptions:
    """Return options that mean the same files from any current folder."""
    files: dict[str, Any] = {n: str(path.absolute()) for n, path in files_of(options).items()}
    return replace(options, **files)


def _convert(voice: Voice, on_progress: Callable[[float], None], job: FileJob) -> Path | Failure:
    from sovits.convert import convert_file

    try:
        job.out.parent.mkdir(parents=True, exist_ok=True)
        convert_file(voice, job.source, job.out, job.options, on_progress=on_progress)
    except SovitsError as error:
        named = str(job.source) in str(error)
        return Failure(job.out, str(error) if named else f"{job.source}: {error}")
    return job.out


def _convert_in_worker(job: FileJob) -> Path | Failure:
    return _convert(_voice(job.voice), lambda _share: None, job)


@lru_cache(maxsize=1)
def _voice(voice: VoiceFile) -> Voice:
    """Read the voice once in each worker."""
    return voice.load()


def _identity(path: Path | None) -> tuple[object, ...]:
    """Return what tells a file from what it was before."""
    try:
        status = None if path is None else path.stat()
    except OSError:
        status = None
    return (path and path.absolute(), status and (status.st_size, status.st_mtime_ns))
