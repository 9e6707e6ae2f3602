"""Make the bundled speaker encoder from the package that carries it.

    python tools/pretrain/bundle.py Resemblyzer-0.1.4-py3-none-any.whl

The same wheel gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import struct
import tempfile
from pathlib import Path
from zipfile import ZipFile

import torch
from torch import Tensor

from sovits.weights import load_tensors

ASSETS = Path(__file__).parents[2] / "sovits" / "assets"
SPEAKER = "resemblyzer/pretrained.pt"
SPEAKER_SHA256 = "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"


def save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write safetensors with a sorted header, which the library does not promise."""
    kinds = {torch.float32: "F32", torch.float16: "F16"}
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    parts, at = [], 0
    for name, tensor in sorted(tensors.items()):
        data = tensor.contiguous().numpy().tobytes()
        header[name] = {
            "dtype": kinds[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [at, at + len(data)],
        }
        parts.append(data)
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))
    print(path.name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())


def unpack(data: bytes, expected: str, folder: Path) -> Path:
    """Write `data` to a file, if it is what it should be."""
    if (found := hashlib.sha256(data).hexdigest()) != expected:
        raise SystemExit(f"The SHA-256 of the weights is {found}, not {expected}.")
    path = folder / expected[:8]
    path.write_bytes(data)
    return path


def main() -> None:
    """Read a wheel, write a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path, help="of Resemblyzer")
    parser.add_argument("--out", type=Path, default=ASSETS, help="folder to write to")
    options = parser.parse_args()
    speaker = ZipFile(options.wheel)
    with tempfile.TemporaryDirectory() as folder:
        tensors = load_tensors(unpack(speaker.read(SPEAKER), SPEAKER_SHA256, Path(folder)))
        kept = {name: t for name, t in tensors.items() if name.startswith(("lstm.", "linear."))}
        save(
            options.out / "speaker-encoder.safetensors",
            {name: tensor.half() for name, tensor in kept.items()},
            {
                "network": "GE2E speaker encoder, float16",
                "source": f"package Resemblyzer, {SPEAKER}",
                "version": "0.1.4",
                "sha256": SPEAKER_SHA256,
                "licence": "Apache-2.0, Copyright (c) Resemble AI",
            },
        )


if __name__ == "__main__":
    main()
