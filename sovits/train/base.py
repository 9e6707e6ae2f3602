"""A base: networks that many speakers have trained, with which a new voice begins."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from sovits.config import Config, NativeConfig, VoiceConfig, to_dict
from sovits.train.step import Trainee
from sovits.weights import ASSETS

BASE_FILE = ASSETS / "base.safetensors"
"""The base that is bundled; made by tools/pretrain/base.py."""
FORMAT = "sovits-base-1"
TABLE = "emb_g.weight"


def fits(config: Config, path: Path = BASE_FILE) -> bool:
    """Return whether a voice of these settings can begin with a base, which may not be there."""
    if not path.is_file() or not isinstance(config.voice.synthesizer, NativeConfig):
        return False
    with safe_open(path, framework="pt") as file:
        header: dict[str, Any] = json.loads((file.metadata() or {}).get("sovits", "{}"))
    return header.get("format") == FORMAT and header.get("config") == _shape(config.voice)


def begin_from_base(trainee: Trainee, path: Path, on_log: Callable[[str], None]) -> None:
    """Give both networks the weights of a base that fits; each speaker begins as their mean."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    for name, network in (
        ("generator", trainee.generator),
        ("discriminator", trainee.discriminator),
    ):
        own = network.state_dict()
        held = {key: tensors[f"{name}.{key}"] for key in own if f"{name}.{key}" in tensors}
        if TABLE in held:
            held[TABLE] = held[TABLE].mean(0, keepdim=True).expand_as(own[TABLE])
        fitting = {key: value for key, value in held.items() if own[key].shape == value.shape}
        network.load_state_dict(fitting, strict=False)
        told = f"{len(fitting)} of {len(own)} tensors of the {name}"
        if new := sorted(own.keys() - fitting.keys()):
            told += f"; new: {', '.join(new[:5])}" + (" ..." if len(new) > 5 else "")
        on_log(f"Starting from {path.name}: {told}.")
    trainee.begin_average()


def write_base(
    path: Path, generator: nn.Module, discriminator: nn.Module, config: Config, card: dict[str, Any]
) -> None:
    """Write both networks as fp16, with settings and card, at once or not at all."""
    tensors: dict[str, Tensor] = {
        f"{name}.{key}": tensor.detach().to("cpu", torch.float16).contiguous()
        for name, network in (("generator", generator), ("discriminator", discriminator))
        for key, tensor in network.state_dict().items()
    }
    header = {"format": FORMAT, "config": _shape(config.voice), "card": card}
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(save(tensors, metadata={"sovits": json.dumps(header)}))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _shape(voice: VoiceConfig) -> dict[str, Any]:
    """Return the settings in which a voice must agree with its base, as plain JSON types."""
    settings = to_dict(voice)
    del settings["speakers"], settings["synthesizer"]["n_speakers"]
    plain: dict[str, Any] = json.loads(json.dumps(settings))
    return plain
