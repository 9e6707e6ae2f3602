"""Ctrl-C and SIGTERM end a training between two steps, saved, with one line."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_resume import contents, same, train
from toy_training import toy

from sovits.cli import main
from sovits.errors import Interrupted, TrainingError
from sovits.train import fit
from sovits.train.checkpoint import list_checkpoints
from sovits.train.interruption import ASKING, ignore_in_worker


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """Let signals be heard that a shell or nohup has this process ignore."""
    defaults = dict.fromkeys(ASKING, signal.SIG_DFL) | {signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, default) for number, default in defaults.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def at_step(step: int, *signals: int) -> Callable[[str], None]:
    """Return what sends this process signals when it is told of a step."""

    def on_log(line: str) -> None:
        if line.startswith(f"step {step}  epoch"):
            for number in signals:
                os.kill(os.getpid(), number)

    return on_log


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_command_with_one_line_and_loses_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
    status: int,
) -> None:
    config, model = toy(tmp_path, name_by_step=True, num_workers=1), tmp_path / "model"
    told: list[str] = []
    send = at_step(5, number)
    monkeypatch.setattr("sovits.cli.progress.note", lambda line: (told.append(line), send(line)))
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    assert main(["train", "-c", str(config), "-m", str(model), "-d", "cpu"]) == status
    assert told[-1] == f"Interrupted. Step 5 is saved in {model / 'G_5.pth'}; train again to go on."
    assert sum("Interrupted" in line for line in told) == 1
    assert capsys.readouterr() == ("", "")
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    train(config, model, 7)
    train(config, tmp_path / "whole", 7)
    assert same(contents(model), contents(tmp_path / "whole"))


def test_half_a_group_of_batches_is_finished_first(tmp_path: Path) -> None:
    config, model = toy(tmp_path, accumulate=4, name_by_step=True), tmp_path / "model"
    with pytest.raises(Interrupted):
        fit(config, model, device="cpu", on_log=at_step(5, signal.SIGINT))
    assert [c.number for c in list_checkpoints(model)] == [8]


def test_what_is_ignored_stays_ignored(tmp_path: Path) -> None:
    config, model = toy(tmp_path, name_by_step=True), tmp_path / "model"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup has it
    try:
        fit(config, model, max_steps=3, device="cpu", on_log=at_step(2, signal.SIGHUP))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert [c.number for c in list_checkpoints(model)] == [3]
    with pytest.raises(Interrupted) as caught:
        fit(config, model, device="cpu", on_log=at_step(5, signal.SIGHUP))
    assert caught.value.status == 129
    assert list_checkpoints(model)[-1].number == 5


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    config, model = toy(tmp_path), tmp_path / "model"
    with pytest.raises(KeyboardInterrupt) as caught:
        fit(config, model, device="cpu", on_log=at_step(2, signal.SIGINT, signal.SIGINT))
    assert not isinstance(caught.value, Interrupted)
    assert not list_checkpoints(model)


def test_a_training_in_another_thread_leaves_signals_alone(tmp_path: Path) -> None:
    config, seen = toy(tmp_path), list[object]()

    def on_log(_line: str) -> None:
        seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(
        target=fit,
        args=(config, tmp_path / "model"),
        kwargs={"device": "cpu", "max_steps": 1, "on_log": on_log},
    )
    thread.start()
    thread.join()
    assert seen
    assert set(seen) == {signal.SIG_DFL}
    assert list_checkpoints(tmp_path / "model")


def test_handlers_are_restored_after_an_error(tmp_path: Path) -> None:
    config = toy(tmp_path)
    before = signal.getsignal(signal.SIGINT)

    def fail(line: str) -> None:
        if line.startswith("step 1"):
            assert signal.getsignal(signal.SIGINT) != before
            raise TrainingError("no")

    with pytest.raises(TrainingError):
        fit(config, tmp_path / "model", device="cpu", on_log=fail)
    assert signal.getsignal(signal.SIGINT) == before


def test_processes_that_load_data_wait_to_be_told() -> None:
    before = [signal.getsignal(number) for number in ASKING]
    try:
        ignore_in_worker(0)
        for number in ASKING:
            os.kill(os.getpid(), number)
    finally:
        for number, handler in zip(ASKING, before, strict=True):
            signal.signal(number, handler)
