"""Whisper's encoder weights in other people's names, as this package names them."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from sovits.errors import WeightsError
from sovits.features.content.ctranslate2 import is_ctranslate2, read_ctranslate2
from sovits.features.content.layouts import translate, without_prefix
from sovits.weights import load_tensors

_NETWORK = "a Whisper encoder"
_CONVOLUTIONS = {"conv1": "conv1", "conv2": "conv2"}

HUGGING_FACE = _CONVOLUTIONS | {
    "embed_positions.weight": "positions",
    "layer_norm": "norm",
    "layers.N.self_attn_layer_norm": "layers.N.attention_norm",
    "layers.N.self_attn.q_proj": "layers.N.q",
    "layers.N.self_attn.k_proj": "layers.N.k",
    "layers.N.self_attn.v_proj": "layers.N.v",
    "layers.N.self_attn.out_proj": "layers.N.out",
    "layers.N.final_layer_norm": "layers.N.mlp_norm",
    "layers.N.fc1": "layers.N.up",
    "layers.N.fc2": "layers.N.down",
}
OPENAI = _CONVOLUTIONS | {
    "positional_embedding": "positions",
    "ln_post": "norm",
    "blocks.N.attn_ln": "layers.N.attention_norm",
    "blocks.N.attn.query": "layers.N.q",
    "blocks.N.attn.key": "layers.N.k",
    "blocks.N.attn.value": "layers.N.v",
    "blocks.N.attn.out": "layers.N.out",
    "blocks.N.mlp_ln": "layers.N.mlp_norm",
    "blocks.N.mlp.0": "layers.N.up",
    "blocks.N.mlp.2": "layers.N.down",
}
CTRANSLATE2 = _CONVOLUTIONS | {
    "position_encodings.encodings": "positions",
    "layer_norm": "norm",
    "layer_N.self_attention.layer_norm": "layers.N.attention_norm",
    "layer_N.self_attention.linear_0": "layers.N.qkv",
    "layer_N.self_attention.linear_1": "layers.N.out",
    "layer_N.ffn.layer_norm": "layers.N.mlp_norm",
    "layer_N.ffn.linear_0": "layers.N.up",
    "layer_N.ffn.linear_1": "layers.N.down",
}
_MARKERS = (
    ("layers.0.self_attn_layer_norm.weight", HUGGING_FACE),
    ("blocks.0.attn_ln.weight", OPENAI),
    ("layer_0.self_attention.linear_0.weight", CTRANSLATE2),
)


def to_native(path: Path) -> dict[str, Tensor]:
    """Read a file in any of the layouts; return the encoder's tensors under our names.

    Raises:
        WeightsError: The file cannot be read, or holds no Whisper encoder.
    """
    if is_ctranslate2(path):
        tensors = {_in_dots(name): t for name, t in read_ctranslate2(path).items()}
    else:
        tensors = load_tensors(path)
    # The decoder has layers of the same names, so its tensors must go first.
    encoder = {name: t for name, t in tensors.items() if "decoder" not in name.split(".")}
    for marker, table in _MARKERS:
        if (found := without_prefix(encoder, marker)) is not None:
            return translate(path, _NETWORK, found, table)
    raise WeightsError.wrong_layout(path, _NETWORK, "its tensors have other names")


def _in_dots(name: str) -> str:
    """Return a CTranslate2 name with PyTorch's dots and last words."""
    stem, _, kind = name.replace("/", ".").rpartition(".")
    return f"{stem}.{ {'gamma': 'weight', 'beta': 'bias'}.get(kind, kind) }"
