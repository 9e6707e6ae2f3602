"""The encoder half of Whisper (Radford et al., 2022), and its log-mel front end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sovits.audio.mel import mel_filters
from sovits.config import AudioConfig
from sovits.errors import WeightsError
from sovits.features.content.whisper_layouts import to_native
from sovits.types import Content, Mel, Wave
from sovits.weights import WeightsFile, find, load_into, load_tensors

AUDIO = AudioConfig(sample_rate=16_000, hop_length=160, n_fft=400, n_mels=80)
"""How Whisper's front end cuts sound into frames, two for each frame of content."""

POSITIONS = WeightsFile(
    name="whisper-base-positions",
    filename="whisper-base-positions.safetensors",
    licence="MIT",
    bundled="whisper-base-positions.safetensors",
    bundled_sha256="84d65d93a12751fa125d30f366230031b9a9687354223c28ef0680c7119d543e",
)
"""Directions of Whisper-base's content that tell the position inside the window."""

HEAD_WIDTH = 64
FLOOR = 1e-10  # power below which a band counts as silent
RANGE = 8.0  # decades of power kept below the loudest band: 80 dB
_PEAK_BLOCK = 3_000  # mel frames looked at together for the loudest band


class WhisperMel:
    """Log-mel spectrogram as Whisper hears it, any stretch of frames at a time.

    Frame `i` is centred on sample `160 i`. The sound is mirrored before its beginning, and
    followed by silence, as Whisper was trained with 30-s clips that are mostly not full.
    """

    def __init__(self) -> None:
        self.window = torch.hann_window(AUDIO.n_fft)
        self.bands = mel_filters(AUDIO)

    def power(self, wave: Wave, first: int, stop: int) -> Mel:
        """Return log10 of the power in `[80, stop - first]` bands and frames of `[samples]`."""
        hop, half = AUDIO.hop_length, AUDIO.n_fft // 2
        begin, end = first * hop - half, (stop - 1) * hop + half
        heard = wave[max(begin, 0) : max(end, 0)].float().cpu()
        heard = F.pad(heard, (0, end - max(begin, 0) - heard.shape[0]))
        if begin < 0:
            mirrored = F.pad(wave[: 1 - begin].float().cpu(), (0, max(1 - begin - len(wave), 0)))
            heard = torch.cat([mirrored[1:].flip(0)[:-begin], heard])
        spectrum = torch.fft.rfft(heard.unfold(0, AUDIO.n_fft, hop) * self.window)
        power = spectrum.real.square() + spectrum.imag.square()
        mel: Mel = self.bands @ power.T
        return mel.clamp(min=FLOOR).log10()

    def peak(self, wave: Wave, frames: int) -> float:
        """Return log10 of the loudest band in all `frames`."""
        return max(
            float(self.power(wave, first, min(first + _PEAK_BLOCK, frames)).max())
            for first in range(0, frames, _PEAK_BLOCK)
        )

    def __call__(self, wave: Wave, first: int, stop: int, peak: float) -> Mel:
        """Return frames scaled as Whisper expects them, about -1 to 1."""
        return (self.power(wave, first, stop).clamp(min=peak - RANGE) + 4) / 4


class Layer(nn.Module):
    """Transformer layer with normalisation before each half."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.heads = width // HEAD_WIDTH or 1

    def forward(self, x: Tensor) -> Tensor:
        """Return `[batch, frames, width]` for the same."""
        batch, frames, width = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(batch, frames, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, frames, width))
        out: Tensor = x + self.down(F.gelu(self.up(self.mlp_norm(x))))
        return out


class WhisperEncoder(nn.Module):
    """Whisper's encoder: 20-ms frames of content from log-mel bands.

    Sound shorter than 30 s uses the first positions only, instead of being filled with silence.

    Args:
        width: Channels; 512 is Whisper-base.
        layers: Transformer layers.
        positions: Longest input (frames of 20 ms).
    """

    def __init__(self, width: int = 512, layers: int = 6, positions: int = 1500) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(AUDIO.n_mels, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.positions = nn.Parameter(torch.zeros(positions, width))
        self.layers = nn.ModuleList(Layer(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, mel: Mel) -> Content:
        """Return `[batch, width, frames]` for `[batch, 80, 2 * frames]`."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x + self.positions[: x.shape[1]]
        for layer in self.layers:
            x = layer(x)
        content: Content = self.norm(x).transpose(1, 2)
        return content


class WhisperContent:
    """Whisper's encoder with its front end: from sound to content.

    Args:
        encoder: Network.
        directions: `[directions, channels]`, orthonormal, that are projected out of the content.
    """

    def __init__(self, encoder: WhisperEncoder, directions: Tensor | None = None) -> None:
        self.encoder, self.directions, self.log_mel = encoder, directions, WhisperMel()

    def count(self, samples: int) -> int:
        """Return how many frames `samples` make, a last partial one included."""
        return -(-samples // (2 * AUDIO.hop_length))

    def listen(self, wave: Wave) -> Callable[[int, int], Tensor]:
        """Return a function that gives the log-mel bands of some frames.

        All windows of one sound share the level below which bands count as silent, as they
        would in one long window.
        """
        frames = self.count(wave.shape[0])
        peak = self.log_mel.peak(wave, 2 * frames) if frames else 0.0
        return lambda first, stop: self.log_mel(wave, 2 * first, 2 * stop, peak)[None]

    def __call__(self, heard: Tensor) -> Content:
        """Return `[1, channels, frames]`."""
        content: Content = self.encoder(heard)
        if self.directions is None:
            return content
        content = content.float()
        return content - self.directions.T @ (self.directions @ content)


def load_whisper(
    path: Path, channels: int, device: torch.device, *, still: bool = False
) -> WhisperContent:
    """Read Whisper's encoder, in the layout of this package, Hugging Face, OpenAI or CTranslate2.

    Args:
        path: File to read.
        channels: Channels of the content.
        device: Where it computes.
        still: Project out the code by which Whisper-base tells where in its window a sound is:
            40 % of the variance, and another one for the same sound at every place (measured
            by tools/pretrain/positions.py).

    Raises:
        WeightsError: The file cannot be read, or is no Whisper of this width.
    """
    tensors = to_native(path)
    if "conv1.weight" not in tensors or "positions" not in tensors:
        raise WeightsError.wrong_layout(path, "a Whisper encoder", "it has no convolutions")
    width = tensors["conv1.weight"].shape[0]
    if width != channels:
        raise WeightsError.wrong_layout(
            path, f"a Whisper encoder of width {channels}", f"the width in it is {width}"
        )
    layers = len({name.split(".")[1] for name in tensors if name.startswith("layers.")})
    with torch.device("meta"):
        encoder = WhisperEncoder(width, layers, tensors["positions"].shape[0])
    load_into(encoder, tensors, path)
    directions = load_tensors(find(POSITIONS))["directions"].to(device) if still else None
    return WhisperContent(encoder.to(device), directions)
