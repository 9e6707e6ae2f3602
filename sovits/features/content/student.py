"""`sovits-content`: a small encoder that streams, distilled from Whisper and a phoneme recogniser.

Half of Whisper's layers, made to hear a stream: attention reaches a second and a half back and
hardly ahead, and a learnt bias for how far away a step is stands where positions in a window were.
Trained by tools/pretrain/content.py to say what the whole network says of the same words in other
voices: its input is changed in pitch, formants, colour, noise and reverberation, its target is the
mean over copies of the sound in voices that are the same for every speaker. What it says are soft
units (van Niekerk 2022): each frame is moved to the nearest of a few hundred.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sovits.audio.mel import mel_filters
from sovits.config import AudioConfig
from sovits.errors import AudioError
from sovits.features.content.encoder import ContentSpec
from sovits.quantized import dequantize
from sovits.types import Content, Mel, Wave
from sovits.weights import load_into, load_tensors

AUDIO = AudioConfig(sample_rate=44_100, hop_length=512, n_fft=1024, n_mels=80, mel_max=8000.0)
"""How its front end cuts sound into frames: nearly as Whisper does, every 11.6 ms instead of 10."""

WIDTH = 512
AHEAD = (1, 0, 0)
"""Steps of the future that each layer hears."""
WINDOW = 64
"""Steps that each layer hears besides: the past, and the step itself."""
CHANNELS, UNITS = 192, 1000

HEAD_WIDTH = 64
LEVEL = 0.8  # log10 of power here over that in Whisper's windows
FLOOR = -6.0  # log10 of power that counts as silent
CENTRE, SCALE = -4.0, 4.0  # of log10 of power, as Whisper has them
SILENCE = (FLOOR - CENTRE) / SCALE

Steps: TypeAlias = Tensor
"""Activations, `[batch, steps, width]`; a step is two frames."""

MARGIN = (AUDIO.n_fft - AUDIO.hop_length) // 2
"""Samples before and after a frame that its spectrum covers."""

LOOK_AHEAD = 2 + 2 * sum(AHEAD)
"""Frames of the future that the first frame of a step depends on; the second, one less."""

DELAY = LOOK_AHEAD * AUDIO.hop_length + MARGIN
"""Samples after a frame that its content depends on."""

CHUNK = 512 * AUDIO.hop_length  # samples encoded at once


class LayerPast(NamedTuple):
    """What a layer remembers."""

    late: Steps
    """The last steps, which it has not answered as their future was not known."""
    keys: Tensor
    """Keys and values of the last steps, to which later ones attend, `[batch, steps, 2 * width]`.

    Those of `late` are the last of them.
    """


class StudentPast(NamedTuple):
    """What a stream remembers of what it heard."""

    wave: Wave
    """Samples of which frames are still to be made, `[batch, samples]`."""
    mel: Mel
    """Frames of which steps are still to be made, `[batch, 80, frames]`."""
    layers: tuple[LayerPast, ...]
    """What the layers remember."""


class Layer(nn.Module):
    """Transformer layer that hears a window of the past and `ahead` steps of the future.

    Args:
        width: Channels.
        ahead: Steps of the future; the output lags by as many.
        window: Steps that are heard, without those of the future.
    """

    def __init__(self, width: int, ahead: int = 0, window: int = WINDOW) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.heads = width // HEAD_WIDTH or 1
        self.ahead, self.window = ahead, window
        self.places = nn.Parameter(torch.zeros(self.heads, window + ahead))

    def begin(self, batch: int, device: torch.device) -> LayerPast:
        """Return the past of a stream that has not begun."""
        width = self.out.out_features
        late = torch.zeros(batch, 0, width, device=device)
        return LayerPast(late, late.new_zeros(batch, 0, 2 * width))

    def forward(self, x: Steps, past: LayerPast) -> tuple[Steps, LayerPast]:
        """Return the steps whose future is known now, and the past for the next call."""
        width, waiting = x.shape[2], past.late.shape[1]
        heard = torch.cat([past.late.to(x.dtype), x], dim=1)
        qkv = self.qkv(self.attention_norm(heard))
        keys = torch.cat([past.keys.to(qkv.dtype), qkv[:, waiting:, width:]], dim=1)
        count = max(heard.shape[1] - self.ahead, 0)
        later = max(keys.shape[1] - (self.window - 1 + self.ahead), 0)
        # Not views, which would keep all that was heard.
        kept = LayerPast(heard[:, count:].clone(), keys[:, later:].clone())
        if not count:
            return heard[:, :0], kept
        attended = F.scaled_dot_product_attention(
            self.by_head(qkv[:, :count, :width]),
            self.by_head(keys[..., :width]),
            self.by_head(keys[..., width:]),
            attn_mask=self.bias(count, heard.shape[1], keys.shape[1]).to(qkv.dtype),
        )
        y: Steps = heard[:, :count] + self.out(attended.transpose(1, 2).flatten(2))
        return y + self.down(F.gelu(self.up(self.mlp_norm(y)))), kept

    def by_head(self, x: Steps) -> Tensor:
        """Return `[batch, heads, steps, width / heads]`."""
        heads: Tensor = x.unflatten(2, (self.heads, -1)).transpose(1, 2)
        return heads

    def bias(self, count: int, heard: int, keys: int) -> Tensor:
        """Return what is added to the scores of queries, `[heads, count, keys]`.

        Args:
            count: Queries, which are the first of the steps that were heard.
            heard: Steps that were heard, which are the last of the keys.
            keys: Steps to attend to.
        """
        device = self.places.device
        query = torch.arange(count, device=device)[:, None] + keys - heard
        place = torch.arange(keys, device=device) - query + self.window - 1
        total = self.places.shape[1]
        bias = self.places[:, place.clamp(0, total - 1)]
        return bias.masked_fill((place < 0) | (place >= total), -torch.inf)


class StudentEncoder(nn.Module):
    """Log-mel bands in, content out, two frames for each step."""

    window: Tensor
    bands: Tensor
    units: Tensor
    """Sounds of speech, between which there is no content, `[units, channels]`."""
    softness: Tensor
    """Squared distance beyond that of the nearest unit at which another counts 1 / e as much."""

    def __init__(
        self, width: int = WIDTH, ahead: Sequence[int] = AHEAD, units: int = UNITS
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(AUDIO.n_mels, width, 3)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2)
        self.position = nn.Parameter(torch.zeros(width))
        self.layers = nn.ModuleList(Layer(width, steps) for steps in ahead)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 2 * CHANNELS)
        self.register_buffer("units", torch.randn(units, CHANNELS))
        self.register_buffer("softness", torch.ones(()))
        self.register_buffer("window", torch.hann_window(AUDIO.n_fft), persistent=False)
        self.register_buffer("bands", mel_filters(AUDIO), persistent=False)

    def mel(self, heard: Wave, octaves: float = 0.0) -> Mel:
        """Return log-power bands `[batch, 80, frames]` of `[batch, samples]`, margins included.

        With `octaves`, as if a speaker said it whose frequencies all lie so much lower.
        """
        pieces = heard.float().unfold(-1, AUDIO.n_fft, AUDIO.hop_length) * self.window
        power = torch.view_as_real(torch.fft.rfft(pieces)).square().sum(-1)
        if octaves:
            power = as_others(power, power.new_full((len(power), 1), octaves))
        return self.mel_of(power)

    def mel_of(self, power: Tensor) -> Mel:
        """Return log-power bands `[batch, 80, frames]` of power `[batch, frames, bins]`."""
        bands: Tensor = (power @ self.bands.T).clamp(min=1e-12).log10() - LEVEL
        return ((bands.clamp(min=FLOOR) - CENTRE) / SCALE).transpose(1, 2)

    def begin(self, batch: int = 1) -> StudentPast:
        """Return the past of a stream that has not begun: it was silent."""
        device = self.window.device
        return StudentPast(
            torch.zeros(batch, MARGIN, device=device),
            torch.full((batch, AUDIO.n_mels, 2), SILENCE, device=device),
            tuple(layer.begin(batch, device) for layer in self.layers),  # type: ignore[operator]
        )

    def forward(self, mel: Mel, past: StudentPast) -> tuple[Content, StudentPast]:
        """Return the frames of content that are ready, and the past for the next call.

        Args:
            mel: `[batch, 80, frames]`.
            past: What the last call returned, or `begin`.

        Returns:
            `[batch, channels, frames]`, an even number of them.
        """
        x, past = self.hidden(mel, past)
        with torch.autocast(x.device.type, enabled=False):
            content: Content = self.nearest(self.said(x)).transpose(1, 2)
        return content, past

    def said(self, x: Steps) -> Tensor:
        """Return `[batch, frames, channels]` that is not one of the units yet."""
        frames: Tensor = self.head(x).unflatten(2, (2, CHANNELS)).flatten(1, 2)
        return frames

    def nearest(self, said: Tensor) -> Tensor:
        """Return the unit that is nearest to each frame, softly: between units a speaker hides."""
        units = self.units.float()
        gap = torch.cdist(said.float().flatten(0, 1), units).square()
        return ((-gap / self.softness.float()).softmax(-1) @ units).view_as(said)

    def hidden(self, mel: Mel, past: StudentPast) -> tuple[Steps, StudentPast]:
        """Return `[batch, steps, width]`, of which `said` makes the content, and the past."""
        heard = torch.cat([past.mel, mel], dim=2)
        steps = max(0, (heard.shape[2] - 3) // 2)
        if steps:
            x = F.gelu(self.conv2(F.gelu(self.conv1(heard[..., : 2 * steps + 3])))).transpose(1, 2)
            x = x + self.position
        else:
            x = heard.new_zeros(heard.shape[0], 0, self.norm.normalized_shape[0])
        layers = []
        for layer, before in zip(self.layers, past.layers, strict=True):
            x, kept = layer(x, before)
            layers.append(kept)
        left = heard[..., 2 * steps :].clone()
        return self.norm(x).float(), past._replace(mel=left, layers=tuple(layers))


def as_others(power: Tensor, octaves: Tensor, curve: Tensor | None = None) -> Tensor:
    """Return what the power at each frequency would be if others spoke.

    Args:
        power: `[batch, frames, bins]`.
        octaves: How much lower every frequency lies for them, `[batch, 1]`.
        curve: How much lower still a third of the highest does, `[batch, 1]`.

    Returns:
        `[batch, frames, bins]`.
    """
    frames, bins = power.shape[1:]
    grid = torch.arange(bins, device=power.device)[None] / bins
    if curve is not None:
        octaves = octaves + curve * (grid / 0.36).clamp(max=1.5)
    source = grid * torch.exp2(octaves) * bins
    low = source.clamp(0, bins - 2).floor()
    share = (source - low).clamp(0, 1)[:, None]
    low = low.long()[:, None].expand(-1, frames, -1)
    return torch.lerp(power.gather(2, low), power.gather(2, low + 1), share)


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
    def push(
        self, wave: Wave, past: StudentPast | None = None, *, octaves: float = 0.0
    ) -> tuple[Content, StudentPast]:
        """Hear more of a stream; return the frames that are ready, and the past for the next call.

        Frames come in pairs, in order from the first; a pair is ready `DELAY` samples after the
        end of its first frame.

        Args:
            wave: `[samples]`, any number of them, which may be none.
            past: What the last call returned; None begins a stream.
            octaves: As in `encode`.

        Returns:
            `[channels, frames]` as float32 on the device of `wave`, and the past.
        """
        if wave.dim() != 1:
            raise AudioError.not_one_channel(tuple(wave.shape))
        past = past or self.network.begin()
        heard = torch.cat([past.wave, wave.to(self.device, torch.float32)[None]], dim=1)
        hop, n_fft = AUDIO.hop_length, AUDIO.n_fft
        frames = max(0, (heard.shape[1] - n_fft) // hop + 1)
        if not frames:
            nothing = torch.zeros(self.spec.channels, 0, device=wave.device)
            return nothing, past._replace(wave=heard)
        mel = self.network.mel(heard[:, : (frames - 1) * hop + n_fft], octaves)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            content, past = self.network(mel, past)
        left = heard[:, frames * hop :].clone()  # not a view, which would keep all of it
        return content[0].float().to(wave.device), past._replace(wave=left)

    def encode(self, wave: Wave, *, octaves: float = 0.0) -> Content:
        """Return the content of `[samples]` at the spec's rate, `[channels, ceil(samples / hop)]`.

        The content is float32 and on the device of `wave`.

        Args:
            wave: What is said.
            octaves: Hear it as if a speaker said it whose frequencies all lie so much lower.
        """
        if wave.dim() != 1:
            raise AudioError.not_one_channel(tuple(wave.shape))
        frames = -(-wave.shape[0] // AUDIO.hop_length)
        parts = [torch.zeros(self.spec.channels, 0, device=wave.device)]
        past: StudentPast | None = None
        end = frames * AUDIO.hop_length + DELAY  # of silence after it, so that all are ready
        for begin in range(0, end if frames else 0, CHUNK):
            heard = wave[begin : begin + CHUNK]
            silent = min(CHUNK, end - begin) - heard.shape[0]
            part, past = self.push(F.pad(heard, (0, silent)), past, octaves=octaves)
            parts.append(part)
        return torch.cat(parts, dim=1)[:, :frames]


def load_student(path: Path, device: torch.device) -> StudentEncoder:
    """Read the encoder.

    Raises:
        WeightsError: The file is damaged, or of another network.
    """
    network = StudentEncoder()
    load_into(network, dequantize(load_tensors(path)), path)
    return network.to(device)
