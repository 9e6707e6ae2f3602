"""How well a voice in training copies clips that it never learns from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from safetensors.torch import load_file
from torch import nn

from sovits.audio.mel import LogMel
from sovits.config import VoiceConfig
from sovits.features.content import stretch
from sovits.models.build import AnySynthesizer
from sovits.train.dataset import Recording

MAX_CLIPS = 6
MAX_SECONDS = 6.0


@torch.inference_mode()
def held_out_distance(
    synthesizer: nn.Module, recordings: Sequence[Recording], voice: VoiceConfig
) -> float:
    """Return the mean absolute log-mel distance of copies from the original clips.

    The copies are made from content and pitch alone, at the mean of the prior.
    """
    if not isinstance(synthesizer, AnySynthesizer):
        raise TypeError(f"{type(synthesizer).__name__} cannot convert.")
    device = next(synthesizer.parameters()).device
    log_mel = LogMel(voice.audio).to(device)
    distances = []
    count = min(MAX_CLIPS, len(recordings))
    for index in range(count):  # spread over the list, so that no speaker is left out early
        recording = recordings[index * len(recordings) // count]
        features = load_file(recording.path)
        frames = min(recording.frames, int(MAX_SECONDS * voice.audio.frame_rate))
        content = stretch(features["content"].float(), recording.frames)[:, :frames]
        copy = synthesizer.infer(
            content[None].to(device),
            features["f0"][None, :frames].to(device),
            features["voiced"][None, :frames].to(device),
            torch.tensor([recording.speaker], device=device),
            volume=features["volume"][None, :frames].to(device),
            noise_scale=0.0,
        )
        real = features["wave"][: frames * voice.audio.hop_length].float().to(device) / 32768
        distances.append(float((log_mel(copy) - log_mel(real[None])).abs().mean()))
    return sum(distances) / len(distances)
