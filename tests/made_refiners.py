"""Refiners and vocoders of a few thousand random weights, in memory and in others' files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sovits.audio.mel import VOCODER_MEL
from sovits.config import AudioConfig, SynthesizerConfig
from sovits.models.nsf_vocoder import NsfVocoder
from sovits.models.unit2mel import Trained, Unit2Mel, Unit2MelConfig

SMALL = Unit2MelConfig(content_channels=12, n_layers=2, channels=16, hidden_channels=8)
NARROW = SynthesizerConfig(inter_channels=128, speaker_channels=0, upsample_initial_channels=32)

YAML = """\
data:
  block_size: 512
  sampling_rate: 44100
  duration: 2
  encoder: {encoder}
  encoder_out_channels: {content_channels}
  extensions:
  - wav
  training_files: filelists/train.txt
model:
  type: Diffusion
  n_layers: {n_layers}
  n_chans: {channels}
  n_hidden: {hidden_channels}
  use_pitch_aug: true
  timesteps: 1000
  k_step_max: {k_max}
  n_spk: {n_speakers}
device: cuda
vocoder:
  type: nsf-hifigan
  ckpt: {vocoder}
infer:
  speedup: 10
  method: dpm-solver++
train:
  lr: 0.0001
  amp_dtype: fp32
spk: {speakers}
"""
"""What so-vits-svc 4.1 writes, in short."""


def refiner(trained: Trained | None = None, **changes: Any) -> Unit2Mel:
    """Return a refiner whose every part matters."""
    torch.manual_seed(5)
    network = Unit2Mel(replace(SMALL, **changes), trained)
    torch.nn.init.normal_(network.denoiser.output_projection.weight, std=0.5)
    return network.eval().requires_grad_(False)


def vocoder(audio: AudioConfig = VOCODER_MEL) -> NsfVocoder:
    """Return a vocoder that is heard."""
    torch.manual_seed(6)
    network = NsfVocoder(NARROW, audio)
    with torch.no_grad():
        network.generator.conv_post.weight_g.mul_(3)
        network.generator.conv_post.bias.zero_()
        network.generator.m_source.l_linear.weight.fill_(1.0)
    return network.fold()


def write_refiner(
    folder: Path,
    network: Unit2Mel,
    *,
    encoder: str = "vec768l12",
    speakers: dict[str, int] | None = None,
    vocoder: str = "pretrain/nsf_hifigan/model",
    **settings: Any,
) -> Path:
    """Write `model_100.pt` and `diffusion.yaml` as so-vits-svc does, and return the former."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model_100.pt"
    torch.save({"global_step": 100, "model": network.state_dict()}, path)
    told = vars(network.config) | {"k_max": 0} | settings
    text = YAML.format(
        encoder=encoder, speakers=json.dumps(speakers or {}), vocoder=vocoder, **told
    )
    (folder / "diffusion.yaml").write_text(text)
    return path


def write_vocoder(folder: Path, **settings: Any) -> Path:
    """Write `model` and `config.json` as openvpi does, and return the former."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(6)
    network = NsfVocoder(NARROW, VOCODER_MEL)
    state = network.generator.state_dict()
    torch.save({"generator": state}, folder / "model")
    config = {
        "resblock": "1",
        "num_gpus": 4,
        "upsample_rates": [8, 8, 2, 2, 2],
        "upsample_kernel_sizes": [16, 16, 4, 4, 4],
        "upsample_initial_channel": 32,
        "resblock_kernel_sizes": [3, 7, 11],
        "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
        "num_mels": 128,
        "n_fft": 2048,
        "hop_size": 512,
        "win_size": 2048,
        "sampling_rate": 44100,
        "fmin": 40,
        "fmax": 16000,
        "fmax_for_loss": None,
    }
    (folder / "config.json").write_text(json.dumps(config | settings))
    return folder / "model"
