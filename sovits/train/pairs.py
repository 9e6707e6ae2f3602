"""Pairs of others that a training can begin with: `G_0.pth` and `D_0.pth`, by name or place."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sovits.errors import OutputError, TrainingError
from sovits.hub import HUB
from sovits.train.checkpoint import BASE, list_checkpoints
from sovits.weights import WeightsFile, find


class Pair(NamedTuple):
    """The two networks of a published base."""

    generator: WeightsFile
    discriminator: WeightsFile


def _pair(name: str, page: str, names: tuple[str, str], licence: str = "not stated") -> Pair:
    generator, discriminator = (
        WeightsFile(name=f"{name}, {part}", filename=file, licence=licence, page=page)
        for part, file in zip(("generator", "discriminator"), names, strict=True)
    )
    return Pair(generator, discriminator)


PAIRS = {
    "so-vits-svc-768l12": _pair(
        "so-vits-svc-768l12",
        "https://huggingface.co/datasets/ms903/sovits4.0-768vec-layer12 "
        "(sovits_768l12_pre_large_320k)",
        ("clean_G_320000.pth", "clean_D_320000.pth"),
    ),
    "so-vits-svc-4.0-init": _pair(
        "so-vits-svc-4.0-init",
        "https://huggingface.co/therealvul/so-vits-svc-4.0-init",
        ("G_0.pth", "D_0.pth"),
    ),
}
"""Bases of so-vits-svc and its fork by name: of the types `so-vits-svc-4.0v1` (and, but for the
decoder, `quickvc`) and `so-vits-svc-4.0v1-legacy`. Their publishers state no checksum, so they are
taken from the folder of weights and never fetched."""


def find_pair(name: str) -> tuple[Path, Path]:
    """Return the generator and the discriminator that a base is.

    Args:
        name: One of `PAIRS`; `hub:OWNER/REPO/FILE.pth`, which is fetched with the discriminator
            beside it, goes on where a download broke off, and has its SHA-256 compared with what
            the hub states; a `G_*.pth` with its `D_*.pth` beside it, or a folder of such.

    Raises:
        WeightsError: There are no such files, and they cannot be fetched.
        TrainingError: There is no such base, or it is not what was published.
    """
    if name in PAIRS:
        return find(PAIRS[name].generator), find(PAIRS[name].discriminator)
    if name.startswith(HUB):
        return _from_hub(name)
    path = Path(name)
    if path.is_dir():
        whole = list_checkpoints(path)
        if not whole:
            raise TrainingError.no_pair(name, PAIRS)
        return whole[-1].generator, whole[-1].discriminator
    judge = path.with_name(_judge(path.name))
    if not path.is_file() or judge == path or not judge.is_file():
        raise TrainingError.no_pair(name, PAIRS)
    return path, judge


def place_pair(name: str, folder: Path, on_log: Callable[[str], None]) -> None:
    """Put a base where a training of `folder` begins with it, unless it has begun.

    Raises:
        WeightsError: There is no such base.
        TrainingError: There is no such base, or another one is in `folder`.
        OutputError: It cannot be put there.
    """
    if any(checkpoint.number != BASE for checkpoint in list_checkpoints(folder)):
        on_log(f"--base {name} is not used: the training in {folder} has begun.")
        return
    sources = find_pair(name)
    places = [folder / f"{letter}_{BASE}.pth" for letter in "GD"]
    for source, place in zip(sources, places, strict=True):
        if place.exists() and not place.samefile(source) and _digest(place) != _digest(source):
            raise TrainingError.other_base(place)
    for source, place in zip(sources, places, strict=True):
        if place.exists():
            continue
        part = place.with_name(f".{place.name}.{os.getpid()}.part")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, part)
            part.replace(place)
        except OSError as error:
            raise OutputError.cannot_write(place, error.strerror or str(error)) from error
        finally:
            part.unlink(missing_ok=True)
    on_log(f"The base {name} is in {folder}: {sources[0].name} and {sources[1].name}.")


def _judge(name: str) -> str:
    """Return what the discriminator of a generator's file is called.

    >>> [_judge(name) for name in ("G_0.pth", "clean_G_320000.pth", "voice.pth")]
    ['D_0.pth', 'clean_D_320000.pth', 'voice.pth']
    """
    return re.sub(r"(^|_)G_", r"\1D_", name)


def _from_hub(name: str) -> tuple[Path, Path]:
    match = re.fullmatch(rf"{HUB}([\w.-]+/[\w.-]+)/((?:[^/]+/)*)([^/]+\.pth)", name)
    if match is None or ".." in name.split("/") or _judge(match[3]) == match[3]:
        raise TrainingError.no_pair(name, PAIRS)
    from huggingface_hub import hf_hub_download

    found = []
    for file in (match[3], _judge(match[3])):
        try:
            path = Path(hf_hub_download(match[1], match[2] + file))
        # Whatever the network, the proxy or the server got wrong arrives as one of many classes.
        except Exception as error:
            because = type(error).__name__
            raise TrainingError.base_unreachable(match[1], match[2] + file, because) from error
        # The hub's cache names large files by the SHA-256 that the hub states.
        stated = path.resolve().name
        if re.fullmatch(r"[0-9a-f]{64}", stated) and _digest(path) != stated:
            raise TrainingError.base_damaged(path.resolve(), stated)
        found.append(path)
    return found[0], found[1]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
