"""Many workers do what one does, each file once, whoever is lost and whenever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_jobs import Unborn, die_of_three, die_once, done, gone, jobs, refuse, stumble, write

from sovits.errors import AudioError, WorkerError
from sovits.partial import partial, sweep, sweep_folders
from sovits.workers import size
from sovits.workers.crew import TRIES, Failure, run
from sovits.workers.processes import Processes


def test_results_come_in_order_from_processes_with_their_share_of_threads(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    found = run(
        write, jobs(tmp_path), Processes(2, threads=3), on_progress=lambda *at: seen.append(at)
    )
    assert [(tmp_path / f"{i}.txt").read_text() for i in range(6)] == [
        "0",
        "1",
        "4",
        "9",
        "16",
        "25",
    ]
    workers = {process for process, _ in found}
    assert {threads for _, threads in found} == {"3"}
    assert os.getpid() not in workers
    assert 1 <= len(workers) <= 2
    assert all(gone(process) for process in workers)
    assert seen == [(i + 1, 6) for i in range(6)]
    assert not list(tmp_path.glob(".*"))


def test_what_needs_no_process_gets_none(tmp_path: Path) -> None:
    assert run(write, jobs(tmp_path, 1), Processes(8))[0][0] == os.getpid()
    assert run(write, jobs(tmp_path, 2), Processes(1))[1][0] == os.getpid()
    assert run(write, [], Processes(8)) == []


def test_a_killed_worker_is_replaced_and_its_file_done_again_once(tmp_path: Path) -> None:
    results: list[Path] = []
    found = run(
        die_once, jobs(tmp_path), Processes(2), on_result=lambda job, _: results.append(job.out)
    )
    assert not any(isinstance(result, Failure) for result in found)
    assert done(tmp_path) == list(range(6))
    assert sorted(results) == [tmp_path / f"{i}.txt" for i in range(6)]
    assert (tmp_path / "4.txt").read_text() == "16"
    assert not list(tmp_path.glob(".*"))


def test_what_kills_every_worker_is_given_up_and_the_rest_done(tmp_path: Path) -> None:
    found = run(die_of_three, jobs(tmp_path), Processes(2))
    failed = [result for result in found if isinstance(result, Failure)]
    assert [failure.out.name for failure in failed] == ["3.txt"]
    assert f"3.txt was given up, as {TRIES} workers" in failed[0].reason
    assert "it was killed, most likely because memory ran out" in failed[0].reason
    assert done(tmp_path) == [0, 1, 2, 4, 5]
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("crew", [None, Processes(2)], ids=["here", "processes"])
def test_an_unforeseen_error_costs_one_file(tmp_path: Path, crew: Processes | None) -> None:
    _, failure, third = run(stumble, jobs(tmp_path, 3), crew)
    assert isinstance(failure, Failure)
    assert "1.txt could not be made (ZeroDivisionError: of all things)" in failure.reason
    assert not isinstance(third, Failure)


@pytest.mark.parametrize("crew", [None, Processes(2)], ids=["here", "processes"])
def test_errors_that_are_no_matter_of_one_file_end_all(
    tmp_path: Path, crew: Processes | None
) -> None:
    with pytest.raises(AudioError, match=r"x\.wav does not exist"):
        run(refuse, jobs(tmp_path, 2), crew)


def test_workers_that_cannot_begin_are_an_error_and_not_a_wait_for_ever(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=r"No worker can begin: 3 in turn.*ended with status 3"):
        run(Unborn(), jobs(tmp_path, 2), Processes(2))  # type: ignore[type-var]


def test_an_interruption_ends_all_workers_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from made_jobs import jobs, linger\n"
        "from sovits.workers.crew import run\n"
        "from sovits.workers.processes import Processes\n"
        "if __name__ == '__main__':\n"
        "    run(linger, jobs(Path(sys.argv[2])), Processes(2))\n"
    )
    script = tmp_path / "program.py"
    script.write_text(program)
    folder = tmp_path / "out"
    folder.mkdir()
    command = [sys.executable, str(script), str(Path(__file__).parent), str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    workers: list[int] = []
    while len(workers) < 2 and process.poll() is None:
        time.sleep(0.05)
        log = folder / "log"
        workers = [int(line) for line in log.read_text().split()] if log.exists() else []
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all of them
    begin = time.monotonic()
    _, told = process.communicate(timeout=20)
    assert time.monotonic() - begin < 5
    assert told.count("Traceback") == told.count("KeyboardInterrupt\n") == 1  # the parent's own
    assert len(workers) == 2
    assert all(gone(worker) for worker in workers)
    assert [path.name for path in folder.iterdir()] == ["log"]


def test_what_the_dead_have_left_is_swept_and_what_the_living_write_is_not(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import os; print(os.getpid())"]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    target, other = tmp_path / "x.wav", tmp_path / "y.wav"
    mine, others = partial(target), partial(other)
    dead = mine.with_name(mine.name.replace(f"-{os.getpid()}-", f"-{int(child.stdout)}-"))
    for path in (mine, others, dead):
        path.touch()
    sweep_folders([tmp_path])
    assert sorted(tmp_path.iterdir()) == sorted([mine, others])
    sweep(target)
    assert list(tmp_path.iterdir()) == [others]


def test_names_of_partial_files_fit_whatever_their_target_is_called(tmp_path: Path) -> None:
    path = partial(tmp_path / f"{'歌' * 82}.wav")  # 250 bytes of the 255 that there may be
    path.touch()
    assert path.suffix == ".wav"


def test_memory_bounds_the_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size, "_cores", lambda: 16)
    monkeypatch.setattr(size, "_free_memory", lambda: 5 << 30)
    assert size.default_workers(2 << 30) == 2
    assert size.default_workers(64 << 30) == 1
    monkeypatch.setattr(size, "_free_memory", lambda: None)
    assert size.default_workers(2 << 30) == 4
    crew = size.processes(None, 2 << 30)
    assert (crew.size, crew.threads) == (4, 4)
    assert size.processes(32, 2 << 30).threads == 1


def test_processes_share_gpus_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    crew = size.processes(None, 2 << 30, "cuda")
    assert crew.size == 2
    assert [crew._gpu(worker) for worker in range(3)] == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert [crew._gpu(worker) for worker in range(3)] == ["4", "7", "4"]
    assert size.processes(None, 2 << 30, "cuda:1").gpus == 0


def test_this_machine_has_cores_and_memory() -> None:
    assert 1 <= size._cores() <= (os.cpu_count() or 1)
    free = size._free_memory()
    assert free is None or free > 0
