"""A Whisper of width 16 with random weights, in three layouts."""

from __future__ import annotations

import struct
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

WIDTH, LAYERS, POSITIONS = 16, 2, 60


def weights() -> dict[str, Tensor]:
    """Weights under OpenAI's names, exact in float16."""
    made = {
        "conv1.weight": (WIDTH, 80, 3),
        "conv1.bias": (WIDTH,),
        "conv2.weight": (WIDTH, WIDTH, 3),
        "conv2.bias": (WIDTH,),
        "positional_embedding": (POSITIONS, WIDTH),
        "ln_post.weight": (WIDTH,),
        "ln_post.bias": (WIDTH,),
    }
    for layer in (f"blocks.{index}" for index in range(LAYERS)):
        for part in ("query", "key", "value", "out"):
            made[f"{layer}.attn.{part}.weight"] = (WIDTH, WIDTH)
            made[f"{layer}.attn.{part}.bias"] = (WIDTH,)
        del made[f"{layer}.attn.key.bias"]
        made[f"{layer}.mlp.0.weight"], made[f"{layer}.mlp.0.bias"] = (4 * WIDTH, WIDTH), (64,)
        made[f"{layer}.mlp.2.weight"], made[f"{layer}.mlp.2.bias"] = (WIDTH, 4 * WIDTH), (WIDTH,)
        for norm in ("attn_ln", "mlp_ln"):
            made[f"{layer}.{norm}.weight"] = made[f"{layer}.{norm}.bias"] = (WIDTH,)
    generator = torch.Generator().manual_seed(5)
    return {
        name: (torch.randn(shape, generator=generator) * 0.3 + ("ln" in name)).half().float()
        for name, shape in made.items()
    }


def save_openai(path: Path) -> None:
    """As OpenAI's base.pt, decoder included."""
    tensors = {f"encoder.{name}": tensor for name, tensor in weights().items()}
    tensors |= {"decoder.token_embedding.weight": torch.zeros(9, WIDTH)}
    tensors |= {"decoder.blocks.0.attn_ln.weight": torch.zeros(WIDTH)}
    torch.save({"dims": {"n_mels": 80}, "model_state_dict": tensors}, path)


def save_hugging_face(path: Path) -> None:
    """As openai/whisper-base on the hub, decoder included."""
    pairs = (
        ("positional_embedding", "embed_positions.weight"),
        ("ln_post", "layer_norm"),
        ("blocks", "layers"),
        ("attn_ln", "self_attn_layer_norm"),
        ("attn.query", "self_attn.q_proj"),
        ("attn.key", "self_attn.k_proj"),
        ("attn.value", "self_attn.v_proj"),
        ("attn.out", "self_attn.out_proj"),
        ("mlp_ln", "final_layer_norm"),
        ("mlp.0", "fc1"),
        ("mlp.2", "fc2"),
    )
    tensors = {"model.decoder.layers.0.self_attn_layer_norm.weight": torch.zeros(WIDTH)}
    for name, tensor in weights().items():
        for theirs, ours in pairs:
            name = name.replace(theirs, ours)  # noqa: PLW2901
        tensors[f"model.encoder.{name}"] = tensor
    save_file(tensors, path)


