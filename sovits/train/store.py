"""Features of clips: in memory if they fit there, else read as they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError, safe_open
from torch import Tensor

from sovits.device import free_memory
from sovits.errors import DatasetError

SHARE = 0.25
"""Share of the free memory that clips may take, of all processes of a machine together."""


class Slice(Protocol):
    """What parts of a tensor are read from when they are asked for."""

    def __getitem__(self, key: slice | tuple[int | slice, ...]) -> Tensor: ...


class Stored(Slice, Protocol):
    """A stored tensor."""

    def get_shape(self) -> list[int]:
        """Return its shape."""
        ...


class Held(Protocol):
    """The features of one clip."""

    def get_slice(self, name: str) -> Stored:
        """Return one of them, to read parts of."""
        ...

    def get_tensor(self, name: str) -> Tensor:
        """Return the whole of one of them."""
        ...


class _Kept:
    """A tensor in memory that is read as if it was stored."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __getitem__(self, key: slice | tuple[int | slice, ...]) -> Tensor:
        return self.tensor[key]

    def get_shape(self) -> list[int]:
        return list(self.tensor.shape)


class _InMemory(dict[str, Tensor]):
    """The features of one clip, read once."""

    def get_slice(self, name: str) -> Stored:
        return _Kept(self[name])

    def get_tensor(self, name: str) -> Tensor:
        return self[name]


class Store:
    """Features of clips by their files.

    They are in memory if all of them take at most `SHARE` of what is free. Otherwise the system
    maps the files, keeps in its cache what it has room for, and reads the rest again.

    Args:
        paths: The files.
        processes: How many on this machine have such a store.
    """

    def __init__(self, paths: Sequence[Path], processes: int = 1) -> None:
        free = free_memory()
        needed = sum(path.stat().st_size for path in paths if path.is_file())
        self.resident = free is not None and needed * processes <= free * SHARE
        self._kept: dict[Path, _InMemory] = {}

    def load(self, path: Path, names: Sequence[str]) -> None:
        """Read the features of a clip into memory, if all are to be there.

        Args:
            path: Their file.
            names: Those that are needed.

        Raises:
            DatasetError: They are damaged.
        """
        if not self.resident:
            return
        try:
            with safe_open(path, framework="pt") as features:
                held = _InMemory((name, features.get_tensor(name)) for name in names)
        except (OSError, SafetensorError) as error:
            raise DatasetError.damaged_features(path, str(error)) from error
        for name, tensor in held.items():
            check(path, name, tensor)
        self._kept[path] = held

    @contextmanager
    def open(self, path: Path) -> Iterator[Held]:
        """Hand out the features of a clip."""
        if path in self._kept:
            yield self._kept[path]
            return
        with safe_open(path, framework="pt") as features:
            yield features


def check(path: Path, name: str, tensor: Tensor) -> None:
    """Look at values that a clip has.

    Raises:
        DatasetError: They are none that it can have.
    """
    if tensor.is_floating_point() and not tensor.isfinite().all():
        raise DatasetError.damaged_features(path, f"its {name} is not made of finite numbers")
    if name == "f0" and not (tensor > 0).all():
        raise DatasetError.damaged_features(path, "its f0 is not above 0 everywhere")
