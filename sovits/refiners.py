"""Refiners and vocoders by their files, ours and others'."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import torch

from sovits.errors import RefinerError
from sovits.legacy.diffusion import read_refiner as read_diffusion
from sovits.legacy.nsf_hifigan import read_nsf_hifigan
from sovits.models.refiner import NativeRefiner, read_refiner
from sovits.models.unit2mel import Unit2Mel
from sovits.models.vocoder import VOCODER_FILE, read_vocoder
from sovits.refine import MelVocoder

AnyRefiner: TypeAlias = Unit2Mel | NativeRefiner
"""A refiner of one kind or another."""
BESIDE = "refiner.safetensors"
"""Name of the refiner of a voice, or its end after the voice's own name."""
LEGACY = "diffusion"
"""Folder beside a voice where so-vits-svc keeps refiners, model_*.pt."""


def load_refiner(
    model: Path | str, config: Path | str | None = None, *, device: str | torch.device = "cpu"
) -> AnyRefiner:
    """Read a refiner.

    Args:
        model: One of ours (`.safetensors`), or `model_*.pt` of so-vits-svc 4.1.
        config: `diffusion.yaml` of the latter; that or `config.yaml` beside it if not given.
        device: Where it computes.

    Raises:
        RefinerError: There is none, or it contradicts its settings.
        VoiceError: It is damaged, or could only be read by running code from it.
        WeightsError: Its tensors are not those of its kind.
    """
    path = Path(model)
    if not path.is_file():
        raise RefinerError.missing("refiner: one of ours, or model_*.pt of so-vits-svc", path)
    if is_safetensors(path):
        refiner = read_refiner(path)
        refiner.network.to(device)
        return refiner
    return read_diffusion(path, None if config is None else Path(config)).to(device)


def load_vocoder(
    path: Path | str | None = None, *, device: str | torch.device = "cpu"
) -> MelVocoder:
    """Read a vocoder.

    Args:
        path: One of ours (`.safetensors`), or NSF-HiFiGAN of openvpi: the file `model`, or the
            folder that it is in. The bundled one if not given.
        device: Where it computes.

    Raises:
        RefinerError: There is none, or it is something else.
        VoiceError: It is damaged, or could only be read by running code from it.
        WeightsError: Its tensors are not those of its kind.
    """
    if path is None:
        if not VOCODER_FILE.is_file():
            raise RefinerError.no_vocoder()
        return read_vocoder().to(device)
    path = Path(path)
    if path.is_file() and is_safetensors(path):
        return read_vocoder(path).to(device)
    return read_nsf_hifigan(path).to(device)


def refiner_beside(voice: Path | None) -> Path:
    """Return the refiner beside a voice's file.

    That is NAME.refiner.safetensors, refiner.safetensors, or the highest diffusion/model_*.pt.

    Raises:
        RefinerError: There is none.
    """
    if voice is not None:
        for path in (voice.with_name(f"{voice.stem}.{BESIDE}"), voice.with_name(BESIDE)):
            if path.is_file():
                return path
        numbered = {
            int(path.stem.removeprefix("model_")): path
            for path in voice.parent.glob(f"{LEGACY}/model_*.pt")
            if path.stem.removeprefix("model_").isdecimal()
        }
        if numbered:
            return numbered[max(numbered)]
    raise RefinerError.none()


def vocoder_of(refiner: AnyRefiner, path: Path) -> Path | None:
    """Return the vocoder that a refiner's settings name, if it is there.

    It is looked for where so-vits-svc looks, from the working folder, and from the refiner's.
    """
    told = refiner.trained.vocoder if isinstance(refiner, Unit2Mel) else None
    if told is None or Path(told).is_absolute() or ".." in Path(told).parts:
        return None
    return next((file for file in (Path(told), path.parent / told) if file.is_file()), None)


def is_safetensors(path: Path) -> bool:
    """Return whether a file begins as those of safetensors do."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"
