"""`sovits-content`: a small encoder that streams, distilled from Whisper and a phoneme recogniser.

Trained by tools/pretrain/content.py to say what large networks say of the same sound, whoever
speaks: its input is changed in pitch, formants, colour, noise and reverberation, its targets are
those of the unchanged sound. What it says is how likely each of a few hundred sounds of speech is:
between such units a speaker has little room (soft units, van Niekerk 2022).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sovits.audio.mel import mel_filters
from sovits.config import AudioConfig
from sovits.convnext import Frames, Past, Stack, spread
from sovits.errors import AudioError
from sovits.features.content.encoder import ContentSpec
from sovits.types import Content, Mel, Wave
from sovits.weights import load_into, load_tensors

AUDIO = AudioConfig(sample_rate=44_100, hop_length=512, n_fft=1024, n_mels=80, mel_max=8000.0)
"""How its front end cuts sound into frames."""

CHANNELS, WIDTH, BLOCKS, KERNEL, LOOK_AHEAD = 256, 320, 12, 11, 4
UNITS = 200
FLOOR = 1e-8  # power of a band that counts as silent
CENTRE, SCALE = -9.0, 4.0  # roughly mean and deviation of the log-power of speech
SILENCE = (math.log(FLOOR) - CENTRE) / SCALE

MARGIN = (AUDIO.n_fft - AUDIO.hop_length) // 2
"""Samples before and after a frame that its spectrum covers."""

DELAY = LOOK_AHEAD * AUDIO.hop_length + MARGIN
"""Samples after a frame that its content depends on."""

CHUNK = 512 * AUDIO.hop_length  # samples encoded at once


class StudentPast(NamedTuple):
    """What a stream remembers of what it heard."""

    wave: Wave
    """Samples of which frames are still to be made, `[batch, samples]`."""
    stem: Past | None
    """The last two mel frames; None before there is one."""
    blocks: list[Past] | None
    """What the blocks returned last."""


class StudentEncoder(nn.Module):
    """Log-mel bands in, content out, `LOOK_AHEAD` frames late."""

    window: Tensor
    bands: Tensor
    units: Tensor

    def __init__(
        self,
        width: int = WIDTH,
        blocks: int = BLOCKS,
        channels: int = CHANNELS,
        units: int = UNITS,
    ) -> None:
        super().__init__()
        self.stem = nn.Linear(3 * AUDIO.n_mels, width)
        self.stack = Stack(width, spread(LOOK_AHEAD, blocks), KERNEL)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, units)
        self.register_buffer("units", torch.randn(units, channels))
        self.register_buffer("window", torch.hann_window(AUDIO.n_fft), persistent=False)
        self.register_buffer("bands", mel_filters(AUDIO), persistent=False)

    def mel(self, heard: Wave) -> Mel:
        """Return log-power bands `[batch, 80, frames]` of `[batch, samples]`, margins included."""
        pieces = heard.float().unfold(-1, AUDIO.n_fft, AUDIO.hop_length) * self.window
        return self.mel_of(torch.view_as_real(torch.fft.rfft(pieces)).square().sum(-1))

    def mel_of(self, power: Tensor) -> Mel:
        """Return log-power bands `[batch, 80, frames]` of power `[batch, frames, bins]`."""
        bands: Tensor = (power @ self.bands.T).clamp(min=FLOOR).log()
        return ((bands - CENTRE) / SCALE).transpose(1, 2)

    def forward(
        self, mel: Mel, stem: Past | None = None, blocks: Sequence[Past] | None = None
    ) -> tuple[Content, Past, list[Past]]:
        """Return `[batch, channels, frames]`, `LOOK_AHEAD` late, and the past for the next call.

        Args:
            mel: `[batch, 80, frames]`.
            stem: The two mel frames before; silence if not given.
            blocks: What the blocks returned last.
        """
        x, stem, pasts = self.hidden(mel, stem, blocks)
        with torch.autocast(x.device.type, enabled=False):
            likely = self.head(x).float().softmax(-1)
            content: Content = (likely @ self.units.float()).transpose(1, 2)
        return content, stem, pasts

    def hidden(
        self, mel: Mel, stem: Past | None = None, blocks: Sequence[Past] | None = None
    ) -> tuple[Frames, Past, list[Past]]:
        """Return `[batch, frames, width]`, from which `head` tells the units, and the past."""
        x: Frames = mel.transpose(1, 2)
        if stem is None:
            stem = x.new_full((x.shape[0], 2, x.shape[2]), SILENCE)
        heard = torch.cat([stem, x], dim=1)
        frames = x.shape[1]
        x = self.stem(torch.cat([heard[:, i : i + frames] for i in range(3)], dim=-1))
        x, pasts = self.stack(x, blocks)
        return self.norm(x).float(), heard[:, frames:], pasts


class StudentContent:
    """The encoder at work: a whole sound is a stream of a few chunks, so there is no seam.

    Args:
        spec: What it is.
        network: Frozen network, on `device`.
        device: Where it computes.
        bf16: Compute in bfloat16 where the network is not sensitive to it.
    """

    def __init__(
        self,
        spec: ContentSpec,
        network: StudentEncoder,
        device: torch.device,
        *,
        bf16: bool = False,
    ) -> None:
        self.spec, self.network, self.device, self.bf16 = spec, network, device, bf16

    @torch.no_grad()
    def push(self, wave: Wave, past: StudentPast | None = None) -> tuple[Content, StudentPast]:
        """Hear more of a stream; return the frames that are ready, and the past for the next call.

        Frame `i` is ready `DELAY` samples after its last, as frame `i + LOOK_AHEAD` of what is
        returned in all: the first `LOOK_AHEAD` frames of a stream come before its sound.

        Args:
            wave: `[samples]`, any number of them, which may be none.
            past: What the last call returned; None begins a stream.

        Returns:
            `[channels, frames]` as float32 on the device of `wave`, and the past.
        """
        if wave.dim() != 1:
            raise AudioError.not_one_channel(tuple(wave.shape))
        past = past or StudentPast(torch.zeros(1, MARGIN, device=self.device), None, None)
        heard = torch.cat([past.wave, wave.to(self.device, torch.float32)[None]], dim=1)
        hop, n_fft = AUDIO.hop_length, AUDIO.n_fft
        frames = max(0, (heard.shape[1] - n_fft) // hop + 1)
        if not frames:
            nothing = torch.zeros(self.spec.channels, 0, device=wave.device)
            return nothing, past._replace(wave=heard)
        mel = self.network.mel(heard[:, : (frames - 1) * hop + n_fft])
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            content, stem, blocks = self.network(mel, past.stem, past.blocks)
        left = heard[:, frames * hop :].clone()  # not a view, which would keep all of it
        return content[0].float().to(wave.device), StudentPast(left, stem, blocks)

    def encode(self, wave: Wave) -> Content:
        """Return the content of `[samples]` at the spec's rate, `[channels, ceil(samples / hop)]`.

        The content is float32 and on the device of `wave`.
        """
        if wave.dim() != 1:
            raise AudioError.not_one_channel(tuple(wave.shape))
        frames = -(-wave.shape[0] // AUDIO.hop_length)
        parts = [torch.zeros(self.spec.channels, 0, device=wave.device)]
        past: StudentPast | None = None
        end = frames * AUDIO.hop_length + DELAY
        for begin in range(0, end if frames else 0, CHUNK):
            heard = wave[begin : begin + CHUNK]
            silent = min(CHUNK, end - begin) - heard.shape[0]
            part, past = self.push(torch.nn.functional.pad(heard, (0, silent)), past)
            parts.append(part)
        return torch.cat(parts, dim=1)[:, LOOK_AHEAD:]


def load_student(path: Path, device: torch.device) -> StudentEncoder:
    """Read the encoder.

    Raises:
        WeightsError: The file is damaged, or of another network.
    """
    network = StudentEncoder()
    load_into(network, load_tensors(path), path)
    return network.to(device)
