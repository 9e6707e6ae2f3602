"""FCPE (CNChTu, 2023): depthwise convolutions on a mel spectrogram."""

from __future__ import annotations

import re
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sovits.audio.mel import mel_filters
from sovits.audio.pad import reflect
from sovits.config import AudioConfig
from sovits.features.pitch.bins import BINS, local_average
from sovits.features.pitch.contract import PitchExtractor, PitchSpec, Track, blocks
from sovits.types import Mel, Wave
from sovits.weights import WeightsFile, find, load_into, load_tensors

SPEC = PitchSpec(
    "fcpe",
    "convolutions on a mel spectrogram: precise and fairly fast",
    needs="torchfcpe, for its weights",
    levelled=True,
)
WEIGHTS = WeightsFile(
    name="fcpe",
    filename="fcpe_c_v001.pt",
    licence="MIT",
    sha256="b9aeaeb673436eeda50ceafd632aa681aa63417e52eae4207503d180c9b10015",
    bytes=43_363_260,
    package=("torchfcpe:assets/fcpe_c_v001.pt",),
)
AUDIO = AudioConfig(sample_rate=16_000, hop_length=160, n_fft=1024, n_mels=128, mel_max=8000.0)
PAD = (AUDIO.n_fft - AUDIO.hop_length) // 2
POWER_FLOOR = 1e-9
FLOOR = 1e-5
CONTEXT = 92
"""Frames to each side that the convolutions see."""
BLOCK = 3000
"""Frames per run of the network (30 s), which bounds the memory."""


