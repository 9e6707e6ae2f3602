"""Two trainings in one folder would write over each other's checkpoints."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from test_resume import contents, train
from toy_training import toy

from sovits.errors import OutputError, TrainingError
from sovits.train import lock
from sovits.train.lock import NAME, claimed

HOLD = """
import sys, time
from pathlib import Path
from sovits.train.lock import claimed
with claimed(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """Begin a process that has claimed a folder."""
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        env=os.environ | {"PYTHONPATH": root},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_training_is_refused_and_the_folder_of_a_dead_one_is_free(tmp_path: Path) -> None:
    config, model = toy(tmp_path, name_by_step=True), tmp_path / "model"
    train(config, model, 1)
    first = holder(model)
    with first:
        with pytest.raises(TrainingError) as caught:
            train(config, model, 2)
        assert f"at work in {model} (process {first.pid} on {socket.gethostname()})." in str(
            caught.value
        )
        assert contents(model)[0]["progress"]["step"] == 1
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert (model / NAME).read_text()  # it had no time to say that it ends
    train(config, model, 2)
    assert contents(model)[0]["progress"]["step"] == 2
    assert not (model / NAME).read_text()


def test_one_process_cannot_train_twice_in_a_folder_either(tmp_path: Path) -> None:
    with claimed(tmp_path), pytest.raises(TrainingError, match="Another training is at work"):
        claimed(tmp_path).__enter__()
    with claimed(tmp_path), claimed(tmp_path / "other"):
        pass


def test_what_loads_data_for_a_dead_training_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = iter([False, False, True])
    monkeypatch.setattr(lock, "_lock", lambda file: next(tries))
    (tmp_path / NAME).write_text(f"{2**22 + 1} {socket.gethostname()}\n")  # beyond any process
    with claimed(tmp_path):
        assert next(tries, None) is None


def test_without_locks_of_the_system_the_process_that_is_named_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def none(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    monkeypatch.setattr(lock, "LINGER", 0.0)
    with claimed(tmp_path):
        pass
    for process, machine, free in (
        (os.getpid(), socket.gethostname(), False),
        (2**22 + 1, socket.gethostname(), True),
        (2**22 + 1, "elsewhere", False),
    ):
        (tmp_path / NAME).write_text(f"{process} {machine}\n")
        if free:
            with claimed(tmp_path):
                pass
        else:
            with pytest.raises(TrainingError, match=f"process {process} on {machine}"):
                claimed(tmp_path).__enter__()


def test_a_folder_that_cannot_be_made_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file/model cannot be written"):
        claimed(tmp_path / "file/model").__enter__()
