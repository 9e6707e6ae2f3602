"""SwiftF0 (Nieradzik, 2025): a small convolutional network on three spectrograms."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sovits.audio.pad import reflect
from sovits.features.pitch.contract import PitchExtractor, PitchSpec, Track, blocks
from sovits.types import Wave
from sovits.weights import WeightsFile, find, load_into, load_tensors

SPEC = PitchSpec(
    "swift",
    "small network, fast and robust; weights inside the package",
    lowest=46.875,
    highest=2093.75,
    levelled=True,
)
WEIGHTS = WeightsFile(
    name="swift-f0",
    filename="swift-f0.safetensors",
    licence="MIT",
    bundled="swift-f0.safetensors",
    bundled_sha256="0b1548c88109abd75e8716094d48c697010e19d0d9630c21fd578441dda064d6",
)
SAMPLE_RATE = 16_000
HOP = 256
WINDOWS = {1024: 1032, 2048: 2036, 512: 539}
"""Samples of each window: weights of its filters that are not zero."""
BANDS = 128
CONTEXT = 7
"""Frames to each side that the convolutions see."""
MIRROR = 12
"""Frames by which a sound is mirrored at its ends. Without them the network, which has seldom
heard a voice begin at full strength, calls the first frames unvoiced and misses their octave."""
BLOCK = 1875
"""Frames per run of the network (30 s)."""
FLOOR = 1e-8


class SwiftF0(nn.Module):
    """Scores 95 pitches, spaced evenly in log frequency, and the voicing of each frame."""

    log_pitch: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        # Dilations reach from a partial to those an octave, a fifth, ... away.
        kinds = (((7, 3), 1), ((7, 1), 17), ((5, 1), 27), ((3, 1), 40), ((3, 1), 48), ((7, 3), 2))
        self.blocks = nn.ModuleList(_Residual(12, *kind) for kind in kinds)
        self.narrow = nn.Conv2d(12, 4, 3)
        self.score = nn.Conv2d(4, 1, 1)
        self.evidence = nn.Conv2d(4, 4, (5, 1), padding=(2, 0))
        self.voicing = nn.Sequential(nn.Conv1d(5, 16, 3, padding=1), nn.ReLU(), nn.Conv1d(16, 1, 1))
        self.register_buffer("log_pitch", torch.zeros(95))
        self.filters = nn.ModuleDict(
            {str(window): _Filters(window // 2 + 1, size) for window, size in WINDOWS.items()}
        )

    def features(self, wave: Wave, start: int, stop: int) -> Tensor:
        """Return log spectra `[3, bands, stop - start]` of frames centred on `i * HOP`."""
        spectra = []
        for window in WINDOWS:
            first, last = start * HOP - window // 2, (stop - 1) * HOP + window // 2
            piece = wave[max(first, 0) : last]
            piece = F.pad(piece, (max(-first, 0), last - max(first, 0) - len(piece)))
            frames = piece.unfold(0, window, HOP)
            hann = torch.hann_window(window, device=wave.device)
            magnitude = torch.fft.rfft(frames * hann).abs()
            spectra.append((self.filters[str(window)](magnitude) + FLOOR).log().T)
        return torch.stack(spectra)

    def forward(self, spectra: Tensor) -> tuple[Tensor, Tensor]:
        """Map `[3, bands, frames]` to log pitch scores `[frames, 95]` and voicing `[frames]`."""
        x = F.relu(self.stem(spectra[None]))
        for block in self.blocks:
            x = block(x)
        # Scores stand for bands 0 to 94: one row of zeros below, and a real neighbour above.
        x = F.relu(self.narrow(F.pad(x[:, :, :96], (1, 1, 1, 0))))
        scores = self.score(x)[0, 0].T
        level = spectra.mean(dim=(0, 1))[None, None]
        evidence = torch.cat([self.evidence(x).amax(dim=2), level], dim=1)
        return scores, self.voicing(evidence)[0, 0].sigmoid()

    def pitch(self, scores: Tensor) -> Tensor:
        """Return Hz `[frames]`: the mean of the best score and its neighbours, in log pitch."""
        best = scores.argmax(dim=-1, keepdim=True)
        around = best + torch.arange(3, device=scores.device)
        weights = F.pad(scores, (1, 1), value=-torch.inf).gather(-1, around).softmax(-1)
        return (weights * F.pad(self.log_pitch, (1, 1))[around]).sum(-1).exp()


class _Residual(nn.Module):
    """Two convolutions beside a straight path, dilated over frequency."""

    def __init__(self, channels: int, kernel: tuple[int, int], dilation: int) -> None:
        super().__init__()
        padding = (kernel[0] // 2 * dilation, kernel[1] // 2)
        self.first, self.second = (
            nn.Conv2d(channels, channels, kernel, padding=padding, dilation=(dilation, 1))
            for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.first(x))))


class _Filters(nn.Module):
    """Sums the bins of a spectrum into bands; keeps only the weights that are not zero."""

    index: Tensor
    value: Tensor

    def __init__(self, bins: int, size: int) -> None:
        super().__init__()
        self.bins = bins
        self.register_buffer("index", torch.zeros(size))
        self.register_buffer("value", torch.zeros(size))

    def forward(self, magnitude: Tensor) -> Tensor:
        weights = magnitude.new_zeros(self.bins * BANDS)
        weights[self.index.long()] = self.value
        return magnitude @ weights.view(self.bins, BANDS)


def load_network(path: Path | None = None) -> SwiftF0:
    """Build the network and read its weights, by default the bundled ones."""
    file = find(WEIGHTS, path)
    tensors = load_tensors(file)
    network = SwiftF0()
    load_into(network, tensors, file)
    return network


class SwiftExtractor(PitchExtractor):
    """Pitch by SwiftF0.

    Args:
        network: The network with its weights.
        threshold: Confidence from which a frame is voiced (0 to 1); the network is calibrated
            for 0.5.
        device: Where to compute.
    """

    spec = SPEC
    sample_rate = SAMPLE_RATE

    def __init__(
        self, network: SwiftF0, *, threshold: float = 0.5, device: str | torch.device = "cpu"
    ) -> None:
        self.network = network.to(device)
        self.threshold = threshold
        self.device = torch.device(device)

    def confidence(self, wave: Wave) -> tuple[Tensor, Tensor]:
        """Return Hz and confidence `[samples // 256 + 1]` of `wave` at 16 kHz.

        Runs are as long as `BLOCK` and see all that the network would see of the whole sound, so
        that where they meet cannot be told.
        """
        parts = []
        wave = wave.to(self.device)
        for block in blocks(len(wave) // HOP + 1, BLOCK, CONTEXT):
            spectra = self.network.features(wave, block.left, block.right)
            scores, voicing = self.network(spectra)
            parts.append((self.network.pitch(scores)[block.core], voicing[block.core]))
        pitch, confidence = (torch.cat(values).cpu() for values in zip(*parts, strict=True))
        return pitch, confidence

    def track(self, wave: Wave, sample_rate: int) -> Track:
        """Return the pitch every 16 ms."""
        margin = MIRROR * HOP
        pitch, confidence = self.confidence(reflect(wave, margin, margin))
        f0 = torch.where(confidence >= self.threshold, pitch, 0.0)
        return Track(f0, HOP / sample_rate, -margin / sample_rate).inside(len(wave) / sample_rate)


def load(device: str | torch.device = "cpu", path: Path | None = None) -> SwiftExtractor:
    """Load the method."""
    return SwiftExtractor(load_network(path), device=device)
