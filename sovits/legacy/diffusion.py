"""Read the refiners of so-vits-svc 4.1: `model_*.pt` and the `diffusion.yaml` beside it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sovits.audio.mel import VOCODER_MEL
from sovits.config import AudioConfig
from sovits.errors import RefinerError
from sovits.legacy.checkpoint import State
from sovits.legacy.keys import ENCODERS
from sovits.legacy.limits import MAX_PARAMETERS
from sovits.legacy.unpickle import is_plain, unpickle
from sovits.legacy.yaml_file import read_yaml
from sovits.models.diffusion import linear_betas
from sovits.models.unit2mel import (
    HIGHEST,
    LOWEST,
    Trained,
    Unit2Mel,
    Unit2MelConfig,
    tables,
)
from sovits.weights import load_into

BESIDE = ("diffusion.yaml", "config.yaml")
"""Names that settings have beside a refiner."""
MARK = "decoder.denoise_fn.input_projection.weight"
"""Tensor that every refiner of this kind has, and nothing else."""
MAX_LAYERS, MAX_STEPS = 128, 100_000

Table = dict[str, dict[str, Any]]


def read_refiner(path: Path, settings: Path | None = None) -> Unit2Mel:
    """Return a refiner of so-vits-svc 4.1, on the CPU.

    Its shape is told by its tensors; the settings tell its encoder, its mel and its speakers.

    Args:
        path: `model_*.pt`.
        settings: `diffusion.yaml`; that or `config.yaml` beside it if not given.

    Raises:
        RefinerError: A file is missing, is something else, or contradicts the other.
        VoiceError: The file is damaged, or could only be read by running code from it.
        WeightsError: Tensors are missing, of another shape, or not finite.
    """
    if not path.is_file():
        raise RefinerError.missing("refiner, model_*.pt", path)
    state = _read_state(path)
    beside = [path.with_name(name) for name in BESIDE]
    found = settings or next((file for file in beside if file.is_file()), None)
    if found is None:
        raise RefinerError.no_settings(path, beside)
    table = read_yaml(found)
    config = _shape(path, state)
    config, remarks = _told(found, path, config, table)
    trained = _trained(found, config, table)
    with torch.device("meta"):
        network = Unit2Mel(config, trained)
    load_into(network, _tables(config, state) | state, path)
    low, high = float(network.decoder.spec_min.min()), float(network.decoder.spec_max.max())
    if not low < high:
        raise RefinerError.contradiction(path, "spec_max", high, f"above spec_min, {low:g}")
    betas = network.decoder.betas
    if not bool(((betas > 0) & (betas < 1)).all()):
        raise RefinerError.contradiction(path, "betas", float(betas.max()), "between 0 and 1")
    network.remarks = remarks
    return network


def _read_state(path: Path) -> State:
    """Return the tensors of a refiner."""
    content = unpickle(path)
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    table = content if isinstance(content, dict) else {}
    state = {
        name.removeprefix("module."): value
        for name, value in table.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    if MARK not in state or "unit_embed.weight" not in state:
        raise RefinerError.not_a_refiner(path, sorted(state))
    if not all(is_plain(tensor) and tensor.is_floating_point() for tensor in state.values()):
        raise RefinerError.not_a_refiner(path, ["tensors that are not numbers one by one"])
    # Tensors may share what is stored, and so be many times as large as the file.
    if (total := sum(tensor.numel() for tensor in state.values())) > MAX_PARAMETERS:
        raise RefinerError.too_large(path, "a number of parameters of", total, MAX_PARAMETERS)
    return state


def _shape(path: Path, state: State) -> Unit2MelConfig:
    """Return the shape of the network that the tensors belong to."""
    for name in (MARK, "unit_embed.weight"):
        if state[name].dim() != (3 if name == MARK else 2):
            raise RefinerError.contradiction(path, name, tuple(state[name].shape), "a matrix")
    pattern = r"decoder\.denoise_fn\.residual_layers\.(\d{1,6})\."
    layers = {int(match[1]) for name in state if (match := re.match(pattern, name))}
    count = len(layers)
    if count > MAX_LAYERS:
        raise RefinerError.too_large(path, "a number of layers of", count, MAX_LAYERS)
    channels, bands = state[MARK].shape[:2]
    if bands != VOCODER_MEL.n_mels:
        raise RefinerError.other("mel bands:", bands, "its vocoder", VOCODER_MEL.n_mels)
    speakers = state.get("spk_embed.weight")
    betas = state.get("decoder.betas")
    steps = 1000 if betas is None else betas.numel()
    if not 1 <= steps <= MAX_STEPS:
        raise RefinerError.too_large(path, "a number of steps of", steps, MAX_STEPS)
    hidden, content = state["unit_embed.weight"].shape
    config = Unit2MelConfig(
        content_channels=content,
        n_layers=count,
        channels=channels,
        hidden_channels=hidden,
        n_speakers=1 if speakers is None else len(speakers),
        pitch_shifted="aug_shift_embed.weight" in state,
        timesteps=steps,
        k_max=steps,
    )
    held = sum(tensor.numel() for tensor in state.values())
    if (described := count * channels * (9 * channels + 2 * hidden)) > 2 * held + 1e6:
        raise RefinerError.too_large(path, "a number of parameters of", described, held)
    return config


def _told(
    file: Path, path: Path, config: Unit2MelConfig, table: Table
) -> tuple[Unit2MelConfig, list[str]]:
    """Return the shape with what only settings tell, and remarks on what they got wrong.

    What belongs to another network is refused; what makes no difference is told.
    """
    data, model = table.get("data", {}), table.get("model", {})
    kind = model.get("type", "Diffusion")
    if kind != "Diffusion":
        raise RefinerError.contradiction(path, "model.type", "Diffusion", kind)
    remarks = []
    for section, key, name, strict in (
        (data, "encoder_out_channels", "content_channels", True),
        (model, "n_hidden", "hidden_channels", True),
        (model, "timesteps", "timesteps", True),
        (model, "n_spk", "n_speakers", True),
        (model, "n_layers", "n_layers", False),
        (model, "n_chans", "channels", False),
    ):
        told, seen = section.get(key), getattr(config, name)
        if told is None or told == seen:
            continue
        if strict:
            raise RefinerError.contradiction(path, key, seen, told)
        remarks.append(f"{path.name}: {key} is {seen}, though {file.name} says {told}.")
    k_max = model.get("k_step_max") or 0
    if type(k_max) is not int or not 0 <= k_max <= config.timesteps:
        wanted = f"k_step_max is {k_max!r}, not between 0 and {config.timesteps}"
        raise RefinerError.bad_settings(file, wanted)
    return replace(config, k_max=k_max or config.timesteps), remarks


def _trained(file: Path, config: Unit2MelConfig, table: Table) -> Trained:
    """Return what the settings tell of the data."""
    data = table.get("data", {})
    rate, hop = data.get("sampling_rate", 44_100), data.get("block_size", 512)
    for key, value, low, high in (
        ("sampling_rate", rate, 1000, 768_000),
        ("block_size", hop, 8, 2048),
    ):
        if type(value) is not int or not low <= value <= high:
            raise RefinerError.bad_settings(file, f"{key} is {value!r:.80}")
    speakers = table.get("spk", {})
    for name, row in speakers.items():
        if type(row) is not int or not 0 <= row < max(config.n_speakers, 1):
            most = config.n_speakers - 1
            raise RefinerError.bad_settings(
                file, f"spk.{name[:80]} is {row!r:.80}, but rows go from 0 to {most}"
            )
    encoder = data.get("encoder")
    vocoder = table.get("vocoder", {}).get("ckpt")
    return Trained(
        AudioConfig(rate, hop, 2048, VOCODER_MEL.n_mels, VOCODER_MEL.mel_min, VOCODER_MEL.mel_max),
        ENCODERS.get(encoder, encoder) if isinstance(encoder, str) else None,
        speakers,
        vocoder if isinstance(vocoder, str) else None,
    )


def _tables(config: Unit2MelConfig, state: State) -> State:
    """Return the tables that everybody can compute, and that some files leave out."""
    betas = state.get("decoder.betas", linear_betas(config.timesteps)).double().flatten()
    made = {f"decoder.{name}": table.float() for name, table in tables(betas).items()}
    made["decoder.spec_min"] = torch.full((1, 1, 1), LOWEST)
    made["decoder.spec_max"] = torch.full((1, 1, 1), HIGHEST)
    return made
