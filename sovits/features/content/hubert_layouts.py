"""HuBERT's weights as Hugging Face, fairseq and bshall name them, as this package names them."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from sovits.errors import WeightsError
from sovits.features.content.layouts import translate, without_prefix
from sovits.weights import load_tensors

_NETWORK = "a HuBERT encoder"


def _weight_norm(theirs: str) -> dict[str, str]:
    """Return the names that the old and the new weight normalisation give to one convolution."""
    return {
        f"{theirs}.weight_g": "positional.g",
        f"{theirs}.weight_v": "positional.v",
        f"{theirs}.parametrizations.weight.original0": "positional.g",
        f"{theirs}.parametrizations.weight.original1": "positional.v",
        theirs: "positional",
    }


HUGGING_FACE = _weight_norm("encoder.pos_conv_embed.conv") | {
    "feature_extractor.conv_layers.N.conv": "convs.N",
    "feature_extractor.conv_layers.0.layer_norm": "group_norm",
    "feature_projection.layer_norm": "input_norm",
    "feature_projection.projection": "input_proj",
    "encoder.layer_norm": "norm",
    "encoder.layers.N.attention.q_proj": "layers.N.q",
    "encoder.layers.N.attention.k_proj": "layers.N.k",
    "encoder.layers.N.attention.v_proj": "layers.N.v",
    "encoder.layers.N.attention.out_proj": "layers.N.out",
    "encoder.layers.N.layer_norm": "layers.N.attention_norm",
    "encoder.layers.N.feed_forward.intermediate_dense": "layers.N.up",
    "encoder.layers.N.feed_forward.output_dense": "layers.N.down",
    "encoder.layers.N.final_layer_norm": "layers.N.mlp_norm",
    "final_proj": "projection",
}
FAIRSEQ = _weight_norm("encoder.pos_conv.0") | {
    "feature_extractor.conv_layers.N.0": "convs.N",
    "feature_extractor.conv_layers.0.2": "group_norm",
    "layer_norm": "input_norm",
    "post_extract_proj": "input_proj",
    "encoder.layer_norm": "norm",
    "encoder.layers.N.self_attn.q_proj": "layers.N.q",
    "encoder.layers.N.self_attn.k_proj": "layers.N.k",
    "encoder.layers.N.self_attn.v_proj": "layers.N.v",
    "encoder.layers.N.self_attn.out_proj": "layers.N.out",
    "encoder.layers.N.self_attn_layer_norm": "layers.N.attention_norm",
    "encoder.layers.N.fc1": "layers.N.up",
    "encoder.layers.N.fc2": "layers.N.down",
    "encoder.layers.N.final_layer_norm": "layers.N.mlp_norm",
    "final_proj": "projection",
}
BSHALL = _weight_norm("positional_embedding.conv") | {
    "feature_extractor.convN": "convs.N",
    "feature_extractor.norm0": "group_norm",
    "feature_projection.norm": "input_norm",
    "feature_projection.projection": "input_proj",
    "norm": "norm",
    "encoder.layers.N.self_attn.in_proj_weight": "layers.N.qkv.weight",
    "encoder.layers.N.self_attn.in_proj_bias": "layers.N.qkv.bias",
    "encoder.layers.N.self_attn.out_proj": "layers.N.out",
    "encoder.layers.N.norm1": "layers.N.attention_norm",
    "encoder.layers.N.linear1": "layers.N.up",
    "encoder.layers.N.linear2": "layers.N.down",
    "encoder.layers.N.norm2": "layers.N.mlp_norm",
    "proj": "projection",
}
_MARKERS = (
    ("feature_extractor.conv_layers.0.conv.weight", HUGGING_FACE),
    ("feature_extractor.conv_layers.0.0.weight", FAIRSEQ),
    ("feature_extractor.conv0.weight", BSHALL),
)


def to_native(path: Path, *, instead: str | None = None) -> dict[str, Tensor]:
    """Read a file in any of the layouts; return HuBERT's tensors under our names.

    Args:
        path: File to read.
        instead: What to use if the file could only be read by running code from it.

    Raises:
        WeightsError: The file cannot be read, or holds no HuBERT of the base kind.
    """
    tensors = load_tensors(path, instead=instead)
    for marker, table in _MARKERS:
        if (found := without_prefix(tensors, marker)) is not None:
            native = translate(path, _NETWORK, found, table)
            return _without_weight_norm(native)
    raise WeightsError.wrong_layout(path, _NETWORK, "its tensors have other names")


def _without_weight_norm(native: dict[str, Tensor]) -> dict[str, Tensor]:
    """Put direction and length of each tap of the positional convolution together."""
    if "positional.g" in native and "positional.v" in native:
        length, direction = native.pop("positional.g"), native.pop("positional.v")
        norm = direction.float().norm(dim=(0, 1), keepdim=True)
        native["positional.weight"] = direction.float() * (length.float() / norm)
    return native
