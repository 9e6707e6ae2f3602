"""Read `G_*.pth` of so-vits-svc 4.0, 4.1, the fork and ours, and know them by their shapes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from sovits.config import Config, NativeConfig, VoiceConfig
from sovits.errors import VoiceError
from sovits.legacy.keys import NATIVE
from sovits.legacy.limits import MAX_PARAMETERS
from sovits.legacy.unpickle import is_plain, unpickle

State = dict[str, Tensor]

WRAPPERS = ("average", "model", "weight", "model_g", "generator")
"""Where checkpoints keep tensors: an average of ours, so-vits-svc, RVC, so-vits-svc 5.0, others."""
LIGHT = "shaper.head.weight"
"""Tensor that only the light network of this project has."""

# What gives away the networks of 4.1 that have other parts than ours.
VARIANTS = {
    r"dec\.snake": "the nsf-snake-hifigan vocoder",
    r"flow\.(wn|flows\.\d+\.enc)\.(self_attn|cond_pre)": "a transformer flow",
    r"flow\.wn\.": "shared flow parameters",
    r".*\.in_layers\.\d+\.depth_conv": "depthwise convolutions",
}
# What gives away a network that only shares its file name with ours.
OTHERS = {
    r"dec_harm\.|dec_noise\.|mel_decoder\.": "so-vits-svc 4.0-v2 (VISinger2)",
    r"enc_p_?\.(hub|pit)\.": "so-vits-svc 5.0 (whisper-vits-svc)",
    r"enc_p\.emb_(phone|pitch)\.": "RVC",
    r"(.*\.)?(unit2ctrl|unit_embed|denoise_fn|velocity_fn)\.": "a DDSP or diffusion model",
    r"m_source\.|noise_convs\.": "NSF-HiFiGAN, a vocoder",
}


def read_state(path: Path) -> State:
    """Return the tensors of a generator's file, under the fork's names.

    Raises:
        VoiceError: The file is missing, damaged, no generator, or needs code to be read.
    """
    if not path.is_file():
        raise VoiceError.missing(path)
    state = _unwrap(path, unpickle(path))

    def told_by(patterns: dict[str, str]) -> list[str]:
        return [
            kind for pattern, kind in patterns.items() if any(re.match(pattern, n) for n in state)
        ]

    if variants := told_by(VARIANTS):
        raise VoiceError.other_kind(path, "so-vits-svc 4.1 with " + " and ".join(variants))
    if others := told_by(OTHERS):
        raise VoiceError.other_kind(path, others[0])
    if "emb_g.weight" not in state or not state.keys() & {"dec.conv_pre.bias", LIGHT}:
        raise VoiceError.not_a_generator(path, sorted(state))
    return state


def is_folded(state: State) -> bool:
    """Return whether kernels are stored as they are, instead of as direction and length."""
    return not any(name.endswith(".weight_g") for name in state)


def _unwrap(path: Path, content: object) -> State:
    """Return the state dict inside a checkpoint, with modern names made old."""
    table = content
    if isinstance(content, dict):
        inner = (content[name] for name in WRAPPERS if isinstance(content.get(name), dict))
        table = next(inner, content)
    if not isinstance(table, dict):
        raise VoiceError.not_a_generator(path, [])
    state: State = {}
    for name, tensor in table.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            continue
        if not is_plain(tensor):
            raise VoiceError.damaged(path, f"{name[:80]} does not hold all of its numbers")
        old = name.removeprefix("module.")
        old = old.replace("parametrizations.weight.original0", "weight_g")
        state[old.replace("parametrizations.weight.original1", "weight_v")] = tensor
    # Tensors may share what is stored, and so be many times as large as the file.
    if sum(tensor.numel() for tensor in state.values()) > MAX_PARAMETERS:
        raise VoiceError.damaged(path, f"it holds more than {MAX_PARAMETERS:.0e} numbers")
    return state


def described_by(state: State, config: Config, path: Path) -> tuple[VoiceConfig, list[str]]:
    """Return the settings of a voice, from its tensors where they tell and its config elsewhere.

    Returns:
        The settings, and remarks on what was settled in favour of the tensors.

    Raises:
        VoiceError: The tensors contradict the config, so one of them belongs to another model.
    """
    told = config.voice.synthesizer
    light = isinstance(told, NativeConfig)
    if light != (LIGHT in state):
        found, expected = ("vits", NATIVE) if light else (NATIVE, "vits")
        raise VoiceError.contradiction(path, "architecture", found, expected)
    seen = _seen_light(state) if light else _seen(state)
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
    """Return the settings that the shapes of the tensors tell.

    Tensors with other axes than they should have tell nothing here; they are refused when all
    shapes are compared.
    """

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
    for setting, (name, axis) in shapes.items():
        if name in state and state[name].dim() > axis:
            seen[setting] = state[name].shape[axis]
    projection = state.get("enc_p.proj.weight")
    if projection is not None and projection.dim():
        seen["inter_channels"] = projection.shape[0] // 2
    relative = state.get("enc_p.enc_.attn_layers.0.emb_rel_k")
    if relative is not None and relative.dim() == 3 and "hidden_channels" in seen:
        seen["n_heads"] = seen["hidden_channels"] // max(1, relative.shape[2])
    if any(name.startswith("dec.resblocks.") for name in state):
        seen["resblock"] = "1" if any(".convs1." in name for name in state) else "2"
    return seen


def _seen_light(state: State) -> dict[str, Any]:
    """Return the same of the light network."""
    seen: dict[str, Any] = {
        f"{part}_blocks": len([n for n in state if re.match(rf"{part}\.blocks\.\d+\.scale$", n)])
        for part in ("prior", "decoder")
    }
    seen["flow_layers"] = len([n for n in state if n.endswith(".narrow.bias") and ".flow." in n])
    seen["latent"] = 0
    shapes = {
        "content_channels": ("content.weight", 1),
        "width": ("content.weight", 0),
        "n_speakers": ("emb_g.weight", 0),
        "speaker_channels": ("emb_g.weight", 1),
        "kernel_size": ("prior.blocks.0.depthwise.conv.weight", 3),
        "latent": ("latent.back.weight", 1),
    }
    for setting, (name, axis) in shapes.items():
        if name in state and state[name].dim() > axis:
            seen[setting] = state[name].shape[axis]
    return seen


def _decoder(state: State) -> str:
    if any(name.startswith("dec.m_source.") for name in state):
        return "hifi-gan"
    if "dec.head.weight" in state:
        return "harmonic"
    if any(name.startswith("dec.multistream_conv_post.") for name in state):
        return "ms-istft"
    if any(name.startswith("dec.subband_conv_post.") for name in state):
        return "mb-istft"
    return "istft"
