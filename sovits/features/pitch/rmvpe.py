"""RMVPE (Wei et al., 2023): a U-Net and a recurrent layer on a mel spectrogram."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sovits.audio.pad import reflect
from sovits.features.pitch.bins import BINS, bin_to_hz, local_average
from sovits.features.pitch.contract import PitchExtractor, PitchSpec, Track, blocks
from sovits.types import Mel, Wave
from sovits.weights import WeightsFile, find, load_into, load_tensors

SPEC = PitchSpec(
    "rmvpe",
    "U-Net on a mel spectrogram: robust against accompaniment",
    needs="rmvpe.pt, fetched from the Hugging Face hub",
)
WEIGHTS = WeightsFile(
    name="rmvpe",
    filename="rmvpe.pt",
    licence="MIT",
    repo="lj1995/VoiceConversionWebUI",
    sha256="6d62215f4306e3ca278246188607209f09af3dc77ed4232efdd069798c4ec193",
    bytes=181_184_272,
)
SAMPLE_RATE = 16_000
HOP = 160
WINDOW = 1024
MELS = 128
MEL_MIN, MEL_MAX = 30.0, 8000.0
FLOOR = 1e-5
STAGES = 5
MULTIPLE = 2**STAGES
"""The U-Net halves the frames once a stage, so it takes a multiple of this number."""
BLOCK = 125 * MULTIPLE
"""Frames per run (40 s), which bounds the memory."""
CONTEXT = 16 * MULTIPLE
"""Frames before and after a block that its run may look at (5 s)."""


def mel_filters() -> Tensor:
    """Return `[mels, bins]` triangles of unit area, evenly spaced on HTK's mel scale."""
    ends = 2595 * torch.log10(1 + torch.tensor([MEL_MIN, MEL_MAX], dtype=torch.float64) / 700)
    steps = torch.linspace(0, 1, MELS + 2, dtype=torch.float64)
    edges = 700 * (10 ** ((ends[0] + steps * (ends[1] - ends[0])) / 2595) - 1)
    bins = torch.linspace(0, SAMPLE_RATE / 2, WINDOW // 2 + 1, dtype=torch.float64)
    low, peak, high = (edges[i : MELS + i, None] for i in range(3))
    triangles = torch.minimum((bins - low) / (peak - low), (high - bins) / (high - peak))
    return (triangles.clamp(min=0) * 2 / (high - low)).float()


class _Residual(nn.Module):
    """Two convolutions beside a straight path."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        )
        if before != after:
            self.shortcut = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        straight = self.shortcut(x) if hasattr(self, "shortcut") else x
        out: Tensor = self.conv(x) + straight
        return out


def _residuals(before: int, after: int, number: int) -> nn.ModuleList:
    return nn.ModuleList(_Residual(after if i else before, after) for i in range(number))


class _Down(nn.Module):
    """Residual blocks of the encoder or of the middle."""

    def __init__(self, before: int, after: int, number: int) -> None:
        super().__init__()
        self.conv = _residuals(before, after, number)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.conv:
            x = block(x)
        return x


class _Up(nn.Module):
    """Doubling of frames and bands, then residual blocks that also see the encoder."""

    def __init__(self, before: int, after: int, number: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.ConvTranspose2d(before, after, 3, 2, padding=1, output_padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        )
        self.conv2 = _residuals(2 * after, after, number)

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        x = torch.cat([self.conv1(x), beside], dim=1)
        for block in self.conv2:
            x = block(x)
        return x


class _Encoder(nn.Module):
    def __init__(self, width: int, number: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(1)
        widths = [1, *(width * 2**i for i in range(STAGES))]
        self.layers = nn.ModuleList(_Down(*pair, number) for pair in pairwise(widths))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        x, beside = self.bn(x), []
        for layer in self.layers:
            beside.append(layer(x))
            x = F.avg_pool2d(beside[-1], 2)
        return x, beside


class _Layers(nn.Module):
    """Names the layers of the middle and of the decoder as the published file does."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)


class _UNet(nn.Module):
    def __init__(self, width: int, number: int) -> None:
        super().__init__()
        deepest = width * MULTIPLE
        self.encoder = _Encoder(width, number)
        self.intermediate = _Layers(
            [_Down(deepest // 2 if i == 0 else deepest, deepest, number) for i in range(4)]
        )
        self.decoder = _Layers(
            [_Up(deepest // 2**i, deepest // 2 ** (i + 1), number) for i in range(STAGES)]
        )

    def forward(self, x: Tensor) -> Tensor:
        x, beside = self.encoder(x)
        for layer in self.intermediate.layers:
            x = layer(x)
        for layer, skipped in zip(self.decoder.layers, reversed(beside), strict=True):
            x = layer(x, skipped)
        return x


class _Recurrent(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.gru = nn.GRU(before, after, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.gru(x)[0]
        return out


class Rmvpe(nn.Module):
    """Maps a mel spectrogram to the probability of each of 360 pitches.

    Args:
        width: Channels of the first stage; each stage doubles them. Published weights have 16.
        number: Residual blocks per stage; published weights have 4.
        hidden: Width of the recurrent layer in each direction; published weights have 256.
    """

    def __init__(self, width: int = 16, number: int = 4, hidden: int = 256) -> None:
        super().__init__()
        self.unet = _UNet(width, number)
        self.cnn = nn.Conv2d(width, 3, 3, padding=1)
        self.fc = nn.Sequential(_Recurrent(3 * MELS, hidden), nn.Linear(2 * hidden, BINS))

    def forward(self, mel: Mel) -> Tensor:
        """Map `[mels, frames]` to `[frames, 360]`."""
        frames = mel.shape[-1]
        mel = reflect(mel, 0, -frames % MULTIPLE)
        x = self.cnn(self.unet(mel.T[None, None]))
        out: Tensor = self.fc(x.transpose(1, 2).flatten(2))[0, :frames].sigmoid()
        return out


def load_network(path: Path | None = None) -> Rmvpe:
    """Build the network and read its weights."""
    file = find(WEIGHTS, path)
    with torch.device("meta"):
        network = Rmvpe()
    load_into(network, load_tensors(file), file)
    return network


class RmvpeExtractor(PitchExtractor):
    """Pitch by RMVPE.

    Args:
        network: The network with its weights.
        threshold: Probability of the best pitch from which a frame is voiced (0 to 1).
        device: Where to compute.
    """

    spec = SPEC
    sample_rate = SAMPLE_RATE

    def __init__(
        self, network: Rmvpe, *, threshold: float = 0.03, device: str | torch.device = "cpu"
    ) -> None:
        self.network = network.to(device)
        self.threshold = threshold
        self.device = torch.device(device)
        self.window = torch.hann_window(WINDOW, device=device)
        self.filters = mel_filters().to(device)

    def mel(self, padded: Wave, start: int, stop: int) -> Mel:
        """Return `[mels, stop - start]` of a wave with half a window more at either end."""
        piece = padded[start * HOP : (stop - 1) * HOP + WINDOW].to(self.device)
        magnitude = torch.fft.rfft(piece.unfold(0, WINDOW, HOP) * self.window).abs()
        mel: Mel = self.filters @ magnitude.T
        return mel.clamp(min=FLOOR).log()

    def probability(self, wave: Wave) -> tuple[Tensor, Tensor]:
        """Return Hz and probability `[samples // 160 + 1]` of `wave` at 16 kHz."""
        padded = reflect(wave, WINDOW // 2, WINDOW // 2)
        parts = []
        for left, right, core in blocks(len(wave) // HOP + 1, BLOCK, CONTEXT):
            chances = self.network(self.mel(padded, left, right))[core].cpu()
            strength, best = chances.max(1)
            parts.append((local_average(chances, best), strength))
        bins, strength = (torch.cat(values) for values in zip(*parts, strict=True))
        return bin_to_hz(bins), strength

    def track(self, wave: Wave, sample_rate: int) -> Track:
        """Return the pitch every 10 ms."""
        pitch, probability = self.probability(wave)
        return Track(torch.where(probability > self.threshold, pitch, 0.0), HOP / sample_rate)


def load(device: str | torch.device = "cpu", path: Path | None = None) -> RmvpeExtractor:
    """Load the method."""
    return RmvpeExtractor(load_network(path), device=device)
