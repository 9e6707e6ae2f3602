"""A training that takes milliseconds a step: a tiny network, and features made of harmonics."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from sovits.config import (
    AudioConfig,
    Config,
    DecoderKind,
    DiscriminatorConfig,
    NativeConfig,
    SynthesizerConfig,
    TrainConfig,
    VoiceConfig,
)
from sovits.legacy.settings import write_config

AUDIO = AudioConfig(sample_rate=8000, hop_length=64, n_fft=256, n_mels=20)
CHANNELS = 6
CONTENT = "toy"

RATES: dict[DecoderKind, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "hifi-gan": ((8, 8), (16, 16)),
    "istft": ((4, 4), (8, 8)),
    "ms-istft": ((2, 2), (4, 4)),
    "mb-istft": ((2, 2), (4, 4)),
    "harmonic": ((8, 8), (16, 16)),  # not used
}


def toy_config(folder: Path, decoder: DecoderKind = "hifi-gan", **train: Any) -> Config:
    """Return a configuration of two speakers whose lists lie in `folder`."""
    rates, kernels = RATES[decoder]
    synthesizer = SynthesizerConfig(
        content_channels=CHANNELS,
        inter_channels=4,
        hidden_channels=8,
        filter_channels=12,
        n_layers=1,
        speaker_channels=4,
        n_speakers=3,
        flow_layers=1,
        posterior_layers=1,
        decoder=decoder,
        resblock="2",
        resblock_kernel_sizes=(3,),
        resblock_dilations=((1, 3),),
        upsample_rates=rates,
        upsample_kernel_sizes=kernels,
        upsample_initial_channels=16,
    )
    settings: dict[str, Any] = {
        "batch_size": 2,
        "segment_frames": 8,
        "context_frames": 16,
        "log_interval": 1,
        "eval_interval": 1000,
        "stft_fft_sizes": (32, 64),
        "stft_hop_lengths": (4, 8),
        "stft_window_lengths": (24, 60),
        "training_files": str(folder / "train.txt"),
        "validation_files": str(folder / "val.txt"),
    }
    return Config(
        VoiceConfig(AUDIO, synthesizer, CONTENT, {"alice": 0, "bob": 1}),
        DiscriminatorConfig(periods=(2, 3), width=0.01),
        TrainConfig(**settings | train),
    )


def light_config(folder: Path, latent: int = 0, **train: Any) -> Config:
    """Return the same of the light network."""
    config = toy_config(folder, **{k: v for k, v in train.items() if k != "moved"})
    network = NativeConfig(
        content_channels=CHANNELS,
        speaker_channels=4,
        n_speakers=3,
        width=8,
        prior_blocks=1,
        decoder_blocks=1,
        kernel_size=3,
        expansion=1,
        harmonic_bands=8,
        noise_bands=6,
        latent=latent,
        flow_layers=2 if latent else 0,
    )
    judges = DiscriminatorConfig(periods=(2,), width=0.05, scale=False, spectra=(64,))
    config = replace(config, voice=replace(config.voice, synthesizer=network), discriminator=judges)
    return replace(config, train=replace(config.train, moved=train.get("moved", 0.0)))


def light(folder: Path, latent: int = 0, **train: Any) -> Path:
    """Write a data set and a configuration of the light network."""
    toy_dataset(folder)
    path = folder / "config.json"
    write_config(path, light_config(folder, latent, **train))
    return path


def make_features(
    path: Path, frames: int, hz: float, seed: int = 0, **metadata: str
) -> dict[str, Tensor]:
    """Write the features of a clip that glides up from `hz`, and return them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    f0 = hz * torch.linspace(1, 1.5, frames)
    turns = f0.repeat_interleave(AUDIO.hop_length).double().cumsum(0) / AUDIO.sample_rate
    wave = sum(torch.sin(2 * math.pi * k * turns) / k for k in range(1, 5))
    assert isinstance(wave, Tensor)
    tensors = {
        "wave": (8000 * wave).to(torch.int16),
        "content": torch.randn(CHANNELS, max(1, frames * 3 // 4), generator=generator).half(),
        "f0": f0,
        "voiced": torch.arange(frames) % 7 > 0,
        "volume": torch.full((frames,), 0.2),
    }
    settings = {
        "content": CONTENT,
        "sample_rate": str(AUDIO.sample_rate),
        "hop_length": str(AUDIO.hop_length),
        "f0_method": "crepe-tiny",  # so that the quicker one judges
    }
    save_file(tensors, path.with_name(path.name + ".features.safetensors"), settings | metadata)
    return tensors


def toy_dataset(folder: Path, frames: tuple[int, ...] = (40, 60, 24, 10)) -> None:
    """Write clips of two speakers, and their lists."""
    lists: dict[str, list[Path]] = {"train": [], "val": []}
    for speaker, hz in (("alice", 220.0), ("bob", 110.0)):
        for i, count in enumerate(frames):
            clip = folder / speaker / f"{i}.wav"
            make_features(clip, count, hz * (1 + i / 10), seed=i)
            lists["val" if i == 0 else "train"].append(clip)
    for name, clips in lists.items():
        (folder / f"{name}.txt").write_text("".join(f"{clip}\n" for clip in clips))


def toy(folder: Path, decoder: DecoderKind = "hifi-gan", **train: Any) -> Path:
    """Write a data set and its configuration; return the configuration's path."""
    toy_dataset(folder)
    return set_toy(folder, decoder, **train)


def set_toy(folder: Path, decoder: DecoderKind = "hifi-gan", **train: Any) -> Path:
    """Write the configuration alone, with other settings."""
    path = folder / "config.json"
    write_config(path, toy_config(folder, decoder, **train))
    return path


def without_dropout(config: Config) -> Config:
    """Return a configuration whose network does not depend on chance but in its latent."""
    return replace(
        config,
        voice=replace(config.voice, synthesizer=replace(config.voice.synthesizer, dropout=0.0)),
    )
