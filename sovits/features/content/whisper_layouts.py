"""Whisper's encoder weights in other people's names, as this package names them."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from sovits.errors import WeightsError
from sovits.features.content.ctranslate2 import is_ctranslate2, read_ctranslate2
from sovits.weights import load_tensors

_NETWORK = "a Whisper encoder"

# Part of our name -> part of theirs. The query, key and value rows are joined in ours.
_HUGGING_FACE = {
    "positions": "embed_positions.weight",
    "norm": "layer_norm",
    "attention_norm": "self_attn_layer_norm",
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "out": "self_attn.out_proj",
    "mlp_norm": "final_layer_norm",
    "up": "fc1",
    "down": "fc2",
}
_OPENAI = {
    "positions": "positional_embedding",
    "norm": "ln_post",
    "attention_norm": "attn_ln",
    "q": "attn.query",
    "k": "attn.key",
    "v": "attn.value",
    "out": "attn.out",
    "mlp_norm": "mlp_ln",
    "up": "mlp.0",
    "down": "mlp.2",
}
_CTRANSLATE2 = {
    "positions": "position_encodings.encodings",
    "norm": "layer_norm",
    "attention_norm": "self_attention.layer_norm",
    "qkv": "self_attention.linear_0",
    "out": "self_attention.linear_1",
    "mlp_norm": "ffn.layer_norm",
    "up": "ffn.linear_0",
    "down": "ffn.linear_1",
}


def to_native(path: Path) -> dict[str, Tensor]:
    """Read a file in any of the layouts; return the encoder's tensors under our names.

    Raises:
        WeightsError: The file cannot be read, or holds no Whisper encoder.
    """
    tensors = read_ctranslate2(path) if is_ctranslate2(path) else load_tensors(path)
    names = tensors.keys()
    if "layers.0.qkv.weight" in names:
        return tensors
    if "encoder/conv1/weight" in names:
        dotted = {_dotted(name): tensor for name, tensor in tensors.items()}
        return _renamed(path, dotted, "encoder.", r"layer_(\d+)\.", _CTRANSLATE2)
    if "encoder.blocks.0.attn.query.weight" in names:
        return _renamed(path, tensors, "encoder.", r"blocks\.(\d+)\.", _OPENAI)
    for prefix in ("model.encoder.", "encoder.", ""):
        if (
            f"{prefix}layers.0.self_attn.q_proj.weight" in names
            and f"{prefix}conv1.weight" in names
        ):
            return _renamed(path, tensors, prefix, r"layers\.(\d+)\.", _HUGGING_FACE)
    raise WeightsError.wrong_layout(path, _NETWORK, "its tensors have other names")


def _dotted(name: str) -> str:
    """Return a CTranslate2 name in the words of PyTorch."""
    name = name.replace("/", ".")
    return re.sub(r"\bgamma$", "weight", re.sub(r"\bbeta$", "bias", name))


def _renamed(
    path: Path, tensors: dict[str, Tensor], prefix: str, layer: str, theirs: dict[str, str]
) -> dict[str, Tensor]:
    """Return the tensors under `prefix` by our names, queries, keys and values joined."""
    ours = {name: part for part, name in theirs.items()}
    native: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not name.startswith(prefix):
            continue
        rest = name.removeprefix(prefix)
        match = re.match(layer, rest)
        where = f"layers.{match[1]}." if match else ""
        rest = rest[match.end() :] if match else rest
        if rest in ours:
            native[where + ours[rest]] = tensor
            continue
        part, _, kind = rest.rpartition(".")
        native[f"{where}{ours.get(part, part)}.{kind}"] = tensor
    return _joined(path, native)


def _joined(path: Path, native: dict[str, Tensor]) -> dict[str, Tensor]:
    """Replace each `q`, `k` and `v` by one `qkv`; Whisper's keys have no bias."""
    for name in [name for name in native if name.endswith(".q.weight")]:
        where = name.removesuffix("q.weight")
        for kind in ("weight", "bias"):
            q, k, v = (native.pop(f"{where}{part}.{kind}", None) for part in "qkv")
            if q is not None and k is None and kind == "bias":
                k = torch.zeros_like(q)
            if q is None or k is None or v is None:
                raise WeightsError.wrong_layout(path, _NETWORK, f"{where}attention is incomplete")
            native[f"{where}qkv.{kind}"] = torch.cat([q, k, v])
    return native
