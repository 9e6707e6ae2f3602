"""Read NSF-HiFiGAN checkpoints of openvpi: `model` and the `config.json` beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_type_hints

import torch

from sovits.config import AudioConfig, SynthesizerConfig, typed
from sovits.errors import ConfigError, RefinerError
from sovits.legacy.limits import check_finite, check_range, check_shape
from sovits.legacy.unpickle import is_plain, unpickle
from sovits.models.nsf_vocoder import NsfVocoder
from sovits.weights import load_into

MODEL, CONFIG = "model", "config.json"
LICENCE = (
    "NSF-HiFiGAN weights of openvpi are under CC BY-NC-SA 4.0: name openvpi, no commercial use, "
    "and share alike."
)
MAX_BYTES = 1 << 20

# Where each setting is in `config.json`, with its range.
_AUDIO = {
    "sample_rate": ("sampling_rate", 1000, 768_000),
    "hop_length": ("hop_size", 8, 16_384),
    "n_fft": ("n_fft", 16, 65_536),
    "n_mels": ("num_mels", 4, 1024),
    "mel_min": ("fmin", 0, 192_000),
    "mel_max": ("fmax", 1, 192_000),
}
_SHAPE = {
    "upsample_rates": ("upsample_rates", 1, 512),
    "upsample_kernel_sizes": ("upsample_kernel_sizes", 1, 1024),
    "upsample_initial_channels": ("upsample_initial_channel", 1, 16_384),
    "resblock": ("resblock", 0, 0),
    "resblock_kernel_sizes": ("resblock_kernel_sizes", 1, 255),
    "resblock_dilations": ("resblock_dilation_sizes", 1, 4096),
}


def read_nsf_hifigan(path: Path) -> NsfVocoder:
    """Return the vocoder in a file, on the CPU and folded; `remarks` has its licence.

    Args:
        path: The file `model`, or the folder that it is in.

    Raises:
        RefinerError: A file is missing, is something else, or describes what cannot be built.
        VoiceError: The file is damaged, or could only be read by running code from it.
        WeightsError: Tensors are missing, of another shape, or not finite.
    """
    if path.is_dir():
        path /= MODEL
    if not path.is_file():
        raise RefinerError.missing("vocoder: a file of ours, or the folder of NSF-HiFiGAN", path)
    settings = path.with_name(CONFIG)
    if not settings.is_file():
        raise RefinerError.no_settings(path, [settings])
    audio, shape = _settings(settings)
    content = unpickle(path)
    state = content.get("generator") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not any("m_source" in str(name) for name in state):
        raise RefinerError.not_a_vocoder(
            path, map(str, content if isinstance(content, dict) else ())
        )
    if not all(isinstance(tensor, torch.Tensor) and is_plain(tensor) for tensor in state.values()):
        raise RefinerError.not_a_vocoder(path, ["tensors that are not numbers one by one"])
    held = sum(tensor.numel() for tensor in state.values())
    width = shape.upsample_initial_channels
    if width * audio.n_mels * 7 > 2 * held:
        raise RefinerError.too_large(path, "a first layer of", width * audio.n_mels * 7, held)
    with torch.device("meta"):
        vocoder = NsfVocoder(shape, audio)
    named = {f"generator.{name.removeprefix('module.')}": x for name, x in state.items()}
    load_into(vocoder, named, path)
    vocoder.fold()
    vocoder.remarks = [LICENCE]
    return vocoder


def _settings(path: Path) -> tuple[AudioConfig, SynthesizerConfig]:
    """Return what a `config.json` of a vocoder tells."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RefinerError.bad_settings(path, f"more than {MAX_BYTES >> 20} MB")
        table = json.loads(path.read_text("utf-8-sig"))
    except (ValueError, RecursionError, OSError) as error:
        raise RefinerError.bad_settings(path, "it is no JSON") from error
    if not isinstance(table, dict):
        raise RefinerError.bad_settings(path, "there are no settings in it")
    if table.get("mini_nsf"):
        raise RefinerError.bad_settings(path, "mini_nsf (PC-NSF-HiFiGAN) is another network")
    try:
        audio = AudioConfig(**_chosen(table, AudioConfig, _AUDIO))
        told = _chosen(table, SynthesizerConfig, _SHAPE)
        shape = SynthesizerConfig(inter_channels=audio.n_mels, speaker_channels=0, **told)
        check_shape(audio, shape)
    except ConfigError as error:
        raise RefinerError.bad_settings(path, str(error)) from error
    if (made := shape.samples_per_frame()) != audio.hop_length:
        raise RefinerError.bad_settings(
            path, f"upsample_rates make {made} samples a frame, but hop_size is {audio.hop_length}"
        )
    return audio, shape


def _chosen(
    table: dict[str, Any], kind: type, places: dict[str, tuple[str, int, int]]
) -> dict[str, Any]:
    """Return settings by our names; those that are not there keep their defaults."""
    hints, chosen = get_type_hints(kind), {}
    for name, (key, low, high) in places.items():
        if key in table:
            check_finite(key, table[key])
            chosen[name] = typed(hints[name], table[key], key)
            if high:
                check_range(key, chosen[name], low, high)
    return chosen
