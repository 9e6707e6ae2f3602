"""Files that are listed as voices, of every kind, without weights worth the name."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

from made_voices import fork_config

from sovits.header import FORMAT

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NATIVE: dict[str, Any] = {
    "audio": {"sample_rate": 48_000},
    "synthesizer": {"architecture": "sovits-native", "look_ahead": 4},
    "content": "sovits-content",
    "speakers": {"low": 1, "high": 0},
}


def raw(path: Path, header: Any, *, data: bytes = b"", size: int | None = None) -> Path:
    """Write a safetensors file by hand; its header may be a table or any bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text) if size is None else size) + text + data)
    return path


def settings(config: Any = None, card: Any = None, **changes: Any) -> dict[str, Any]:
    """Return the header of a native voice of one tensor of eight bytes."""
    table = {"format": FORMAT, "config": {} if config is None else config, "card": card or {}}
    return {
        "__metadata__": {"sovits": json.dumps(table | changes)},
        "x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    }


def native(path: Path, config: Any = None, card: Any = None) -> Path:
    """Write what is listed as a native voice."""
    return raw(path, settings(config, card), data=bytes(8))


def legacy(path: Path, speakers: dict[str, int] | None, decoder: Any = "hifi-gan") -> Path:
    """Write what is listed as a `G_*.pth`, and the settings beside it unless speakers is None."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", b"")
    if speakers is not None:
        table = fork_config(decoder) | {"spk": speakers}
        path.with_name("config.json").write_text(json.dumps(table), "utf-8")
    return path


def repo(hub: Path, name: str, commit: str = COMMIT) -> Path:
    """Return the folder of a revision in a hub cache, as the hub's client lays it out."""
    folder = hub / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs/main").write_text(commit)
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True, exist_ok=True)
    return snapshot


def into_blobs(hub: Path) -> None:
    """Move what is in the snapshots of a cache to its blobs, with links in their place."""
    for path in [p for p in hub.glob("models--*/snapshots/*/**/*") if p.is_file()]:
        snapshots = next(parent for parent in path.parents if parent.name == "snapshots")
        blob = snapshots.with_name("blobs") / f"{abs(hash(path)):040x}"
        blob.parent.mkdir(exist_ok=True)
        path.rename(blob)
        up = Path(*[".."] * (len(path.relative_to(snapshots).parts)))
        path.symlink_to(up / "blobs" / blob.name)