def save_ctranslate2(path: Path, dtype: torch.dtype = torch.float16, version: int = 6) -> None:
    """As CTranslate2's converter: names with slashes, queries, keys and values joined."""
    source = weights()
    tensors = {
        f"encoder/{name.replace('.', '/')}": source[name] for name in source if "conv" in name
    }
    tensors["encoder/position_encodings/encodings"] = source["positional_embedding"]
    norms = [("ln_post", "layer_norm")]
    for index in range(LAYERS):
        ours, theirs = f"blocks.{index}", f"layer_{index}"
        for kind in ("weight", "bias"):
            zero = torch.zeros(WIDTH)
            parts = [
                source.get(f"{ours}.attn.{part}.{kind}", zero) for part in ("query", "key", "value")
            ]
            start = f"encoder/{theirs}"
            tensors[f"{start}/self_attention/linear_0/{kind}"] = torch.cat(parts)
            tensors[f"{start}/self_attention/linear_1/{kind}"] = source[f"{ours}.attn.out.{kind}"]
            tensors[f"{start}/ffn/linear_0/{kind}"] = source[f"{ours}.mlp.0.{kind}"]
            tensors[f"{start}/ffn/linear_1/{kind}"] = source[f"{ours}.mlp.2.{kind}"]
        norms.append((f"{ours}.attn_ln", f"{theirs}/self_attention/layer_norm"))
        norms.append((f"{ours}.mlp_ln", f"{theirs}/ffn/layer_norm"))
    for ours, theirs in norms:
        tensors[f"encoder/{theirs}/gamma"] = source[f"{ours}.weight"]
        tensors[f"encoder/{theirs}/beta"] = source[f"{ours}.bias"]
    tensors["decoder/embeddings/weight"] = torch.zeros(3, WIDTH)
    codes = {torch.float32: 0, torch.int8: 1, torch.float16: 4}

    def text(value: str) -> bytes:
        data = value.encode() + b"\0"
        return struct.pack("<H", len(data)) + data

    out = struct.pack("<I", version) + text("WhisperSpec") + struct.pack("<II", 3, len(tensors) + 1)
    out += text("encoder/num_heads") + struct.pack("<BBIh", 0, 2, 2, 1)
    for name, tensor in tensors.items():
        data = tensor.to(dtype).numpy().tobytes()
        out += text(name) + struct.pack("<B", tensor.dim())
        out += struct.pack(f"<{tensor.dim()}I", *tensor.shape)
        out += struct.pack("<BI", codes[dtype], len(data)) + data
    path.write_bytes(out + struct.pack("<I", 0))


def second_route(mel: Tensor) -> Tensor:
    """Return `[frames, WIDTH]` for `[1, 80, 2 * frames]`, by torch's own layers."""
    source = weights()
    gelu, conv = nn.functional.gelu, nn.functional.conv1d
    x = gelu(conv(mel, source["conv1.weight"], source["conv1.bias"], padding=1))
    x = gelu(conv(x, source["conv2.weight"], source["conv2.bias"], stride=2, padding=1))
    x = x.transpose(1, 2) + source["positional_embedding"][: x.shape[2]]
    for index in range(LAYERS):
        layer = nn.TransformerEncoderLayer(
            WIDTH, 1, 4 * WIDTH, 0, "gelu", batch_first=True, norm_first=True
        )
        block = {
            n.removeprefix(f"blocks.{index}."): t
            for n, t in source.items()
            if n.startswith(f"blocks.{index}.")
        } | {"attn.key.bias": torch.zeros(WIDTH)}
        names = {"out_proj": "attn.out", "linear1": "mlp.0", "linear2": "mlp.2"}
        state = {}
        for kind in ("weight", "bias"):
            parts = [block[f"attn.{part}.{kind}"] for part in ("query", "key", "value")]
            state[f"self_attn.in_proj_{kind}"] = torch.cat(parts)
            state[f"self_attn.out_proj.{kind}"] = block[f"{names['out_proj']}.{kind}"]
            state[f"linear1.{kind}"] = block[f"{names['linear1']}.{kind}"]
            state[f"linear2.{kind}"] = block[f"{names['linear2']}.{kind}"]
            state[f"norm1.{kind}"] = block[f"attn_ln.{kind}"]
            state[f"norm2.{kind}"] = block[f"mlp_ln.{kind}"]
        layer.load_state_dict(state)
        x = layer(x)
    weight, bias = source["ln_post.weight"], source["ln_post.bias"]
    return nn.functional.layer_norm(x, (WIDTH,), weight, bias)[0]
