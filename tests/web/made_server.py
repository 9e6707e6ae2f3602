"""Servers to ask in tests, and a stand-in for the process that converts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

from fastapi.testclient import TestClient

from sovits.web.app import create_app
from sovits.web.settings import ServerSettings
from sovits.web.work import Task
from sovits.workers.crew import Done, Event, Lost, Ready

ADDRESS = "http://127.0.0.1:7865"
SOUND = {"audio": ("song.wav", b"RIFF and so on")}


class Puppet:
    """Does a job when the test says so, and dies when it is told to stop."""

    def __init__(self) -> None:
        self.events: Queue[Event] = Queue()
        self.tasks: Queue[Task] = Queue()
        self.alive = False

    def begin(self, function: object) -> None:
        return

    def hire(self, worker: int) -> None:
        self.alive = True
        self.events.put((0, Ready()))

    def give(self, worker: int, job: Any) -> None:
        self.tasks.put(job)

    def wait(self) -> list[Event]:
        return [self.events.get(timeout=20)]

    def stop(self, worker: int) -> None:
        if self.alive:
            self.crash("it was ended")

    def end(self) -> None:
        self.alive = False

    def take(self) -> Task:
        """Return the next job, once it is given."""
        return self.tasks.get(timeout=10)

    def crash(self, reason: str) -> None:
        self.alive = False
        self.events.put((0, Lost(reason)))

    def finish(self, task: Task, result: object = None) -> None:
        """Have done a job."""
        if result is None:
            task.out.write_bytes(task.source.read_bytes()[::-1])
        self.events.put((0, Done(result)))


@contextmanager
def serving(folder: Path, worker: Puppet | None = None, **settings: Any) -> Iterator[TestClient]:
    """Yield a client of a server that works."""
    app = create_app(ServerSettings(folder=folder, **settings), worker)
    with TestClient(app, base_url=ADDRESS, raise_server_exceptions=False) as client:
        yield client


def stranger(client: TestClient) -> TestClient:
    """Return another client of the same server, who has no session yet."""
    return TestClient(client.app, base_url=ADDRESS, raise_server_exceptions=False)


def ask(client: TestClient, voice: str = "heart", **options: Any) -> str:
    """Ask for a conversion of no sound, and return the job."""
    answer = client.post("/v1/convert", files=SOUND, data={"voice": voice, **options})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])
