"""Retrieval files of so-vits-svc are read as numbers, and belong to a voice and a speaker."""

from __future__ import annotations

import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_voices import synthesizer_config, voice
from safetensors.torch import save_file

from sovits.config import AudioConfig, VoiceConfig
from sovits.errors import VoiceError
from sovits.index_file import open_index
from sovits.legacy.clusters import CENTRES as CENTRES_OF_0_1
from sovits.legacy.clusters import read_clusters

CENTRES = np.arange(24, dtype=np.float32).reshape(4, 6)
VOICE = VoiceConfig(
    AudioConfig(),
    synthesizer_config(content_channels=6),
    content="something of six channels",
    speakers={"alice": 0, "bob": 1, "alice's other name": 0},
)


def entry(centres: Any, **more: Any) -> dict[str, Any]:
    """Return what so-vits-svc and its fork write for one speaker."""
    return {"n_features_in_": 6, "_n_threads": 2, "cluster_centers_": centres} | more


def written(path: Path, table: Any, *, modern: bool = True) -> Path:
    """Write a file as torch.save does."""
    torch.save(table, path, _use_new_zipfile_serialization=modern)
    return path


@pytest.mark.parametrize("modern", [True, False])
def test_k_means_files_are_read(modern: bool, tmp_path: Path) -> None:
    table = {"alice": entry(CENTRES), "bob": entry(CENTRES[:2] + 1)}
    banks = read_clusters(written(tmp_path / "k.pt", table, modern=modern))
    assert list(banks) == ["alice", "bob"]
    torch.testing.assert_close(banks["alice"], torch.from_numpy(CENTRES))
    torch.testing.assert_close(banks["bob"], torch.from_numpy(CENTRES[:2] + 1))


@pytest.mark.parametrize(
    "centres",
    [
        CENTRES.astype(np.float64),
        CENTRES.astype(np.float16),
        CENTRES.astype(">f4"),
        CENTRES.astype(np.int64),
        np.asfortranarray(CENTRES),
        torch.from_numpy(CENTRES).double(),
    ],
    ids=["double", "half", "big-endian", "whole", "column by column", "tensor"],
)
def test_numbers_of_other_kinds_are_read(centres: Any, tmp_path: Path) -> None:
    table = {0: entry(centres, n_features_in_=np.int64(6))}
    bank = read_clusters(written(tmp_path / "k.pt", table))["0"]
    torch.testing.assert_close(bank, torch.from_numpy(CENTRES))


def test_files_of_numpy_1_are_read(tmp_path: Path) -> None:
    """Its arrays name a module that numpy 2 has renamed."""
    path = written(tmp_path / "new.pt", {"alice": entry(CENTRES)})
    old = tmp_path / "old.pt"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(old, "w") as target:
        for item in source.infolist():
            content = source.read(item)
            if item.filename.endswith(".pkl"):
                assert b"numpy._core.multiarray" in content
                content = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
            target.writestr(item.filename, content)
    torch.testing.assert_close(read_clusters(old)["alice"], torch.from_numpy(CENTRES))


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("modern", [True, False])
def test_a_pickle_bomb_does_not_go_off(modern: bool, tmp_path: Path) -> None:
    bomb = Bomb(tmp_path / "it-ran")
    path = written(tmp_path / "k.pt", {"alice": entry(CENTRES), "bob": bomb}, modern=modern)
    with pytest.raises(VoiceError, match="would run code"):
        read_clusters(path)
    assert not bomb.marker.exists()


def test_arrays_of_objects_are_no_numbers(tmp_path: Path) -> None:
    centres = np.array([[1.0, None]], dtype=object)
    with pytest.raises(VoiceError):
        read_clusters(written(tmp_path / "k.pt", {"alice": entry(centres)}))


@pytest.mark.parametrize(
    "table",
    [
        [CENTRES],
        CENTRES,
        {"alice": CENTRES},
        {"alice": {"centers": CENTRES}},
        {"alice": entry(CENTRES[0])},
        {"alice": entry(torch.zeros(0, 6))},
        {"alice": entry(CENTRES * np.nan)},
        {"alice": entry(torch.zeros(1).expand(100_000, 100_000))},
        {"alice": entry(torch.eye(6).to_sparse())},
        {"alice": entry(torch.ones(4, 6, dtype=torch.int64))},
    ],
)
def test_what_holds_no_vectors_is_refused(table: Any, tmp_path: Path) -> None:
    with pytest.raises(VoiceError, match="holds no content vectors by speaker"):
        read_clusters(written(tmp_path / "k.pt", table))


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    good = written(tmp_path / "k.pt", {"alice": entry(CENTRES)}).read_bytes()
    bad = tmp_path / "bad.pt"
    for content in (good[:100], good[: len(good) // 2]):
        bad.write_bytes(content)
        with pytest.raises(VoiceError, match=r"bad\.pt is damaged"):
            read_clusters(bad)
    # An index of faiss, as RVC has it, begins with four letters.
    for content in (b"", b"k-means", b"IwFl" + bytes(200)):
        bad.write_bytes(content)
        with pytest.raises(VoiceError, match=r"bad\.pt holds no content .* svc train-index"):
            read_clusters(bad)
    index = tmp_path / "bad.safetensors"
    index.write_bytes(b"\xff" * 64)
    with pytest.raises(VoiceError, match="is damaged"):
        read_clusters(index)
    with pytest.raises(VoiceError, match="There is no file"):
        open_index(tmp_path / "none.pt")


def test_an_index_belongs_to_a_speaker(tmp_path: Path) -> None:
    made = voice(VOICE)
    path = written(
        tmp_path / "k.pt", {"alice": entry(CENTRES), "alice's other name": entry(-CENTRES)}
    )
    for speaker in (None, "alice", "0"):
        index = made.index(path, speaker)
        assert (index.vectors[1, 0], index.neighbours) == (6, 1)
    assert made.index(path, "alice's other name").vectors[1, 0] == -6
    with pytest.raises(VoiceError, match=r"holds nothing for speaker bob\. It may be: alice"):
        made.index(path, "bob")
    with pytest.raises(VoiceError, match="has no speaker carol"):
        made.index(path, "carol")


def test_a_tensor_for_each_speaker_is_frames(tmp_path: Path) -> None:
    path = tmp_path / "frames.safetensors"
    save_file({"bob": torch.from_numpy(CENTRES).half()}, path)
    index = voice(VOICE).index(path, "bob")
    assert (index.vectors.dtype, index.neighbours) == (torch.float32, 4)
    nameless = voice(replace(VOICE, speakers={}))
    save_file({"3": torch.from_numpy(CENTRES)}, path)
    assert len(nameless.index(path, "3").vectors) == 4


def test_centres_of_version_0_1_are_read_and_know_their_encoder(tmp_path: Path) -> None:
    path = tmp_path / "kmeans.safetensors"
    told = {"format": CENTRES_OF_0_1, "content": VOICE.content}
    save_file({"bob": torch.from_numpy(CENTRES)}, path, told)
    assert voice(VOICE).index(path, "bob").neighbours == 1
    other = voice(replace(VOICE, content="something else of six channels"))
    with pytest.raises(VoiceError, match="made with the content encoder 'something of six"):
        other.index(path, "bob")


def test_an_index_of_another_width_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "k.pt", {"alice": entry(CENTRES[:, :5])})
    with pytest.raises(VoiceError, match="content of 5 channels, but this voice has 6"):
        voice(VOICE).index(path, "alice")
