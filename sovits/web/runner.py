"""One job at a time, in a process that can be ended."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Any, Protocol

from sovits.config import ConvertOptions, build
from sovits.errors import ServerError, SovitsError
from sovits.folder import VoiceFile
from sovits.web.settings import ServerSettings
from sovits.web.store import ENDED, TRIES, Job, Store
from sovits.web.voices import plain, usable_voice
from sovits.web.work import PROGRESS, Task, convert_upload
from sovits.workers.crew import Done, Event, Failure, Lost, Raised, Ready
from sovits.workers.processes import Processes

LOG = logging.getLogger(__name__)
IDLE_SECONDS = 60.0
"""How often what has expired is looked for."""


class Worker(Protocol):
    """One process, as `sovits.workers.processes.Processes` has it; its number is 0."""

    def begin(self, function: Callable[[Any], Any]) -> None:
        """Take note of what all jobs are done with."""

    def hire(self, worker: int) -> None:
        """Begin it."""

    def give(self, worker: int, job: Any) -> None:
        """Hand it a job."""

    def wait(self) -> list[Event]:
        """Return what happened, once something has."""

    def stop(self, worker: int) -> None:
        """End it, whatever it is at."""

    def end(self) -> None:
        """End it, and wait for that."""


class Runner:
    """Does the jobs of a store, in turns.

    Args:
        store: Where jobs come from.
        settings: How the server is set up.
        worker: What does them; a process if not given.
    """

    def __init__(
        self, store: Store, settings: ServerSettings, worker: Worker | None = None
    ) -> None:
        self.store, self.settings = store, settings
        threads = os.environ.get("OMP_NUM_THREADS", "")
        cores = int(threads) if threads.isdecimal() and int(threads) else os.cpu_count() or 1
        self._worker = worker or Processes(1, threads=cores)
        self._worker.begin(convert_upload)
        self._hired = False
        self._current: str | None = None
        self._stopped: set[str] = set()
        self.stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="sovits-jobs", daemon=True)

    def start(self) -> None:
        """Begin with what waits."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is not done is done by the next server."""
        with self._changed:
            self.stopping = True
            if self._current is not None:
                self._stop_current()
            self._changed.notify()
        self._thread.join()
        self._worker.end()

    def wake(self) -> None:
        """Look for jobs that wait."""
        with self._changed:
            self._changed.notify()

    def cancel(self, job: str) -> None:
        """Let a job be, if it has not ended.

        Raises:
            ServerError: There is no such job.
        """
        with self._changed:
            state = self.store.get(job).state
            if self._current == job:
                self._stop_current()
            elif state not in ENDED:
                self.store.end(job, "cancelled")
        self._wait_for(job)

    def progress(self, job: Job) -> float:
        """Return the share of a job that is done, 0 to 1."""
        if job.state != "running":
            return float(job.state == "done")
        try:
            return float(self.store.path(job.id, PROGRESS).read_text())
        except (OSError, ValueError):
            return 0.0

    def _wait_for(self, job: str) -> None:
        """Wait until a job that was stopped is at no worker any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._current != job)

    def _stop_current(self) -> None:
        if self._current is not None:
            self._stopped.add(self._current)
        self._worker.stop(0)

    def _run(self) -> None:
        while True:
            with self._changed:
                if self.stopping:
                    return
                job = self.store.begin_next()
                if job is None:
                    self.store.expire(3600 * self.settings.keep_hours)
                    self._changed.wait(IDLE_SECONDS)
                    continue
                self._current = job.id
            try:
                outcome = self._outcome(job)
            except Exception:  # one job must not keep all others from being done
                LOG.exception("Job failed.")
                outcome = Done(Raised(ServerError.failed()))
            with self._changed:
                self._note(job, outcome)
                self._stopped.discard(job.id)
                self._current = None
                self._changed.notify_all()

    def _outcome(self, job: Job) -> Done | Lost:
        """Return what became of a job, whatever it was."""
        try:
            task = self._task(job)
        except SovitsError as error:
            return Done(Raised(error))
        if not self._hired:
            self._worker.hire(0)
            event = self._event()
            if isinstance(event, Lost):
                return event
            self._hired = True
        self._worker.give(0, task)
        with self._changed:
            if job.id in self._stopped:  # while the process was beginning
                self._worker.stop(0)
        event = self._event()
        if isinstance(event, Lost):
            self._hired = False
            return event
        return event if isinstance(event, Done) else Lost("it was never at it")

    def _event(self) -> Ready | Done | Lost:
        while not (events := self._worker.wait()):
            continue
        return events[0][1]

    def _task(self, job: Job) -> Task:
        """Return what the process needs to know.

        Raises:
            SovitsError: The voice is gone, or options are not known any more.
        """
        voice = usable_voice(job.voice)
        return Task(
            self.store.path(job.id, "sound"),
            self.store.path(job.id, "result.wav"),
            VoiceFile(voice.path.absolute(), voice.config, self.settings.device),
            voice.path.stat().st_mtime_ns,
            build(ConvertOptions, job.options),
            self.settings.max_seconds,
        )

    def _note(self, job: Job, outcome: Done | Lost) -> None:
        """Keep what became of a job."""
        stopped = job.id in self._stopped
        if isinstance(outcome, Lost):
            if stopped and not self.stopping:
                self.store.end(job.id, "cancelled")
            elif stopped or job.starts < TRIES:
                self.store.again(job.id)
            else:
                error = ServerError.job_given_up(TRIES, outcome.reason)
                self.store.end(job.id, "failed", self.without_paths(job.id, str(error)))
            return
        result = outcome.result
        if isinstance(result, Raised):
            self.store.end(job.id, "failed", self.without_paths(job.id, str(result.error)))
        elif isinstance(result, Failure):
            self.store.end(job.id, "failed", self.without_paths(job.id, result.reason))
        else:
            self.store.end(job.id, "done")

    def without_paths(self, job: str, text: str) -> str:
        """Return an error without what it tells of folders of this machine."""
        for name, shown in (("sound", "The sound"), ("result.wav", "The result")):
            text = text.replace(str(self.store.path(job, name)), shown)
        return plain(text)
