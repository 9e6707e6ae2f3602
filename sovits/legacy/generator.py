"""Write `G_*.pth` and `config.json` that so-vits-svc 4.x and its fork read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch

from sovits.config import Config, SynthesizerConfig
from sovits.errors import OutputError, VoiceError
from sovits.legacy.checkpoint import State
from sovits.legacy.settings import config_to_json
from sovits.models.build import make_synthesizer

KINDS = ("hifi-gan", "istft", "ms-istft", "mb-istft")
"""Decoders that others have too."""


def write_generator(path: Path, state: State, config: Config, *, iteration: int = 0) -> Path:
    """Write a generator's weights, and its settings as `config.json` beside them.

    Args:
        path: Where to; others look for names such as `G_800.pth`.
        state: Weights under the fork's names, folded or not, with or without the posterior.
        config: Settings, of the network that the weights are of.
        iteration: Epoch to write into the file.

    Returns:
        Where the settings are.

    Raises:
        VoiceError: Nobody else has such a network.
        OutputError: Another `config.json` is there, or one of the two cannot be written.
    """
    network = config.voice.synthesizer
    if not isinstance(network, SynthesizerConfig) or network.decoder not in KINDS:
        kind = network.decoder if isinstance(network, SynthesizerConfig) else network.architecture
        raise VoiceError.of_our_own(kind, KINDS)
    beside = path.with_name("config.json")
    text = json.dumps(config_to_json(config), indent=2, ensure_ascii=False) + "\n"
    if beside.exists() and beside.read_bytes() != text.encode():
        raise OutputError.other_settings_there(beside)
    content = {
        "model": _unfolded(state, config),
        "iteration": iteration,
        "optimizer": None,
        "learning_rate": config.train.learning_rate,
    }
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        if not beside.exists():
            beside.write_text(text, "utf-8")
        part.replace(path)
    except (OSError, RuntimeError) as error:  # torch hides a full disk behind a RuntimeError
        raise OutputError.cannot_write(path, str(error).splitlines()[0][:200]) from error
    finally:
        part.unlink(missing_ok=True)
    return beside


def _unfolded(state: State, config: Config) -> State:
    """Return kernels as direction and length, as others have them, in float32."""
    network = make_synthesizer(config.voice.synthesizer, config.voice.audio, posterior=False)
    made = {name: tensor.float() for name, tensor in state.items()}
    for name in network.state_dict():
        base = name.removesuffix("_g")
        if name.endswith(".weight_g") and base in made:
            kernel = made.pop(base)
            axes = tuple(range(1, kernel.dim()))
            made[f"{base}_v"] = kernel
            made[name] = kernel.square().sum(axes, keepdim=True).sqrt()
    return made