class _Layer(nn.Module):
    """Gated depthwise convolution over time, beside a straight path."""

    def __init__(self, channels: int, kernel_size: int = 31) -> None:
        super().__init__()
        inside = 2 * channels
        self.norm = nn.LayerNorm(channels)
        self.expand = nn.Conv1d(channels, 2 * inside, 1)
        self.mix = nn.Conv1d(inside, inside, kernel_size, padding=kernel_size // 2, groups=inside)
        self.project = nn.Conv1d(inside, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x.transpose(1, 2)).transpose(1, 2)
        out: Tensor = x + self.project(F.silu(self.mix(F.glu(self.expand(y), dim=1))))
        return out


class Fcpe(nn.Module):
    """Maps a mel spectrogram to the probability of each of 360 pitches.

    Its group norm takes the mean and the spread of a whole sound. So a long one is heard twice:
    `statistics` of its blocks are summed up first, and are given to each block's run.
    """

    cents: Tensor
    GROUPS = 4

    def __init__(self, channels: int = 512, layers: int = 6) -> None:
        super().__init__()
        self.enter = nn.Conv1d(AUDIO.n_mels, channels, 3, padding=1)
        self.group_norm = nn.GroupNorm(self.GROUPS, channels)
        self.second = nn.Conv1d(channels, channels, 3, padding=1)
        self.layers = nn.ModuleList(_Layer(channels) for _ in range(layers))
        self.norm = nn.LayerNorm(channels)
        self.project = nn.Linear(channels, BINS)
        self.register_buffer("cents", torch.zeros(BINS))

    def statistics(self, mel: Mel, core: slice) -> Tensor:
        """Return sum, sum of squares and number `[3, groups]` of what the group norm sees."""
        # In double precision, which Apple's GPUs lack.
        x = self.enter(mel[None])[..., core].cpu().double().reshape(self.GROUPS, -1)
        return torch.stack([x.sum(1), x.square().sum(1), torch.full_like(x[:, 0], x.shape[1])])

    def forward(self, mel: Mel, statistics: Tensor) -> Tensor:
        """Map `[mels, frames]` to `[frames, 360]`."""
        mean = statistics[0] / statistics[2]
        spread = (statistics[1] / statistics[2] - mean.square() + self.group_norm.eps).sqrt()
        x = self.enter(mel[None])
        groups = x.view(self.GROUPS, -1)
        x = ((groups - mean.to(x)[:, None]) / spread.to(x)[:, None]).view_as(x)
        x = x * self.group_norm.weight[:, None] + self.group_norm.bias[:, None]
        x = self.second(F.leaky_relu(x))
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.project(self.norm(x[0].T)).sigmoid()
        return out


def load_network(path: Path | None = None) -> Fcpe:
    """Build the network and read its weights."""
    file = find(WEIGHTS, path)
    network = Fcpe()
    load_into(network, _rename(load_tensors(file)), file)
    return network


def _rename(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Translate the names of the published file, and fold its weight norm."""
    parts = {
        r"input_stack\.0\.": "enter.",
        r"input_stack\.1\.": "group_norm.",
        r"input_stack\.3\.": "second.",
        r"net\.encoder_layers\.(\d+)\.conformer\.net\.0\.": r"layers.\1.norm.",
        r"net\.encoder_layers\.(\d+)\.conformer\.net\.2\.": r"layers.\1.expand.",
        r"net\.encoder_layers\.(\d+)\.conformer\.net\.4\.conv\.": r"layers.\1.mix.",
        r"net\.encoder_layers\.(\d+)\.conformer\.net\.6\.": r"layers.\1.project.",
        r"output_proj\.": "project.",
        r"cent_table$": "cents",
    }
    # An attention that this network was built without has left its norm; a mask served training.
    unused = re.compile(r"net\.encoder_layers\.\d+\.norm\.|gaussian_blurred_cent_mask$")
    renamed = {}
    for name, tensor in tensors.items():
        if not unused.match(name):
            rule = next((rule for rule in parts if re.match(rule, name)), None)
            renamed[re.sub(f"^{rule}", parts[rule], name) if rule else name] = tensor
    if {"project.weight_g", "project.weight_v"} <= renamed.keys():
        scale, direction = renamed.pop("project.weight_g"), renamed.pop("project.weight_v")
        renamed["project.weight"] = scale * direction / direction.norm(dim=1, keepdim=True)
    return renamed


class FcpeExtractor(PitchExtractor):
    """Pitch by FCPE.

    Args:
        network: The network with its weights.
        threshold: Probability of the best pitch from which a frame is voiced (0 to 1).
        device: Where to compute.
    """

    spec = SPEC
    sample_rate = AUDIO.sample_rate

    def __init__(
        self, network: Fcpe, *, threshold: float = 0.05, device: str | torch.device = "cpu"
    ) -> None:
        self.network = network.to(device)
        self.threshold = threshold
        self.device = torch.device(device)
        self.window = torch.hann_window(AUDIO.n_fft, device=device)
        self.filters = mel_filters(AUDIO).to(device)

    def mel(self, padded: Wave, start: int, stop: int) -> Mel:
        """Return `[mels, stop - start]` of a wave with `PAD` more samples at either end."""
        hop = AUDIO.hop_length
        piece = padded[start * hop : (stop - 1) * hop + AUDIO.n_fft].to(self.device)
        spectrum = torch.fft.rfft(piece.unfold(0, AUDIO.n_fft, hop) * self.window)
        magnitude = (torch.view_as_real(spectrum).square().sum(-1) + POWER_FLOOR).sqrt()
        return (self.filters @ magnitude.T).clamp(min=FLOOR).log()

    def probability(self, wave: Wave) -> tuple[Tensor, Tensor]:
        """Return Hz and probability `[samples // 160]` (at least one) of `wave` at 16 kHz."""
        hop = AUDIO.hop_length
        frames = max(len(wave) // hop, 1)
        padded = reflect(wave, PAD, PAD + max(hop - len(wave), 0))
        cuts = list(blocks(frames, BLOCK, CONTEXT))
        statistics = torch.stack(
            [self.network.statistics(self.mel(padded, *cut[:2]), cut.core) for cut in cuts]
        ).sum(0)
        parts = []
        for left, right, core in cuts:
            chances = self.network(self.mel(padded, left, right), statistics)[core].cpu()
            strength, best = chances.max(1)
            parts.append((local_average(chances, best), strength))
        bins, strength = (torch.cat(values) for values in zip(*parts, strict=True))
        cents = self.network.cents.double().cpu()
        low = bins.floor().long().clamp(0, BINS - 2)
        steps = cents[low] + (bins - low) * (cents[low + 1] - cents[low])
        return 10 * torch.exp2(steps / 1200), strength

    def track(self, wave: Wave, sample_rate: int) -> Track:
        """Return the pitch every 10 ms."""
        pitch, probability = self.probability(wave)
        step = AUDIO.hop_length / sample_rate
        return Track(torch.where(probability > self.threshold, pitch, 0.0), step)


def load(device: str | torch.device = "cpu", path: Path | None = None) -> FcpeExtractor:
    """Load the method."""
    return FcpeExtractor(load_network(path), device=device)
