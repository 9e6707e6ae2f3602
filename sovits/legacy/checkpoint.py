"""Read `G_*.pth` of so-vits-svc 4.0, 4.1 and the fork, and know what they are by their shapes."""

from __future__ import annotations

import pickle
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sovits.config import Config, SynthesizerConfig, VoiceConfig
from sovits.errors import VoiceError

State = dict[str, Tensor]

# What gives a network away that only shares its file name with ours.
OTHERS = (
    (re.compile(r"dec\.snake"), "4.1 with the nsf-snake-hifigan vocoder"),
    (re.compile(r"flow\.flows\.\d+\.enc\.(self_attn|cond_pre)"), "4.1 with a transformer flow"),
    (re.compile(r"flow\.wn\."), "4.1 with shared flow parameters"),
    (re.compile(r"\.in_layers\.\d+\.depth_conv"), "4.1 with depthwise convolutions"),
    (re.compile(r"dec_harm\.|dec\.(harmonic|dsp)|mel_decoder"), "so-vits-svc 4.0-v2 (VISinger2)"),
    (re.compile(r"enc_p\.(hub|pit|pre)\b|flow\.flows\.\d+\.enc\.snake|spk_adapter"),
     "so-vits-svc 5.0 (whisper-vits-svc)"),
    (re.compile(r"enc_p\.emb_(phone|pitch)\."), "RVC"),
    (re.compile(r"unit2ctrl\.|denoise_fn\."), "a DDSP or diffusion model"),
)  # fmt: skip


def read_state(path: Path) -> State:
    """Return the tensors of a generator's file, as float32 and under the fork's names.

    Raises:
        VoiceError: The file is missing, damaged, no generator, or needs code to be read.
    """
    if not path.is_file():
        raise VoiceError.missing(path)
    state = _unwrap(path, _load(path))
    for pattern, kind in OTHERS:
        if any(pattern.search(name) for name in state):
            raise VoiceError.other_kind(path, kind)
    if "emb_g.weight" not in state or "dec.conv_pre.bias" not in state:
        raise VoiceError.not_a_generator(path, sorted(state))
    for name, tensor in state.items():
        if not bool(tensor.isfinite().all()):
            raise VoiceError.not_finite(path, name)
    return state


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        head = file.read(2)
    if head != b"PK" and head[:1] != b"\x80":
        raise VoiceError.not_a_checkpoint(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise VoiceError.needs_code(path) from error
    except (RuntimeError, EOFError, OSError, zipfile.BadZipFile, ValueError, KeyError,
            AttributeError, IndexError, TypeError) as error:  # fmt: skip
        reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else "no reason"
        raise VoiceError.damaged(path, reason) from error


def _unwrap(path: Path, content: Any) -> State:
    """Return the state dict inside a checkpoint, with modern names made old."""
    table = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(table, dict):
        raise VoiceError.not_a_generator(path, [])
    state: State = {}
    for name, tensor in table.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            continue
        name = name.removeprefix("module.")
        name = name.replace("parametrizations.weight.original0", "weight_g")
        name = name.replace("parametrizations.weight.original1", "weight_v")
        state[name] = tensor.float() if tensor.is_floating_point() else tensor
    return state


def described_by(state: State, config: Config, path: Path) -> tuple[VoiceConfig, list[str]]:
    """Return the settings of a voice, from its tensors where they tell and its config elsewhere.

    Returns:
        The settings, and remarks on what was settled in favour of the tensors.

    Raises:
        VoiceError: The tensors contradict the config, so one of them belongs to another model.
    """
    told = config.voice.synthesizer
    seen = _seen(state)
    remarks = []
    for name, value in seen.items():
        expected = getattr(told, name)
        if expected == value:
            continue
        if name in ("n_speakers", "predicts_f0", "volume"):
            remarks.append(f"{path.name}: {name} is {value}, though the config says {expected}.")
        else:
            raise VoiceError.contradiction(path, name, value, expected)
    synthesizer = replace(told, **seen)
    return replace(config.voice, synthesizer=synthesizer), remarks


def _seen(state: State) -> dict[str, Any]:
    """Return the settings that the shapes of the tensors tell."""

    def size(name: str, axis: int) -> int:
        return state[name].shape[axis]

    def count(pattern: str) -> int:
        found = (re.match(pattern, name) for name in state)
        return len({match[1] for match in found if match})

    seen: dict[str, Any] = {
        "decoder": _decoder(state),
        "volume": "emb_vol.weight" in state,
        "predicts_f0": "f0_decoder.proj.weight" in state,
        "n_layers": count(r"enc_p\.enc_\.attn_layers\.(\d+)\."),
        "flow_layers": count(r"flow\.flows\.0\.enc\.in_layers\.(\d+)\."),
    }
    shapes = {
        "content_channels": ("pre.weight", 1),
        "hidden_channels": ("pre.weight", 0),
        "n_speakers": ("emb_g.weight", 0),
        "speaker_channels": ("emb_g.weight", 1),
        "filter_channels": ("enc_p.enc_.ffn_layers.0.conv_1.weight", 0),
        "kernel_size": ("enc_p.enc_.ffn_layers.0.conv_1.weight", 2),
        "upsample_initial_channels": ("dec.conv_pre.bias", 0),
    }
    seen |= {setting: size(name, axis) for setting, (name, axis) in shapes.items() if name in state}
    if "enc_p.proj.weight" in state:
        seen["inter_channels"] = size("enc_p.proj.weight", 0) // 2
    relative = state.get("enc_p.enc_.attn_layers.0.emb_rel_k")
    if relative is not None and relative.dim() == 3 and "hidden_channels" in seen:
        seen["n_heads"] = seen["hidden_channels"] // max(1, relative.shape[2])
    if any(name.startswith("dec.resblocks.") for name in state):
        seen["resblock"] = "1" if any(".convs1." in name for name in state) else "2"
    return seen


def _decoder(state: State) -> str:
    if any(name.startswith("dec.m_source.") for name in state):
        return "hifi-gan"
    if any(name.startswith("dec.multistream_conv_post.") for name in state):
        return "ms-istft"
    if any(name.startswith("dec.subband_conv_post.") for name in state):
        return "mb-istft"
    return "istft"


def unfolded(state: State) -> State:
    """Return `state` with direction and length in place of kernels that were folded already."""
    lengths = {name for name in state if name.endswith(".weight_g")}
    if lengths:
        return state
    normed = re.compile(
        r"(dec\.(conv_pre|ups\.\d+|resblocks\.\d+\.convs[12]?\.\d+|conv_post|subband_conv_post"
        r"|multistream_conv_post)|.*\.enc\.(in_layers|res_skip_layers)\.\d+|.*\.enc\.cond_layer)"
        r"\.weight"
    )
    out: State = {}
    for name, tensor in state.items():
        if normed.fullmatch(name):
            length = tensor.flatten(1).norm(dim=1).view(-1, *[1] * (tensor.dim() - 1))
            out[name + "_g"], out[name + "_v"] = length, tensor
        else:
            out[name] = tensor
    return out


__all__ = ["State", "SynthesizerConfig", "described_by", "read_state", "unfolded"]
