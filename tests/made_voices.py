"""Voices of a few thousand random weights, in the files of this and of other programs."""

from __future__ import annotations

import copy
import json
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sovits.config import (
    AudioConfig,
    DecoderKind,
    NativeConfig,
    SynthesizerConfig,
    VoiceConfig,
)
from sovits.errors import SovitsError, VoiceError
from sovits.models.build import AnySynthesizer, make_synthesizer
from sovits.models.synthesizer import Synthesizer
from sovits.voice import Voice, load_voice

State = dict[str, Tensor]
Table = dict[str, Any]

RATES: dict[DecoderKind, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "hifi-gan": ((8, 8, 2, 2, 2), (16, 16, 4, 4, 4)),
    "istft": ((8, 8, 2), (16, 16, 4)),
    "ms-istft": ((8, 4), (32, 16)),
    "mb-istft": ((8, 4), (32, 16)),
}
"""Factors and kernels that make 512 samples a frame."""

# As the fork writes it, but narrow.
FORK: Table = {
    "train": {"segment_size": 10240, "epochs": 10000, "port": "8001"},
    "data": {
        "training_files": "filelists/44k/train.txt",
        "max_wav_value": 32768.0,
        "sampling_rate": 44100,
        "filter_length": 2048,
        "hop_length": 512,
        "win_length": 2048,
        "n_mel_channels": 80,
        "mel_fmin": 0.0,
        "mel_fmax": 22050,
        "contentvec_final_proj": False,
    },
    "model": {
        "inter_channels": 4,
        "hidden_channels": 8,
        "filter_channels": 12,
        "n_heads": 2,
        "n_layers": 2,
        "kernel_size": 3,
        "p_dropout": 0.1,
        "resblock": "1",
        "resblock_kernel_sizes": [3, 7, 11],
        "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
        "upsample_rates": [8, 8, 2, 2, 2],
        "upsample_initial_channel": 32,
        "upsample_kernel_sizes": [16, 16, 4, 4, 4],
        "n_layers_q": 3,
        "use_spectral_norm": False,
        "gin_channels": 6,
        "ssl_dim": 768,
        "n_speakers": 5,
        "type_": "hifi-gan",
    },
    "spk": {"alice": 0, "bob": 1},
}


def fork_config(decoder: DecoderKind = "hifi-gan", **model: Any) -> Table:
    """Return a `config.json` of the fork; a value of None removes a key of the model."""
    table = copy.deepcopy(FORK)
    rates, kernels = RATES[decoder]
    table["model"] |= {"type_": decoder, "upsample_rates": rates, "upsample_kernel_sizes": kernels}
    if decoder != "hifi-gan":
        table["model"] |= {"gen_istft_n_fft": 16, "gen_istft_hop_size": 4, "subbands": 4}
    table["model"] |= model
    table["model"] = {key: value for key, value in table["model"].items() if value is not None}
    return table


def synthesizer_config(decoder: DecoderKind = "hifi-gan", **changes: Any) -> SynthesizerConfig:
    """Return the network that `fork_config` describes."""
    rates, kernels = RATES[decoder]
    settings: dict[str, Any] = {
        "content_channels": 768,
        "inter_channels": 4,
        "hidden_channels": 8,
        "filter_channels": 12,
        "n_layers": 2,
        "speaker_channels": 6,
        "n_speakers": 5,
        "decoder": decoder,
        "upsample_rates": rates,
        "upsample_kernel_sizes": kernels,
        "upsample_initial_channels": 32,
    }
    return SynthesizerConfig(**(settings | changes))


def synthesizer(
    config: SynthesizerConfig | NativeConfig, audio: AudioConfig, seed: int = 0
) -> AnySynthesizer:
    """Return a network in which nothing is zero, so that every part is heard."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = make_synthesizer(config, audio)
        with torch.no_grad():
            for parameter in made.parameters():
                if not parameter.any():
                    parameter.normal_(0, 0.1)
    return made.eval()


def voice(config: VoiceConfig, seed: int = 0) -> Voice:
    """Return a voice of random weights, ready to convert."""
    return Voice(config, synthesizer(config.synthesizer, config.audio, seed).fold(), {})


def light(**changes: Any) -> VoiceConfig:
    """Return the settings of a small voice of this project's own architecture."""
    settings: dict[str, Any] = {
        "content_channels": 9,
        "speaker_channels": 6,
        "n_speakers": 3,
        "width": 8,
        "prior_blocks": 2,
        "decoder_blocks": 1,
        "kernel_size": 3,
        "expansion": 2,
        "harmonic_bands": 12,
        "noise_bands": 10,
    }
    audio = AudioConfig(sample_rate=16_000, hop_length=160, n_fft=640, n_mels=40)
    network = NativeConfig(**(settings | changes))
    return VoiceConfig(audio, network, "unheard of", {"alice": 0, "bob": 2})


def write_legacy(folder: Path, state: State, table: Table | None, number: int = 800) -> Path:
    """Write `G_number.pth` as so-vits-svc does, and its `config.json` if there is one."""
    folder.mkdir(exist_ok=True)
    path = folder / f"G_{number}.pth"
    torch.save(
        {"model": state, "iteration": 3, "optimizer": None, "learning_rate": 1e-4},
        path,
    )
    if table is not None:
        (folder / "config.json").write_text(json.dumps(table), "utf-8")
    return path


def sound_of(network: AnySynthesizer, speaker: int = 1, *, predict_f0: bool = False) -> Tensor:
    """Return what a network sings of some fixed content and melody, without noise."""
    random = torch.Generator().manual_seed(5)
    frames = 12
    more = {"predict_f0": predict_f0} if isinstance(network, Synthesizer) else {}
    return network.infer(
        torch.randn(1, network.config.content_channels, frames, generator=random),
        torch.linspace(100, 400, frames)[None],
        (torch.arange(frames) % 3 > 0)[None],
        torch.tensor([speaker]),
        volume=torch.rand(1, frames, generator=random) if network.config.volume else None,
        deterministic=True,
        **more,
    )


def refused(path: Path, match: str, kind: type[SovitsError] = VoiceError) -> None:
    """Load a voice, and expect an error of one line; nothing large may be allocated on the way."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(kind, match=match) as caught:
        load_voice(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.isprintable()
    assert len(message) < 1000
    assert str(path) in message
