"""Index files are written at once or not at all, read as numbers, and belong to one voice."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from made_voices import synthesizer_config, voice
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from sovits.config import AudioConfig, VoiceConfig
from sovits.errors import OutputError, VoiceError
from sovits.index_file import KEY, Bank, Description, Held, open_index, write_index
from sovits.retrieval import NEIGHBOURS, Lists
from sovits.train.index import in_lists

CHANNELS = 6
RATE = 50.0
VOICE = VoiceConfig(
    AudioConfig(),
    synthesizer_config(content_channels=CHANNELS),
    content="hubert-soft",
    speakers={"alice": 0, "bob": 1, "alice's other name": 0},
)


def content(frames: int = 40, seed: int = 0) -> Tensor:
    return torch.randn(frames, CHANNELS, generator=torch.Generator().manual_seed(seed)).half()


def made(path: Path, lists: int = 0, **told: Any) -> Path:
    """Write an index of alice and bob."""
    banks = {"alice": Bank(content()), "bob": Bank(content(seed=1))}
    if lists:
        banks = {name: in_lists(b.vectors, b.vectors[:lists].float()) for name, b in banks.items()}
    held = {name: Held(40, 40, 2, len(b.lists.ends) if b.lists else 0) for name, b in banks.items()}
    described = Description("hubert-soft", CHANNELS, RATE, "frames", held)
    write_index(path, replace(described, **told), banks)
    return path


def header(path: Path) -> dict[str, Any]:
    """Return what is told in a file."""
    with safe_open(path, framework="pt") as file:
        return dict(json.loads(file.metadata()[KEY]))


def retold(path: Path, change: Callable[[dict[str, Any], dict[str, Tensor]], None]) -> Path:
    """Change what a file tells, or what it holds."""
    told, tensors = header(path), load_file(path)
    change(told, tensors)
    save_file(tensors, path, {KEY: json.dumps(told)})
    return path


@pytest.mark.parametrize("lists", [0, 5])
def test_what_is_written_is_read(lists: int, tmp_path: Path) -> None:
    path = made(tmp_path / "new/folder/i.safetensors", lists)
    file = open_index(path)
    assert file[:4] == (path, "hubert-soft", RATE, ("alice", "bob"))
    index = file.read("bob")
    assert index.neighbours == NEIGHBOURS
    # In lists they come in another order, and stay as small as they are.
    assert index.vectors.dtype == (torch.float16 if lists else torch.float32)
    assert sorted(index.vectors.tolist()) == sorted(content(seed=1).tolist())
    if lists:
        assert isinstance(index.lists, Lists)
        assert len(index.lists.ends) == len(index.lists.centres) == lists
        begins = (0, *index.lists.ends)
        for number, end in enumerate(index.lists.ends):
            inside = index.vectors[begins[number] : end].float()
            nearest = torch.cdist(inside, index.lists.centres).argmin(1)
            assert nearest.unique().tolist() == [number]
    else:
        assert index.lists is None


def test_other_programs_can_read_it(tmp_path: Path) -> None:
    path = made(tmp_path / "i.safetensors", 5)
    tensors = load_file(path)
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == {
        f"{kind}/{speaker}": shape
        for kind, shape in {"vectors": (40, 6), "centres": (5, 6), "ends": (5,)}.items()
        for speaker in ("alice", "bob")
    }
    assert header(path) == {
        "format": "sovits-index-1",
        "content": "hubert-soft",
        "channels": 6,
        "frame_rate": 50.0,
        "kind": "frames",
        "speakers": {
            name: {"vectors": 40, "frames": 40, "clips": 2, "lists": 5} for name in ("alice", "bob")
        },
    }
    # A file that only its writer may read is of no use on a shared disk.
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_the_same_content_makes_the_same_bytes(tmp_path: Path) -> None:
    files = [made(tmp_path / f"{i}.safetensors", 5).read_bytes() for i in range(4)]
    assert len(set(files)) == 1


@pytest.mark.parametrize("name", ["Zoë 歌手", "__metadata__", "a/b", '"', "vectors/alice"])
def test_speakers_may_have_any_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / "i.safetensors"
    told = Description("hubert-soft", CHANNELS, None, "centres", {name: Held(40, 400, 1)})
    write_index(path, told, {name: Bank(content().float())})
    file = open_index(path)
    assert file.speakers == (name,)
    assert (file.read(name).neighbours, file.frame_rate) == (1, None)


def test_what_was_there_stays_until_all_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(tmp_path / "i.safetensors")
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        made(path, 5)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["i.safetensors"]


def no_bob(told: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    del tensors["vectors/alice"]


def not_numbers(told: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    tensors["vectors/alice"][3, 2] = torch.nan


def whole_numbers(told: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    tensors["vectors/alice"] = tensors["vectors/alice"].int()


def fewer(told: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    tensors["vectors/alice"] = tensors["vectors/alice"][1:].clone()


def none(told: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    tensors["vectors/alice"] = tensors["vectors/alice"][:0].clone()
    told["speakers"]["alice"]["vectors"] = 0


def endless_centres(told: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    tensors["centres/alice"] *= torch.inf


def other_centres(told: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    tensors["centres/alice"] = tensors["centres/alice"][:, 1:].clone()


def backwards(told: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    tensors["ends/alice"] = tensors["ends/alice"].flip(0)


def an_empty_list(told: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    tensors["ends/alice"][1] = tensors["ends/alice"][0]


def too_far(told: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    tensors["ends/alice"][-1] += 1


def another_format(told: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    told["format"] = "sovits-index-2"


def another_key(told: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    told["chanels"] = told.pop("channels")


def another_type(told: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    told["speakers"] = ["alice"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_bob, "File does not contain tensor vectors/alice"),
        (not_numbers, "it holds NaN or infinite vectors of alice"),
        (whole_numbers, "it holds vectors of type torch.int32 of alice"),
        (fewer, "it holds (39, 6) vectors of alice"),
        (none, "it holds (0, 6) vectors of alice"),
        (endless_centres, "it holds NaN or infinite centres of lists of alice"),
        (other_centres, "it holds (5, 5) centres of lists of alice"),
        (backwards, "it holds lists that do not cover the vectors of alice"),
        (an_empty_list, "it holds lists that do not cover the vectors of alice"),
        (too_far, "it holds lists that do not cover the vectors of alice"),
        (another_format, "its format is sovits-index-2, and not sovits-index-1"),
        (another_key, "There is no setting chanels. Did you mean channels?"),
        (another_type, "speakers is ['alice'], but must be"),
    ],
)
def test_a_damaged_index_is_refused_in_one_line(
    spoil: Callable[[dict[str, Any], dict[str, Tensor]], None], message: str, tmp_path: Path
) -> None:
    path = retold(made(tmp_path / "i.safetensors", 5), spoil)
    with pytest.raises(VoiceError) as caught:
        open_index(path).read("alice")
    assert f"{path} is damaged ({message}" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("share", [0.0, 0.001, 0.2, 0.9])
def test_an_index_that_is_cut_short_is_refused(share: float, tmp_path: Path) -> None:
    path = made(tmp_path / "i.safetensors", 5)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(VoiceError, match=r"i\.safetensors is damaged"):
        open_index(path)


@pytest.mark.parametrize(
    "text", ["{", "[]", "[" * 100_000, '{"format": "sovits-index-1"}', '"' + " " * (5 << 20) + '"']
)
def test_a_description_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "i.safetensors"
    begin = json.dumps({"__metadata__": {KEY: text}}).encode()
    path.write_bytes(struct.pack("<Q", len(begin)) + begin)
    with pytest.raises(VoiceError, match=r"i\.safetensors is damaged") as caught:
        open_index(path)
    assert len(str(caught.value)) < 400


# Whose it is


def test_each_speaker_has_its_own(tmp_path: Path) -> None:
    singer, path = voice(VOICE), made(tmp_path / "i.safetensors")
    for speaker, seed in {None: 0, "alice": 0, "0": 0, "alice's other name": 0, "bob": 1}.items():
        assert torch.equal(singer.index(path, speaker).vectors, content(seed=seed).float())
    with pytest.raises(VoiceError, match="has no speaker carol"):
        singer.index(path, "carol")


def test_the_last_index_is_kept_until_its_file_changes(tmp_path: Path) -> None:
    singer, path = voice(VOICE), made(tmp_path / "i.safetensors")
    kept = singer.index(path, "alice")
    assert singer.index(path, "alice") is kept
    assert singer.index(path, "bob") is not kept
    again = singer.index(path, "alice")
    os.utime(path, ns=(1, 1))
    assert singer.index(path, "alice") is not again


def test_the_index_beside_a_voice_is_found(tmp_path: Path) -> None:
    singer = voice(VOICE)
    with pytest.raises(VoiceError, match="There is nothing to retrieve from: no "):
        singer.index(None, None)
    singer.path = tmp_path / "G_7.pth"
    with pytest.raises(VoiceError, match=r"no .*G_7\.index\.safetensors and no .*svc train-index"):
        singer.index_path()
    shared = made(tmp_path / "index.safetensors")
    assert singer.index_path() == shared
    own = made(tmp_path / "G_7.index.safetensors")
    assert singer.index_path() == own
    assert torch.equal(singer.index(None, "bob").vectors, content(seed=1).float())


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (
            {"content": "contentvec-256l9"},
            "was made with the content encoder 'contentvec-256l9', but this voice has hubert-soft",
        ),
        ({"frame_rate": 86.1328125}, "holds 86.1328 frames a second, but this voice's content has"),
        ({"frame_rate": float("nan")}, "holds nan frames a second"),
    ],
)
def test_an_index_of_another_encoder_is_refused(
    told: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = made(tmp_path / "i.safetensors", **told)
    with pytest.raises(VoiceError, match=message):
        voice(VOICE).index(path, "alice")


def test_an_index_of_another_voice_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "i.safetensors")
    other = voice(replace(VOICE, speakers={"carol": 0}))
    with pytest.raises(VoiceError, match=r"holds nothing for speaker carol\. It may be: alice, bo"):
        other.index(path, None)
    wide = voice(replace(VOICE, synthesizer=synthesizer_config(content_channels=CHANNELS + 1)))
    with pytest.raises(VoiceError, match="content of 6 channels, but this voice has 7"):
        wide.index(path, None)
    with pytest.raises(VoiceError, match="There is no file"):
        other.index(tmp_path / "none.safetensors", None)
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(VoiceError, match="There is no file"):
        other.index(tmp_path / "folder.safetensors", None)
