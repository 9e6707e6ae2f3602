"""Several processes train as one would that hears all that they hear."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from test_batches import equal, identify, recordings
from test_resume import contents, same, train
from toy_training import light, set_toy, toy, toy_config, toy_dataset

from sovits.errors import ConfigError, TrainingError
from sovits.train import fit
from sovits.train.checkpoint import Progress, list_checkpoints, resume
from sovits.train.dataset import Batches
from sovits.train.setup import make_trainee
from sovits.train.team import Dismissed, Team, make_fabric

HERE = Path(__file__).parent


def free_port() -> int:
    """Return a port that is free and stays so: none of those that the system hands out."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")


def environment(**more: object) -> dict[str, str]:
    """Return that of a child, which finds the modules that this process does."""
    paths = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    loopback = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    return (
        os.environ
        | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        | loopback  # whatever the name of this machine means to others
        | {name: str(value) for name, value in more.items()}
    )


def ranked(size: int, rank: int, port: int) -> dict[str, str]:
    """Return the environment that torchrun gives to one of its processes."""
    return environment(
        TORCHELASTIC_RUN_ID="test",
        WORLD_SIZE=size,
        LOCAL_WORLD_SIZE=size,
        RANK=rank,
        LOCAL_RANK=rank,
        GROUP_RANK=0,
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=port,
    )


