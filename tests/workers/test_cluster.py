"""Workers on a Ray cluster do what processes do, and one that is lost is replaced."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from made_jobs import die_now_and_then, done, gone, jobs, linger, write

from sovits.errors import WorkerError
from sovits.workers import cluster
from sovits.workers.cluster import Cluster, Worker, own_version
from sovits.workers.crew import TRIES, Failure, Raised, Ready, run

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    """Be on a cluster of this machine alone, with two cores."""
    before = dict(os.environ)
    # Jobs of users are in an installed package; these are not.
    os.environ |= {
        "PYTHONPATH": str(Path(__file__).parent),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
    }
    import ray

    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # names of sockets must be short
    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=0,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=80_000_000,
        _temp_dir=folder,
    )
    yield
    ray.shutdown()
    os.environ.clear()
    os.environ.update(before)
    shutil.rmtree(folder, ignore_errors=True)


@needs_ray
@pytest.mark.usefixtures("ray_here")
def test_a_cluster_does_each_file_once(tmp_path: Path) -> None:
    crew = Cluster()
    assert (crew.size, crew.device) == (2, "cpu")
    found = run(write, jobs(tmp_path), crew)
    assert done(tmp_path) == list(range(6))
    assert (tmp_path / "5.txt").read_text() == "25"
    workers = {process for process, _ in found}
    assert {threads for _, threads in found} == {"1"}
    assert os.getpid() not in workers
    assert 1 <= len(workers) <= 2
    assert all(gone(process, within=5) for process in workers)


@needs_ray
@pytest.mark.usefixtures("ray_here")
def test_killed_actors_are_replaced_and_their_files_done_again_once(tmp_path: Path) -> None:
    found = run(die_now_and_then, jobs(tmp_path), Cluster())
    assert done(tmp_path) == [0, 2, 4, 5]
    assert isinstance(found[3], Failure)
    assert f"3.txt was given up, as {TRIES} workers in turn were lost" in found[3].reason
    assert "could not be made (ZeroDivisionError: of all things)" in str(found[1])
    assert not list(tmp_path.glob(".*"))


@needs_ray
@pytest.mark.usefixtures("ray_here")
def test_an_interruption_ends_all_actors_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def interrupt() -> None:
        while not log.exists() or len(log.read_text().split()) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run(linger, jobs(tmp_path), Cluster(size=2))
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert all(gone(int(process), within=5) for process in log.read_text().split())


def test_a_machine_that_lacks_something_is_named(tmp_path: Path) -> None:
    here = Worker(print, [tmp_path], own_version())
    assert here.ready() == Ready()
    missing = Worker(print, [tmp_path / "data"], own_version()).ready()
    assert isinstance(missing, Raised)
    assert f"{socket.gethostname()} does not see {tmp_path / 'data'}. " in str(missing.error)
    older = Worker(print, [], "0.0.1").ready()
    assert isinstance(older, Raised)
    assert f"has sovits {own_version()}, and this one 0.0.1." in str(older.error)


class NoCluster:
    """Stand in for Ray where nothing is free, or nothing there."""

    class exceptions:
        RayError = RuntimeError

    def __init__(self, begun: bool) -> None:
        self.begun = begun

    def is_initialized(self) -> bool:
        return self.begun

    def init(self, **_: object) -> None:
        raise ConnectionError("Could not find\nany running Ray instance.")

    def cluster_resources(self) -> dict[str, float]:
        return {"GPU": 4.0}

    def wait(self, refs: list[object], **_: object) -> tuple[list[object], list[object]]:
        return [], refs

    def remote(self, **_: object) -> object:
        return lambda kind: self

    def kill(self, _actor: object) -> None: ...


def test_without_a_cluster_it_is_said_how_to_begin_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_load", lambda: NoCluster(begun=False))
    with pytest.raises(WorkerError, match=r"no Ray cluster on this machine \('Could not find any"):
        Cluster()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with pytest.raises(WorkerError, match=rf"no Ray cluster at '{address}'.*ray start --head"):
            Cluster(address)


def test_a_cluster_that_lets_nobody_in_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_load", lambda: NoCluster(begun=False))
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(
            WorkerError, match=rf"at '{address}' does not let this machine in.*token"
        ):
            Cluster(address)


def test_a_cluster_with_nothing_free_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "_load", lambda: NoCluster(begun=True))
    monkeypatch.setattr(cluster, "PATIENCE", -1.0)
    crew = Cluster("auto")
    assert (crew.size, crew.device) == (4, "cuda")
    with pytest.raises(WorkerError, match="Ray cluster auto had no GPU free for"):
        crew.wait()


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(WorkerError, match=r"pip install 'sovits\[cluster\]'"):
        Cluster()


def test_of_what_ray_says_the_cause_is_told() -> None:
    text = "The actor died.\x1b[36m\nTraceback ...\nModuleNotFoundError: No module named 'x'\n"
    assert cluster._reason(Exception(text)) == "ModuleNotFoundError: No module named 'x'"
    assert cluster._reason(Exception("The actor died. It was killed.\n\tid: 3")) == "The actor died"
    assert cluster._reason(Exception()) == "Exception"
