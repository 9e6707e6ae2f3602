"""A HuBERT of width 16 whose weights are a formula, under three sets of names."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH, INNER, HEADS, LAYERS, CONV, PROJECTED = 16, 24, 2, 3, 8, 10
KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)


def _shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes as transformers 5 saves them."""
    shapes: dict[str, tuple[int, ...]] = {
        "masked_spec_embed": (WIDTH,),
        "feature_projection.projection.weight": (WIDTH, CONV),
        "feature_projection.projection.bias": (WIDTH,),
        "encoder.pos_conv_embed.conv.bias": (WIDTH,),
        "encoder.pos_conv_embed.conv.parametrizations.weight.original0": (1, 1, 6),
        "encoder.pos_conv_embed.conv.parametrizations.weight.original1": (WIDTH, WIDTH // 4, 6),
        "final_proj.weight": (PROJECTED, WIDTH),
        "final_proj.bias": (PROJECTED,),
    }
    norms = {
        "feature_extractor.conv_layers.0.layer_norm": CONV,
        "feature_projection.layer_norm": CONV,
        "encoder.layer_norm": WIDTH,
    }
    for index, kernel in enumerate(KERNELS):
        name = f"feature_extractor.conv_layers.{index}.conv.weight"
        shapes[name] = (CONV, CONV if index else 1, kernel)
    for index in range(LAYERS):
        layer = f"encoder.layers.{index}"
        linears = {
            "feed_forward.intermediate_dense": (INNER, WIDTH),
            "feed_forward.output_dense": (WIDTH, INNER),
        }
        linears |= {f"attention.{part}_proj": (WIDTH, WIDTH) for part in ("q", "k", "v", "out")}
        for name, shape in linears.items():
            shapes[f"{layer}.{name}.weight"] = shape
            shapes[f"{layer}.{name}.bias"] = shape[:1]
        norms |= {f"{layer}.layer_norm": WIDTH, f"{layer}.final_layer_norm": WIDTH}
    for name, width in norms.items():
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (width,)
    return shapes


def hugging_face() -> dict[str, Tensor]:
    """Weights made of sines, those of norms around 1."""
    shapes, made = _shapes(), {}
    for index, name in enumerate(sorted(shapes)):
        steps = torch.arange(math.prod(shapes[name]), dtype=torch.float64)
        values = 0.4 * torch.sin(1.7 * steps + index)
        if "norm.weight" in name or name.endswith("original0"):
            values += 1
        made[name] = values.float().view(shapes[name])
    return made


def wave() -> Tensor:
    """2700 samples of two slow and one fast sine."""
    k = torch.arange(2700, dtype=torch.float64)
    sines = 0.3 * torch.sin(0.05 * k) * torch.sin(0.003 * k) + 0.1 * torch.sin(0.9 * k + 1)
    return sines.float()


def old_hugging_face() -> dict[str, Tensor]:
    """As transformers 4 with an older torch saved weight normalisation."""
    old = {"original0": "weight_g", "original1": "weight_v"}
    return {
        name.replace("parametrizations.weight.", "").replace(
            name[-9:], old.get(name[-9:], name[-9:])
        ): tensor
        for name, tensor in hugging_face().items()
    }


def _renamed(tensors: dict[str, Tensor], pairs: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    made = {}
    for name, tensor in tensors.items():
        for theirs, ours in pairs:
            name = name.replace(theirs, ours)  # noqa: PLW2901
        made[name] = tensor
    return made


def fairseq() -> dict[str, Tensor]:
    """As fairseq names them, with what it trains and does not use."""
    pairs = (
        ("masked_spec_embed", "mask_emb"),
        ("feature_projection.layer_norm", "layer_norm"),
        ("feature_projection.projection", "post_extract_proj"),
        ("encoder.pos_conv_embed.conv", "encoder.pos_conv.0"),
        ("conv_layers.0.layer_norm", "conv_layers.0.2"),
        (".conv.weight", ".0.weight"),
        ("attention.", "self_attn."),
        ("feed_forward.intermediate_dense", "fc1"),
        ("feed_forward.output_dense", "fc2"),
        ("final_layer_norm", "FINAL"),
    )
    made = _renamed(old_hugging_face(), pairs)
    made = {
        (
            name.replace("layer_norm", "self_attn_layer_norm") if ".layers." in name else name
        ).replace("FINAL", "final_layer_norm"): tensor
        for name, tensor in made.items()
    }
    return made | {"label_embs_concat": torch.zeros(504, 256)}


def bshall() -> dict[str, Tensor]:
    """As bshall's HuBERT-soft names them, still wrapped for training on several devices."""
    source = old_hugging_face()
    pairs = (
        ("feature_projection.layer_norm", "feature_projection.norm"),
        ("encoder.pos_conv_embed.conv", "positional_embedding.conv"),
        ("feature_extractor.conv_layers.0.layer_norm", "feature_extractor.norm0"),
        ("feature_extractor.conv_layers.", "feature_extractor.conv"),
        (".conv.weight", ".weight"),
        ("encoder.layer_norm", "norm"),
        ("attention.out_proj", "self_attn.out_proj"),
        ("feed_forward.intermediate_dense", "linear1"),
        ("feed_forward.output_dense", "linear2"),
        ("final_layer_norm", "norm2"),
        (".layer_norm", ".norm1"),
        ("final_proj", "proj"),
    )
    positional = {n: t for n, t in source.items() if "pos_conv" in n}
    others = {n: t for n, t in source.items() if "pos_conv" not in n}
    made = _renamed(others, pairs) | {
        name.replace("encoder.pos_conv_embed", "positional_embedding"): tensor
        for name, tensor in positional.items()
    }
    for index in range(LAYERS):
        layer = f"encoder.layers.{index}"
        for kind in ("weight", "bias"):
            parts = [made.pop(f"{layer}.attention.{part}_proj.{kind}") for part in "qkv"]
            made[f"{layer}.self_attn.in_proj_{kind}"] = torch.cat(parts)
    made["label_embedding.weight"] = torch.zeros(100, 256)
    return {f"module.{name}": tensor for name, tensor in made.items()}


class SecondRoute(nn.Module):
    """The same network from torch's own transformer layers, without windows or folding."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, HEADS, INNER, 0, "gelu", batch_first=True)
            for _ in range(LAYERS)
        )
        self.tensors = {n.removeprefix("module."): t for n, t in bshall().items()}
        for index, layer in enumerate(self.layers):
            start = f"encoder.layers.{index}."
            layer.load_state_dict(
                {n.removeprefix(start): t for n, t in self.tensors.items() if n.startswith(start)}
            )
        # In training mode (with no dropout), since in eval torch takes an approximate fast path.

    def forward(self, heard: Tensor) -> Tensor:
        """Return `[frames, PROJECTED]` for `[samples]`, padded as HuBERT-soft pads."""
        t = self.tensors
        x = F.pad(heard, (40, 40))[None, None]
        for index, stride in enumerate(STRIDES):
            x = F.conv1d(x, t[f"feature_extractor.conv{index}.weight"], stride=stride)
            if index == 0:
                x = (x - x.mean(-1, keepdim=True)) / (
                    x.var(-1, correction=0, keepdim=True) + 1e-5
                ).sqrt()
                gain, shift = (t[f"feature_extractor.norm0.{kind}"] for kind in ("weight", "bias"))
                x = x * gain[:, None] + shift[:, None]
            x = F.gelu(x)
        x = x.transpose(1, 2)
        norm = "feature_projection.norm"
        x = F.layer_norm(x, (CONV,), t[f"{norm}.weight"], t[f"{norm}.bias"])
        projection = "feature_projection.projection"
        x = F.linear(x, t[f"{projection}.weight"], t[f"{projection}.bias"])
        name = "positional_embedding.conv"
        length, direction = t[f"{name}.weight_g"], t[f"{name}.weight_v"]
        taps = [
            direction[..., tap] / direction[..., tap].norm() * length[..., tap]
            for tap in range(direction.shape[-1])
        ]
        conv = F.conv1d(
            x.transpose(1, 2), torch.stack(taps, -1), t[f"{name}.bias"], padding=3, groups=4
        )
        x = x + F.gelu(conv[..., :-1]).transpose(1, 2)
        x = F.layer_norm(x, (WIDTH,), t["norm.weight"], t["norm.bias"])
        for layer in self.layers:
            x = layer(x)
        return F.linear(x, t["proj.weight"], t["proj.bias"])[0]