def begin(size: int, *arguments: object) -> list[subprocess.Popen[str]]:
    """Begin a program in several processes that know of each other."""
    port = free_port()
    return [
        subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env=ranked(size, rank, port),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


def said(process: subprocess.Popen[str]) -> list[str]:
    """Wait for a process, and return its lines."""
    out, err = process.communicate(timeout=300)
    return [*out.splitlines(), *err.splitlines()]


@pytest.mark.parametrize(("decoder", "accumulate"), [("hifi-gan", 2)])
def test_two_processes_move_the_weights_as_one_with_the_doubled_batch(
    tmp_path: Path, decoder: str, accumulate: int
) -> None:
    toy_dataset(tmp_path, frames=(40, 60, 34, 30, 50, 44))
    step = HERE / "shared_step.py"
    rest = (decoder, "{size}", accumulate)
    results: dict[int, Any] = {}
    for size in (1, 2):
        out = tmp_path / f"{size}.pt"
        arguments = [step, tmp_path, out, *(str(x).format(size=4 // size) for x in rest)]
        processes = begin(size, *arguments)
        told = [said(process) for process in processes]
        assert [process.returncode for process in processes] == [0] * size, told
        results[size] = torch.load(out, weights_only=True)
    one, two = results[1], results[2]
    assert (one["size"], two["size"]) == (1, 2)
    for alone, both in zip(one["heard"][0], zip(*two["heard"], strict=True), strict=True):
        assert alone == [f0 for heard in both for f0 in heard]  # in order, and none twice
        assert len(set(alone)) == 4
    for alone, both in zip(one["gradients"], two["gradients"], strict=True):
        assert alone.keys() == both.keys()
        largest = max(float(gradient.abs().max()) for gradient in alone.values())
        for name, gradient in alone.items():
            torch.testing.assert_close(both[name], gradient, rtol=1e-5, atol=1e-5 * largest)


@pytest.mark.parametrize(("size", "ranks"), [(2, 2), (1, 5), (4, 2)])
def test_processes_share_the_clips_without_overlap(tmp_path: Path, size: int, ranks: int) -> None:
    toy(tmp_path)
    config, clips = toy_config(tmp_path, batch_size=size), recordings(tmp_path)
    features = {r: torch_features(r.path) for r in clips}
    for epoch in (0, 1):
        heard = []
        alone = Batches(clips, toy_config(tmp_path, batch_size=size * ranks))
        alone.epoch = epoch
        for rank in range(ranks):
            part = Batches(clips, config, rank=rank, ranks=ranks)
            part.epoch = epoch
            assert len(part) == len(alone)
            assert all(map(equal, [part[i] for i in range(len(part))], part))  # comes again
            heard.append([identify(part[i], features) for i in range(len(part))])
        # In each step they hear together what one would, from the same places on.
        for i in range(len(alone)):
            assert [x for part in heard for x in part[i]] == identify(alone[i], features)
        every = [clip for i in range(len(alone)) for part in heard for clip, _ in part[i]]
        assert sorted(set(every[: len(clips)])) == sorted(clips)  # before it begins again


def torch_features(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def test_two_machines_train_by_torchrun_and_one_goes_on_alone(tmp_path: Path) -> None:
    """Two agents of torchrun with addresses of their own, which meet at a rendezvous."""
    settings = {"name_by_step": True, "average": 0.9, "batch_size": 1, "eval_interval": 4}
    # What does not move gains nothing, so that it ends by itself.
    config = light(tmp_path, patience=1, learning_rate=0.0, **settings)
    model, port = tmp_path / "model", free_port()
    addresses = ("127.0.0.1", "127.0.0.2" if sys.platform == "linux" else "127.0.0.1")
    agents = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"),
                *("--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "voice"),
                *("--rdzv-endpoint", f"127.0.0.1:{port}", "--local-addr", address),
                *("-m", "sovits", "train", "-c", str(config), "-m", str(model), "-d", "cpu"),
            ],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for address in addresses
    ]
    lines = [said(agent) for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], lines
    both = [line for each in lines for line in each]
    assert sum(line.startswith("step 4  epoch") for line in both) == 1  # only one speaks
    assert sum("gained nothing" in line for line in both) == 1
    assert sum(line.startswith("Step 4 is saved in") for line in both) == 1
    assert len((model / "train.jsonl").read_text().splitlines()) == 4 + 2  # and one validates
    (generator, _) = contents(model)
    progress = generator["progress"]
    assert (progress["epoch"], progress["position"]) == (1, 1)  # 3 steps of 2 clips are an epoch
    assert len(progress["others"]) == 1
    told = train(light(tmp_path, **settings), model, 5)
    assert "Going on with 1 process of 1 clip each; it was 2 processes of 1 clip." in told
    assert contents(model)[0]["progress"]["position"] == 3  # of steps of one clip


def test_an_interrupted_process_saves_for_all_and_they_go_on_exactly(tmp_path: Path) -> None:
    config = toy(tmp_path, name_by_step=True, batch_size=1, eval_interval=10**6)

    def begun(name: str, *more: object) -> list[subprocess.Popen[str]]:
        arguments = ["-c", config, "-m", tmp_path / name, "-d", "cpu", *more]
        return begin(2, "-m", "sovits", "train", *arguments)

    processes = begun("parts")
    wait_for(tmp_path / "parts/train.jsonl", processes)
    processes[1].send_signal(signal.SIGTERM)  # not the one that saves
    told = [said(process) for process in processes]
    assert [process.returncode for process in processes] == [143, 143], told
    last = contents(tmp_path / "parts")[0]["progress"]["step"] + 4
    for name in ("parts", "whole"):
        processes = begun(name, "--max-steps", last)
        told = [said(process) for process in processes]
        assert [process.returncode for process in processes] == [0, 0], told
    assert same(contents(tmp_path / "whole"), contents(tmp_path / "parts"))


def wait_for(path: Path, processes: list[subprocess.Popen[str]]) -> None:
    """Wait until there is something in a file that one of some processes writes."""
    while not (path.is_file() and path.stat().st_size):
        assert all(process.poll() is None for process in processes), [*map(said, processes)]
        time.sleep(0.01)


def test_one_that_fails_says_why_and_the_others_that_it_is_gone(tmp_path: Path) -> None:
    config = toy(tmp_path, batch_size=3)  # 6 clips: each process hears one speaker's, or some
    poison = (
        "import sys, os, torch\n"
        "from sovits.train.step import Objective\n"
        "from sovits.cli import entry\n"
        "true = Objective.reconstruction\n"
        "def poisoned(self, crops, out):\n"
        "    terms = true(self, crops, out)\n"
        "    return {n: t * float('nan') if os.environ['RANK'] == '1' else t for n, t in"
        " terms.items()}\n"
        "Objective.reconstruction = poisoned\n"
        "entry()\n"
    )
    processes = begin(2, "-c", poison, "train", "-c", config, "-m", tmp_path / "model", "-d", "cpu")
    told = [said(process) for process in processes]
    assert [process.returncode for process in processes] == [1, 1], told
    lines = [[line for line in each if line.startswith("svc: ")] for each in told]
    assert [len(each) for each in lines] == [1, 1]
    assert "Process 0 of 2 has lost the others" in lines[0][0]
    assert "diverged at step 0: mel is nan" in lines[1][0]


def test_what_the_first_process_cannot_do_ends_all_with_one_line(tmp_path: Path) -> None:
    config = toy(tmp_path)
    (tmp_path / "file").touch()
    processes = begin(
        2, "-m", "sovits", "train", "-c", config, "-m", tmp_path / "file/model", "-d", "cpu"
    )
    told = [said(process) for process in processes]
    assert [process.returncode for process in processes] == [1, 1]
    (line,) = [line for each in told for line in each if line.startswith("svc: ")]
    assert line.startswith(f"svc: {tmp_path / 'file/model'} cannot be written (Not a directory).")
    assert not any("Traceback" in line for each in told for line in each)


def test_a_changed_batch_leaves_no_clip_out(tmp_path: Path) -> None:
    config, model = toy(tmp_path, batch_size=1, name_by_step=True), tmp_path / "model"
    train(config, model, 5)  # of an epoch of 6 clips
    train(set_toy(tmp_path, batch_size=2, name_by_step=True), model, 6)
    progress = contents(model)[0]["progress"]
    assert (progress["epoch"], progress["position"]) == (0, 3)  # clips 5 and 6
    assert progress["batch_size"] == 2


def test_processes_of_other_numbers_draw_other_random_numbers(tmp_path: Path) -> None:
    config, model = toy(tmp_path, name_by_step=True), tmp_path / "model"
    train(config, model, 2)
    states = []
    for rank in range(3):
        subject = make_trainee(toy_config(tmp_path), torch.device("cpu"))
        resume(model, subject, print, Progress(rank, 3, 2))
        states.append(torch.get_rng_state())
    assert not any(torch.equal(states[i], states[j]) for i in range(3) for j in range(i))


def test_processes_that_do_not_share_their_storage_are_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy(tmp_path)
    monkeypatch.setattr(Team, "gather", lambda self, value: [value, 7])
    with pytest.raises(TrainingError, match=r"would go on from different steps \(0, 7\)"):
        fit(config, tmp_path / "model", device="cpu", on_log=print)


class Apart(Team):
    """One of two processes whose other one is made up."""

    def __init__(self, rank: int) -> None:
        self.rank, self.size, self.failed = rank, 2, False

    def _told(self, failed: bool) -> bool:
        return failed or self.failed


def test_only_the_first_process_does_what_one_must_do() -> None:
    first, second = Apart(0), Apart(1)
    assert first.lead(lambda: 3) == 3
    assert second.lead(lambda: 3) is None
    assert second.follow(lambda: 4) == 4
    second.failed = True
    with pytest.raises(Dismissed):
        second.lead(lambda: 3)

    def fail() -> None:
        raise TrainingError.weights_not_finite(3)

    with pytest.raises(TrainingError, match="diverged at step 3"):
        first.lead(fail)


def test_a_process_that_has_gone_is_named() -> None:
    with (
        pytest.raises(TrainingError, match="Process 0 of 2 has lost the others"),
        Apart(0).together(),
    ):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [::1]:9")
    with pytest.raises(RuntimeError, match="a bug"), Apart(0).together():
        raise RuntimeError("a bug")


def test_launchers_are_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Team(Fabric(accelerator="cpu", devices=1)).on_this_machine == 1
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "6")
    monkeypatch.setenv("SLURM_NNODES", "3")
    from sovits.train.team import launched

    assert launched() == (2, 3)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")  # which can be used inside of SLURM
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert launched() == (4, 2)
    with pytest.raises(ConfigError, match="--devices is 3, but the launcher has begun 4"):
        make_fabric("cpu", 3)


def test_more_devices_than_there_are_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match="3 devices of kind cuda are asked for, but there are 2"):
        make_fabric("cuda", 3)
    with pytest.raises(ConfigError, match="2 devices of kind cuda are asked for, but there are 1"):
        make_fabric("cuda:1", 2)


def test_checkpoints_of_one_process_are_those_of_any(tmp_path: Path) -> None:
    config, model = toy(tmp_path, name_by_step=True), tmp_path / "model"
    train(config, model, 2)
    assert list_checkpoints(model)[-1].number == 2
    content = contents(model)[0]["progress"]
    assert content["others"] == []
