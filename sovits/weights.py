"""Find the weights of frozen networks on this machine or on the hub, check them, read them."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from sovits.errors import OutputError, WeightsError
from sovits.places import cache_folder

ASSETS = Path(__file__).with_name("assets")
"""Folder of the weights that ship with this package."""

_WRAPPERS = ("model", "state_dict", "model_state_dict", "model_state", "hubert")


@dataclass(frozen=True)
class WeightsFile:
    """Where the weights of one network come from, and how they are known to be the right ones."""

    name: str
    """What the network is called here."""
    filename: str
    """Name of the file, in the hub repo and in folders of this machine."""
    licence: str
    """SPDX name of the weights' licence."""
    repo: str | None = None
    """Repo on the Hugging Face hub (`owner/name`); not there if None."""
    sha256: str | None = None
    """Digest of `filename`. None: its publisher states none, so it is never fetched, and is
    accepted only at an explicit path or where somebody put it by hand."""
    bytes: int | None = None
    """Size of `filename`."""
    page: str | None = None
    """Where people can get it if it is in no repo of the hub."""
    bundled: str | None = None
    """Name of a copy inside this package."""
    bundled_sha256: str | None = None
    """Digest of that copy."""
    package: tuple[str, ...] | None = None
    """Files inside installed packages, as `import_name:path/inside`; several are joined."""
    package_sha256: str | None = None
    """Digest of those files, joined; `sha256` if not given."""

    @property
    def source(self) -> str:
        """Where people can get it, in words."""
        places = [f"the Hugging Face repo {self.repo}"] if self.repo else []
        places += [self.page] if self.page else []
        if self._packages and not self.package_sha256:
            places.append(f"the Python package {' and '.join(self._packages)}")
        return " or ".join(places) or "wherever it was made"

    @property
    def instead(self) -> str:
        """Which packages hold these weights in another file, in words; nothing if none do."""
        if not self._packages or not self.package_sha256:
            return ""
        plural = "s" if len(self._packages) > 1 else ""
        return f"the Python package{plural} {' and '.join(self._packages)}"

    @property
    def _packages(self) -> list[str]:
        names = dict.fromkeys(entry.partition(":")[0] for entry in self.package or ())
        return [name.replace("_", "-") for name in names]


def weights_folder() -> Path:
    """Return where people put weights by hand: $SOVITS_WEIGHTS, or the cache folder."""
    given = os.environ.get("SOVITS_WEIGHTS")
    return Path(given).expanduser() if given else cache_folder()


def find(spec: WeightsFile, path: Path | None = None) -> Path:
    """Return a file with the weights of `spec`, fetching it if this machine has none.

    Looks at the explicit path, the copy inside this package, the weights folder, the cache,
    installed packages, and the Hugging Face hub, in this order, and stops at the first file:
    a wrong one is an error, not a reason to look further. Every file but an explicit one
    (which may have any supported layout) has its SHA-256 checked.

    Raises:
        WeightsError: There is no file, it is not the expected one, or it cannot be fetched.
    """
    if path is not None:
        if not path.is_file():
            raise WeightsError.no_file(path)
        return path
    if spec.bundled and (copy := ASSETS / spec.bundled).is_file():
        return _checked(copy, spec.bundled_sha256)
    for folder in (weights_folder(), cache_folder()):
        if (kept := folder / spec.filename).is_file():
            return _checked(kept, spec.sha256)
    if (found := _from_package(spec)) is not None:
        return found
    return _from_hub(spec)


def at_hand(spec: WeightsFile) -> bool:
    """Return whether `find` needs no network for `spec`; nothing is fetched or checked."""
    kept = [folder / spec.filename for folder in (weights_folder(), cache_folder())]
    if spec.bundled:
        kept.append(ASSETS / spec.bundled)
    if any(path.is_file() for path in kept):
        return True
    if spec.package and all(_inside_package(entry) for entry in spec.package):
        return True
    if spec.repo is None:
        return False
    import huggingface_hub

    return isinstance(huggingface_hub.try_to_load_from_cache(spec.repo, spec.filename), str)


def load_tensors(path: Path, *, instead: str | None = None) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by name, on the CPU.

    Reads safetensors, and what torch.save wrote, never running code from the file. What a file
    is, is told by its contents and not by its name. A state dict may be wrapped in `model`,
    `state_dict`, `model_state_dict`, `model_state` or `hubert`; other entries are left out.

    Args:
        path: File to read.
        instead: What to use if the file could only be read by running code from it.

    Raises:
        WeightsError: The file is missing, damaged, no checkpoint, or needs code to be read.
    """
    if not path.is_file():
        raise WeightsError.no_file(path)
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:] == b"{":
        return _load_safetensors(path)
    if head[:2] not in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise WeightsError.unreadable(path, "it is neither safetensors nor written by torch.save")
    return _flat(path, _load_pickle(path, instead))


def load_into(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Give `module` its parameters, as float32; every one must be there and of its shape.

    The module may have been built on the meta device, which saves the time to initialise it.

    Raises:
        WeightsError: A tensor is missing, left over, of another shape, or not finite.
    """
    network = type(module).__name__
    wanted = module.state_dict()
    if missing := sorted(wanted.keys() - tensors.keys()):
        raise WeightsError.wrong_layout(path, network, f"{_some(missing)} not in it")
    if extra := sorted(tensors.keys() - wanted.keys()):
        raise WeightsError.wrong_layout(path, network, f"{_some(extra)} too many")
    for name, like in wanted.items():
        if (found := tuple(tensors[name].shape)) != (needed := tuple(like.shape)):
            raise WeightsError.wrong_layout(
                path, network, f"{name} has the shape {found} instead of {needed}"
            )
        if not tensors[name].isfinite().all():
            raise WeightsError.wrong_layout(path, network, f"{name} is not finite")
    # Copies even float32 tensors: what safetensors and torch.load return may map the file.
    module.load_state_dict(
        {name: tensors[name].to(torch.float32, copy=True) for name in wanted}, assign=True
    )
    module.requires_grad_(False).eval()


