"""Cluster centres: found, the same every time, and told apart from voices."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from scipy.cluster.vq import kmeans2
from torch import Tensor

from sovits.cli import main
from sovits.errors import DatasetError, OutputError, VoiceError
from sovits.index_file import open_index
from sovits.library import candidates, newest
from sovits.retrieval import Index
from sovits.train.clusters import ClusterOptions, k_means, train_clusters
from sovits.train.frames import Frames

CHANNELS, PLANTED = 6, 12


def clip(path: Path, content: Tensor, encoder: str = "toy") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"content": content.t().half().contiguous()}, path, {"content": encoder})


def plant(folder: Path, speaker: str, clips: int = 4, frames: int = 300, seed: int = 0) -> Tensor:
    """Write clips whose content lies around planted centres, and return these."""
    generator = torch.Generator().manual_seed(seed)
    centres = 4 * torch.randn(PLANTED, CHANNELS, generator=generator)
    for i in range(clips):
        index = torch.randint(PLANTED, (frames,), generator=generator)
        content = centres[index] + 0.05 * torch.randn(frames, CHANNELS, generator=generator)
        clip(folder / speaker / f"{i}.wav.features.safetensors", content)
    return centres


def frames_of(folder: Path, speaker: str, *, in_memory: bool = True) -> Frames:
    return Frames(sorted((folder / speaker).iterdir()), in_memory=in_memory)


def banks_of(path: Path) -> dict[str, Tensor]:
    """Return the centres of each speaker."""
    file = open_index(path)
    found: dict[str, Index] = {speaker: file.read(speaker) for speaker in file.speakers}
    assert {(index.neighbours, index.lists) for index in found.values()} == {(1, None)}
    return {speaker: index.vectors for speaker, index in found.items()}


def all_of(frames: Frames) -> Tensor:
    return torch.cat(list(frames.batches(100, torch.Generator())))


@pytest.mark.parametrize("minibatch", [True, False])
@pytest.mark.parametrize("from_disk", [True, False])
def test_planted_centres_are_found(tmp_path: Path, minibatch: bool, from_disk: bool) -> None:
    planted = plant(tmp_path, "alice")
    frames = frames_of(tmp_path, "alice", in_memory=not from_disk)
    options = ClusterOptions(3 * PLANTED, minibatch, batch_size=256, from_disk=from_disk)
    centres, distance = k_means(frames, options)
    assert centres.shape == (3 * PLANTED, CHANNELS)
    assert float(torch.cdist(planted, centres).min(dim=1).values.max()) < 0.15
    nearest = torch.cdist(all_of(frames), centres).min(dim=1).values
    assert float(nearest.mean()) == pytest.approx(distance, rel=0.1)
    assert distance < 0.15


def test_whole_passes_are_those_of_scipy(tmp_path: Path) -> None:
    clip(tmp_path / "alice/0.safetensors", torch.randn(500, CHANNELS))
    frames = frames_of(tmp_path, "alice")
    start = frames.pick(8, torch.Generator().manual_seed(ClusterOptions.seed))
    found, _ = k_means(frames, ClusterOptions(8, minibatch=False))
    sound = all_of(frames)
    wanted, _ = kmeans2(sound.numpy(), start.numpy(), iter=100, minit="matrix")

    def distance(centres: Tensor) -> float:
        return float(torch.cdist(sound, centres).min(dim=1).values.mean())

    assert distance(found) == pytest.approx(distance(torch.from_numpy(wanted)), rel=0.01)
    assert distance(found) < 0.97 * distance(start)


def test_frames_come_once_each_from_memory_and_from_disk(tmp_path: Path) -> None:
    plant(tmp_path, "alice", clips=3, frames=37)
    for in_memory in (True, False):
        frames = frames_of(tmp_path, "alice", in_memory=in_memory)
        batches = list(frames.batches(50, torch.Generator().manual_seed(1)))
        assert [len(batch) for batch in batches] == [50, 50, 11]
        rows = [set(map(tuple, x.tolist())) for x in (torch.cat(batches), all_of(frames))]
        assert rows[0] == rows[1]
        assert len(rows[0]) == len(frames) == 111
    picked = [
        frames_of(tmp_path, "alice", in_memory=m).pick(20, torch.Generator().manual_seed(2))
        for m in (True, False)
    ]
    assert torch.equal(*picked)
    assert len(picked[0].unique(dim=0)) == 20


def test_each_speaker_has_centres_of_its_own_and_the_same_ones_every_time(tmp_path: Path) -> None:
    planted = {name: plant(tmp_path, name, seed=i) for i, name in enumerate(("alice", "bob"))}
    told: list[str] = []
    for name in ("one", "two"):
        out = tmp_path / f"new/{name}.safetensors"
        train_clusters(tmp_path, out, ClusterOptions(30), told.append)
    banks = banks_of(out)
    assert out.read_bytes() == (tmp_path / "new/one.safetensors").read_bytes()
    assert (open_index(out).content, open_index(out).frame_rate) == ("toy", None)
    assert {name: bank.shape for name, bank in banks.items()} == dict.fromkeys(
        planted, (30, CHANNELS)
    )
    for name, bank in banks.items():
        assert float(torch.cdist(planted[name], bank).min(dim=1).values.max()) < 0.2
    assert re.fullmatch(r"alice: 30 centres of 1200 frames, distance 0\.\d+", told[0])
    assert [path.name for path in out.parent.iterdir() if path.name.startswith(".")] == []


def test_there_are_no_more_centres_than_frames(tmp_path: Path) -> None:
    plant(tmp_path, "alice", clips=1, frames=9)
    told: list[str] = []
    out = tmp_path / "k.safetensors"
    train_clusters(tmp_path, out, ClusterOptions(), told.append)
    assert "alice: 9 centres of 9 frames (2000 were asked for), distance 0" in told
    # Every frame is its own centre then.
    found, wanted = banks_of(out)["alice"], all_of(frames_of(tmp_path, "alice"))
    assert sorted(found.tolist()) == sorted(wanted.tolist())


def test_silence_that_repeats_itself_is_no_trouble(tmp_path: Path) -> None:
    clip(tmp_path / "alice/0.wav.features.safetensors", torch.ones(50, CHANNELS))
    for minibatch in (True, False):
        centres, distance = k_means(frames_of(tmp_path, "alice"), ClusterOptions(5, minibatch))
        assert torch.equal(centres, torch.ones(5, CHANNELS))
        assert distance == pytest.approx(0, abs=1e-2)


def nothing(folder: Path) -> None:
    (folder / "alice").mkdir()


def two_encoders(folder: Path) -> None:
    plant(folder, "alice", clips=1)
    clip(folder / "bob/0.wav.features.safetensors", torch.ones(3, CHANNELS), "other")


def half_a_file(folder: Path) -> None:
    plant(folder, "alice", clips=2)
    path = folder / "alice/1.wav.features.safetensors"
    path.write_bytes(path.read_bytes()[:-9])


def no_encoder(folder: Path) -> None:
    path = folder / "alice/0.wav.features.safetensors"
    path.parent.mkdir()
    save_file({"content": torch.ones(CHANNELS, 9)}, path)


def other_width(folder: Path) -> None:
    plant(folder, "alice", clips=1)
    clip(folder / "bob/0.wav.features.safetensors", torch.ones(9, CHANNELS + 1))


def empty(folder: Path) -> None:
    clip(folder / "alice/0.wav.features.safetensors", torch.ones(0, CHANNELS))


def not_numbers(folder: Path) -> None:
    plant(folder, "alice", clips=2)
    clip(folder / "alice/2.wav.features.safetensors", torch.full((9, CHANNELS), torch.nan))


def bad_name(folder: Path) -> None:
    plant(folder, "a\nb", clips=1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (nothing, "There is no features file"),
        (no_encoder, "0.wav.features.safetensors is damaged (it does not name its content enc"),
        (other_width, "bob/0.wav.features.safetensors is damaged (it has 7 channels, others have"),
        (empty, "0.wav.features.safetensors is damaged (its content has the shape [6, 0])"),
        (not_numbers, "alice/2.wav.features.safetensors is damaged (its content holds NaN"),
        (bad_name, "has a name that cannot be kept as a speaker's"),
        (two_encoders, "bob/0.wav.features.safetensors was made with content other, but others"),
        (half_a_file, "alice/1.wav.features.safetensors is damaged ("),
    ],
)
def test_what_cannot_be_clustered_is_named(
    tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(tmp_path)
    for from_disk in (False, True):
        options = ClusterOptions(from_disk=from_disk)
        with pytest.raises(DatasetError, match=re.escape(message)):
            train_clusters(tmp_path, tmp_path / "k.safetensors", options, print)
    assert not (tmp_path / "k.safetensors").exists()


@pytest.mark.parametrize("name", ["k.pt", "file/k.safetensors"])
def test_where_nothing_can_be_written_is_named(tmp_path: Path, name: str) -> None:
    plant(tmp_path, "alice", clips=1)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=re.escape(str(tmp_path / name))):
        train_clusters(tmp_path, tmp_path / name, ClusterOptions(3), print)


def test_the_command_takes_the_flags_of_the_fork(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    plant(Path("dataset/44k"), "alice", clips=2)
    assert main(["train-cluster"]) == 0
    assert capsys.readouterr().out == "logs/44k/kmeans.safetensors\n"
    flags = ["-i", "dataset/44k", "-o", "mine.safetensors", "-n", "7", "-nm", "-b", "50", "-p"]
    assert main(["train-cluster", *flags]) == 0
    assert len(banks_of(Path("mine.safetensors"))["alice"]) == 7
    assert main(["train-cluster", "-m", "-np", "-n", "3", "-d", "cpu"]) == 0
    capsys.readouterr()
    wrongs = (["-n", "0"], ["-b", "0"], ["-o", "logs/44k/k.pt"], ["-i", "nowhere"], ["-d", "x"])
    for wrong in wrongs:
        assert main(["train-cluster", *wrong]) == 1
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_centres_beside_a_voice_are_not_taken_for_one(tmp_path: Path) -> None:
    plant(tmp_path / "dataset", "alice", clips=1)
    train_clusters(tmp_path / "dataset", tmp_path / "kmeans.safetensors", ClusterOptions(3), print)
    assert candidates(tmp_path) == []
    with pytest.raises(VoiceError, match="holds no voice"):
        newest(tmp_path)
    (tmp_path / "G_3.pth").touch()
    assert newest(tmp_path).name == "G_3.pth"
