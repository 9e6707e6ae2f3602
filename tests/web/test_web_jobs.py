"""Jobs are done in turns, outlive their server, and are nobody else's business."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from made_server import SOUND, Puppet, ask, serving, stranger

from sovits.errors import ServerError, WorkerError
from sovits.web.store import TRIES, Store
from sovits.workers.crew import Failure, Raised


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "jobs"


def wait_for(client: TestClient, job: str, *states: str) -> dict[str, Any]:
    """Return a job once it is in one of some states."""
    until = time.monotonic() + 10
    while (told := client.get(f"/v1/jobs/{job}").json())["state"] not in states:
        assert time.monotonic() < until, told
        time.sleep(0.01)
    return dict(told)


def test_clients_take_turns(folder: Path) -> None:
    worker = Puppet()
    with serving(folder, worker) as ann:
        ben = stranger(ann)
        first = ask(ann)
        task = worker.take()
        mine = [first, *(ask(ann) for _ in range(3))]
        his = ask(ben)
        order = [task.out.parent.name]
        for _ in range(4):
            worker.finish(task)
            task = worker.take()
            order.append(task.out.parent.name)
        worker.finish(task)
        assert order == [mine[0], mine[1], his, mine[2], mine[3]]
        # Nobody sees the jobs of others, but by names that cannot be guessed.
        wait_for(ann, mine[3], "done")
        assert [job["id"] for job in ann.get("/v1/jobs").json()] == mine[::-1]
        assert [job["id"] for job in ben.get("/v1/jobs").json()] == [his]
        assert stranger(ann).get("/v1/jobs").json() == []
        assert stranger(ann).get("/v1/jobs", headers={"cookie": "sovits_session="}).json() == []


def test_progress_is_told_until_the_end(folder: Path) -> None:
    worker = Puppet()
    with serving(folder, worker) as client:
        job = ask(client, semitones="2.5", auto_f0="true", stereo="both", f0_method="parselmouth")
        task = worker.take()
        assert (task.options.semitones, task.options.auto_f0) == (2.5, True)
        assert (task.options.stereo, task.options.f0_method) == ("both", "pm")
        task.out.with_name("progress").write_text("0.25")
        assert wait_for(client, job, "running")["progress"] == 0.25
        assert "is running" in client.get(f"/v1/jobs/{job}/result").json()["error"]
        answer = client.post("/v1/convert?wait=0.2", files=SOUND, data={"voice": "heart"})
        assert (answer.status_code, answer.json()["state"]) == (202, "queued")
        worker.finish(task)
        events = client.get(f"/v1/jobs/{job}/events").text.strip().split("\n\n")
        assert events[-1].startswith("event: end\n")
        assert json.loads(events[-1].partition("data: ")[2])["state"] == "done"
        assert client.get(f"/v1/jobs/{job}/result").content == SOUND["audio"][1][::-1]
        assert sorted(path.name for path in task.out.parent.iterdir()) == ["result.wav"]
        part = client.get(f"/v1/jobs/{job}/result", headers={"range": "bytes=0-3"})
        assert (part.status_code, len(part.content)) == (206, 4)


def test_jobs_outlive_the_server(folder: Path) -> None:
    worker = Puppet()
    with serving(folder, worker) as client:
        jobs = [ask(client), ask(client)]
        worker.take()
        cookies = dict(client.cookies)
    worker = Puppet()
    with serving(folder, worker) as client:
        for job in jobs:
            task = worker.take()
            assert task.out.parent.name == job
            assert task.source.read_bytes() == SOUND["audio"][1]
            worker.finish(task)
            wait_for(client, job, "done")
        client.cookies.update(cookies)
        assert [job["id"] for job in client.get("/v1/jobs").json()] == jobs[::-1]
    with serving(folder, Puppet()) as client:
        assert client.get(f"/v1/jobs/{jobs[0]}").json()["state"] == "done"


def test_a_job_that_was_running_whenever_the_server_was_killed_is_given_up(folder: Path) -> None:
    worker = Puppet()
    with serving(folder, worker) as client:
        job = ask(client)
        worker.take()
    (folder / "files" / "half-taken-in").mkdir()
    for _ in range(TRIES - 1):
        with Store(folder) as store:
            assert store.begin_next() is not None  # and then it is killed
    with Store(folder) as store:
        assert "given up after 3 beginnings" in str(store.get(job).error)
        assert store.get(job).state == "failed"
    assert [path.name for path in (folder / "files").iterdir()] == [job]


def test_a_job_that_kills_its_worker_is_given_up(folder: Path) -> None:
    worker = Puppet()
    with serving(folder, worker) as client:
        job = ask(client)
        for _ in range(TRIES):
            worker.take()
            worker.crash("it was killed, most likely because memory ran out")
        error = wait_for(client, job, "failed")["error"]
        assert "memory ran out" in error
        answer = client.get(f"/v1/jobs/{job}/result")
        assert (answer.status_code, answer.json()) == (422, {"error": error})


def test_failures_tell_nothing_of_folders(folder: Path) -> None:
    worker = Puppet()
    with serving(folder, worker) as client:
        job = ask(client)
        task = worker.take()
        error = WorkerError.unexpected(task.out, OSError(f"{task.out} and /etc/some/file.txt"))
        worker.finish(task, Failure(task.out, str(error)))
        told = wait_for(client, job, "failed")["error"]
        assert told.startswith("The result could not be made")
        assert "file.txt" in told
        assert "/" not in told
        job = ask(client)
        worker.finish(worker.take(), Raised(ServerError.no_form()))
        assert "multipart" in wait_for(client, job, "failed")["error"]


def test_cancelled_and_deleted_jobs_leave_nothing(folder: Path) -> None:
    worker = Puppet()
    with serving(folder, worker) as client:
        running, waiting, other = ask(client), ask(client), ask(client)
        worker.take()
        assert client.post(f"/v1/jobs/{waiting}/cancel").json()["state"] == "cancelled"
        assert client.post(f"/v1/jobs/{running}/cancel").json()["state"] == "cancelled"
        task = worker.take()
        assert task.out.parent.name == other
        assert client.post(f"/v1/jobs/{running}/cancel").json()["state"] == "cancelled"
        assert list((folder / "files" / running).iterdir()) == []
        assert client.delete(f"/v1/jobs/{other}").json()["state"] == "cancelled"
        assert not (folder / "files" / other).exists()
        answer = client.get(f"/v1/jobs/{other}")
        assert (answer.status_code, "expired" in answer.json()["error"]) == (404, True)


def test_results_expire(folder: Path) -> None:
    worker = Puppet()
    with serving(folder, worker) as client:
        job = ask(client)
        worker.finish(worker.take())
        wait_for(client, job, "done")
    with serving(folder, Puppet(), keep_hours=0.0) as client:
        until = time.monotonic() + 10
        while client.get(f"/v1/jobs/{job}").status_code != 404:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert list((folder / "files").iterdir()) == []


def test_one_folder_has_one_server(folder: Path, tmp_path: Path) -> None:
    with Store(folder), pytest.raises(ServerError, match="Another server works in"):
        Store(folder)
    Store(folder).close()
    (folder / "jobs.sqlite").write_bytes(b"no database, but long enough to look at" * 100)
    with pytest.raises(ServerError, match=r"Jobs cannot be kept in .* not a database"):
        Store(folder)
    (tmp_path / "file").touch()
    with pytest.raises(ServerError, match="Jobs cannot be kept in"):
        Store(tmp_path / "file")


def test_a_mistake_of_the_server_fails_one_job_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Puppet()
    with serving(folder, worker) as client:
        monkeypatch.setattr("sovits.web.runner.usable_voice", lambda _: 1 / 0)
        job = ask(client)
        assert "made a mistake" in wait_for(client, job, "failed")["error"]
        monkeypatch.undo()
        monkeypatch.chdir(folder.parent)
        job = ask(client)
        worker.finish(worker.take())
        wait_for(client, job, "done")
