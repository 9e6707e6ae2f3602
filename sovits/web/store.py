"""Jobs on disk: what was asked for, how far it is, and the files that belong to it."""

from __future__ import annotations

import json
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

from sovits.errors import ServerError

State = Literal["queued", "running", "done", "failed", "cancelled"]
ENDED = frozenset({"done", "failed", "cancelled"})
"""States that last."""
TRIES = 3
"""How often a job is begun at most."""
KEPT = frozenset({"result.wav", "log"})
"""Files of a job that are kept when it has ended."""

_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, turn TEXT NOT NULL, name TEXT NOT NULL,
    voice TEXT NOT NULL, options TEXT NOT NULL, state TEXT NOT NULL, created REAL NOT NULL,
    begun REAL, ended REAL, starts INTEGER NOT NULL, error TEXT, size INTEGER NOT NULL
)
"""
# Whoever was served longest ago is next; nobody gains by being new, or by asking for more.
_NEXT = """
SELECT * FROM jobs AS job WHERE state = 'queued' ORDER BY
    max(created, coalesce((SELECT max(begun) FROM jobs AS other WHERE other.turn = job.turn), 0)),
    created
LIMIT 1
"""


@dataclass(frozen=True)
class Job:
    """What somebody asked for."""

    id: str
    """Known only to whoever asked."""
    owner: str
    """Digest of the session that it belongs to."""
    turn: str
    """With whose jobs it takes turns."""
    name: str
    """What the sound was called, for show only."""
    voice: str
    """Identifier of the voice."""
    options: dict[str, Any]
    """Options of the conversion that were given."""
    state: State
    created: float
    """When it was asked for (s since 1970)."""
    begun: float | None
    """When it was last begun (s since 1970)."""
    ended: float | None
    """When it ended (s since 1970)."""
    starts: int
    """How often it was begun."""
    error: str | None
    """Why it failed, in one line."""
    size: int
    """Bytes of its files."""


class Store:
    """The jobs of one server, in a folder of which it is the only user.

    Raises:
        ServerError: The folder cannot be used, or another server uses it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._files.mkdir(exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(
                folder / "jobs.sqlite", timeout=0, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise ServerError.bad_folder(folder, str(error)) from error
        self._db.row_factory = sqlite3.Row
        try:
            # Held until the end, even by a server that is killed.
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("BEGIN EXCLUSIVE")
            self._db.execute(_TABLE)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._db.close()
            if "locked" in str(error):
                raise ServerError.folder_in_use(folder) from error
            raise ServerError.bad_folder(folder, str(error)) from error
        self._recover()

    def close(self) -> None:
        """Let another server use the folder."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _files(self) -> Path:
        return self.folder / "files"

    def path(self, job: str, name: str) -> Path:
        """Return where a job has a file."""
        return self._files / job / name

    def new_id(self) -> str:
        """Return an identifier that nobody can guess, with a folder for its files."""
        name = secrets.token_hex(16)
        self.path(name, ".").mkdir(mode=0o700)
        return name

    def add(self, job: Job) -> None:
        """Take a job on, whose files are there."""
        values = asdict(job) | {"options": json.dumps(job.options)}
        marks = ", ".join(f":{name}" for name in values)
        self._run(f"INSERT INTO jobs ({', '.join(values)}) VALUES ({marks})", values)  # noqa: S608

    def get(self, job: str) -> Job:
        """Return a job.

        Raises:
            ServerError: There is none.
        """
        found = self._jobs("SELECT * FROM jobs WHERE id = :id", {"id": job})
        if not found:
            raise ServerError.no_job()
        return found[0]

    def of(self, owner: str) -> list[Job]:
        """Return the jobs of a session, the newest first."""
        query = "SELECT * FROM jobs WHERE owner = :owner ORDER BY created DESC"
        return self._jobs(query, {"owner": owner})

    def waiting(self, turn: str | None = None) -> int:
        """Return how many jobs wait, or how many of one client."""
        query = "SELECT count(*) FROM jobs WHERE state = 'queued' AND coalesce(:turn, turn) = turn"
        return int(self._run(query, {"turn": turn})[0][0])

    def stored(self) -> int:
        """Return how many bytes all jobs have."""
        return int(self._run("SELECT coalesce(sum(size), 0) FROM jobs", {})[0][0])

    def begin_next(self) -> Job | None:
        """Return the job whose turn it is, which is running from now on."""
        with self._lock:
            found = self._jobs(_NEXT, {})
            if not found:
                return None
            job = replace(found[0], state="running", begun=time.time(), starts=found[0].starts + 1)
            self._run(
                "UPDATE jobs SET state = :state, begun = :begun, starts = :starts WHERE id = :id",
                {"state": job.state, "begun": job.begun, "starts": job.starts, "id": job.id},
            )
            return job

    def again(self, job: str) -> None:
        """Let a job wait that has not ended, as what worked at it has."""
        self._run("UPDATE jobs SET state = 'queued' WHERE id = :id", {"id": job})

    def end(self, job: str, state: State, error: str | None = None) -> None:
        """Note how a job ended, and keep only what may still be asked for."""
        for path in self.path(job, ".").glob("*"):
            if path.name not in KEPT or (path.name == "result.wav" and state != "done"):
                with suppress(OSError):
                    path.unlink()
        sizes = [path.stat().st_size for path in self.path(job, ".").glob("*")]
        self._run(
            "UPDATE jobs SET state = :state, error = :error, ended = :ended, size = :size "
            "WHERE id = :id",
            {"state": state, "error": error, "ended": time.time(), "size": sum(sizes), "id": job},
        )

    def remove(self, job: str) -> None:
        """Forget a job, with all its files."""
        self._run("DELETE FROM jobs WHERE id = :id", {"id": job})
        shutil.rmtree(self.path(job, "."), ignore_errors=True)

    def expire(self, seconds: float) -> None:
        """Forget what ended longer ago than this."""
        query = "SELECT * FROM jobs WHERE ended < :before"
        for job in self._jobs(query, {"before": time.time() - seconds}):
            self.remove(job.id)

    def _recover(self) -> None:
        """Let wait again what a server that has ended was at, and forget what it was taking in."""
        for job in self._jobs("SELECT * FROM jobs WHERE state = 'running'", {}):
            if job.starts < TRIES:
                self.again(job.id)
            else:
                why = str(ServerError.job_given_up(TRIES, "the server ended"))
                self.end(job.id, "failed", why)
        known = {job.id for job in self._jobs("SELECT * FROM jobs", {})}
        for path in self._files.glob("*"):
            if path.name not in known:
                shutil.rmtree(path, ignore_errors=True)

    def _jobs(self, query: str, values: dict[str, Any]) -> list[Job]:
        names = [field.name for field in fields(Job)]
        rows = [{name: row[name] for name in names} for row in self._run(query, values)]
        return [Job(**row | {"options": json.loads(row["options"])}) for row in rows]

    def _run(self, query: str, values: dict[str, Any]) -> Sequence[sqlite3.Row]:
        with self._lock:
            return self._db.execute(query, values).fetchall()