def _some(names: list[str]) -> str:
    """Return a few names as the subject of a sentence."""
    shown = ", ".join(names[:3])
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{shown}{rest} {'is' if len(names) == 1 else 'are'}"


def _checked(path: Path, expected: str | None) -> Path:
    """Return `path` if its digest is as expected, or if none is known."""
    if expected is not None:
        status = path.stat()
        found = _digest(path, status.st_size, status.st_mtime_ns)
        if found != expected:
            raise WeightsError.wrong_hash(path, found=found, expected=expected)
    return path


@lru_cache(maxsize=64)
def _digest(path: Path, size: int, mtime_ns: int) -> str:  # noqa: ARG001 (part of the key)
    """Return the SHA-256 of a file, computed once for as long as the file stays the same."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_package(spec: WeightsFile) -> Path | None:
    """Return the file that installed packages hold, joined in the cache if it is in parts."""
    parts = [_inside_package(entry) for entry in spec.package or ()]
    found = [part for part in parts if part is not None]
    if not parts or len(found) < len(parts):
        return None
    expected = spec.package_sha256 or spec.sha256
    if len(found) == 1:
        return _checked(found[0], expected)
    joined = cache_folder() / f"{spec.name}-{(expected or 'joined')[:16]}.bin"
    if not joined.is_file():
        try:
            _join(found, joined)
        except OSError as error:
            raise OutputError.cannot_write(joined, error.strerror or str(error)) from error
    return _checked(joined, expected)


def _join(parts: list[Path], joined: Path) -> None:
    """Write the parts one after the other to a file that appears whole or not at all."""
    joined.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{joined.name}.", dir=joined.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for part in parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, file)
        Path(name).replace(joined)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _inside_package(entry: str) -> Path | None:
    """Return the file `import_name:path/inside` without importing the package."""
    package, _, inside = entry.partition(":")
    found = importlib.util.find_spec(package)
    for folder in (found.submodule_search_locations or []) if found else []:
        if (path := Path(folder) / inside).is_file():
            return path
    return None


def _from_hub(spec: WeightsFile) -> Path:
    """Fetch from the Hugging Face hub, or from its own cache."""
    folder = weights_folder()
    if spec.repo is None or spec.sha256 is None:
        because = "no checksum of it is known" if spec.sha256 is None else ""
        raise WeightsError.missing(
            spec.filename, spec.source, folder, because=because, instead=spec.instead
        )
    import huggingface_hub as hub

    # What is in the hub's own cache is known by its digest, so the hub need not be asked.
    if isinstance(cached := hub.try_to_load_from_cache(spec.repo, spec.filename), str):
        return _checked(Path(cached), spec.sha256)
    try:
        # Without a network, downloading tries again and again for half a minute; this does not.
        hub.get_session().head(hub.hf_hub_url(spec.repo, spec.filename), timeout=10)
        fetched = hub.hf_hub_download(spec.repo, spec.filename)
    # Whatever the network, the proxy or the server got wrong arrives as one of many classes.
    except Exception as error:
        because = type(error).__name__
        raise WeightsError.missing(
            spec.filename, spec.source, folder, because=because, instead=spec.instead
        ) from error
    return _checked(Path(fetched), spec.sha256)


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, ValueError, OSError) as error:
        raise WeightsError.unreadable(path, error) from error


def _load_pickle(path: Path, instead: str | None) -> object:
    """Read what torch.save wrote, tensors and plain containers only."""
    import pickle
    import warnings

    try:
        # From an open file, since torch.load otherwise goes by the end of the name.
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError.needs_code(path, instead) from error
    # A damaged archive fails wherever its first wrong byte is, as any class of error.
    except Exception as error:
        raise WeightsError.unreadable(path, error) from error


def _flat(path: Path, table: object) -> dict[str, Tensor]:
    """Return the tensors of a state dict, taking off at most two wrappers."""
    for _ in range(3):
        if not isinstance(table, dict):
            break
        tensors = {
            name: value
            for name, value in table.items()
            if isinstance(name, str) and isinstance(value, Tensor)
        }
        if tensors:
            return tensors
        table = next((table[name] for name in _WRAPPERS if name in table), None)
    raise WeightsError.unreadable(path, "there are no named tensors in it")
