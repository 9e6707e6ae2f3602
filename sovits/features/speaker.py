"""Who is heard: the GE2E speaker encoder (Wan et al., 2018) with Resemblyzer's weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sovits.audio.mel import mel_filters
from sovits.audio.resample import resample
from sovits.config import AudioConfig
from sovits.errors import AudioError
from sovits.types import Mel, Wave
from sovits.weights import WeightsFile, find, load_into, load_tensors

SPEAKER = WeightsFile(
    name="speaker",
    filename="pretrained.pt",
    licence="Apache-2.0",
    sha256="39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e",
    bytes=17_090_379,
    bundled="speaker-encoder.safetensors",
    bundled_sha256="113fd42c5facdc20d8133c9e8f502ac3a06c80ef697ac244900b01b0384d372a",
    package=("resemblyzer:pretrained.pt",),
)
"""Weights of the speaker encoder."""

AUDIO = AudioConfig(sample_rate=16_000, hop_length=160, n_fft=400, n_mels=40)
"""How the encoder's front end cuts sound into frames."""

PARTIAL = 160  # frames heard at once: 1.6 s
STEP = 77  # frames between the starts of two partials: 1.3 a second
MIN_COVERAGE = 0.75  # share of the last partial that must be sound
BATCH = 64  # partials encoded together

TARGET_DB = -30.0  # level that quiet sound is raised to (dBFS)
GATE_WINDOW = 480  # samples judged as sound or silence at once: 30 ms
GATE_DB = 35.0  # how far below the loud windows silence begins (dB)
GATE_SMOOTH = 8  # windows that one decision is averaged over
GATE_MARGIN = 3  # windows kept on either side of sound


class SpeakerNetwork(nn.Module):
    """Three LSTM layers whose last state says who spoke."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(AUDIO.n_mels, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    def forward(self, mel: Tensor) -> Tensor:
        """Return `[batch, 256]` unit vectors, nowhere negative, for `[batch, frames, 40]`."""
        _, (hidden, _) = self.lstm(mel)
        return F.normalize(torch.relu(self.linear(hidden[-1])), dim=-1)


class SpeakerEncoder:
    """Turns speech into a unit vector that is close to that of the same speaker.

    Reliable from about ten seconds of speech; shorter ones vary with what is said.
    """

    def __init__(self, network: SpeakerNetwork, device: torch.device) -> None:
        self.network, self.device = network, device
        self.window, self.bands = torch.hann_window(AUDIO.n_fft), mel_filters(AUDIO)

    @torch.no_grad()
    def embed(self, wave: Wave, sample_rate: int) -> Tensor:
        """Return the `[256]` unit vector of whoever is heard in `[samples]`.

        Quiet sound is raised to -30 dBFS, and long silences are left out, as in training.

        Raises:
            AudioError: There is no sound in `wave`, or it has more than one channel.
        """
        if wave.dim() != 1:
            raise AudioError.not_one_channel(tuple(wave.shape))
        heard = resample(wave.detach().float().cpu(), sample_rate, AUDIO.sample_rate)
        return self.embed_prepared(without_silence(raised(heard)))

    @torch.no_grad()
    def embed_prepared(self, wave: Wave) -> Tensor:
        """Return the unit vector of `[samples]` at 16 kHz, taken as it is."""
        return F.normalize(self.embed_partials(wave).sum(0), dim=0)

    @torch.no_grad()
    def embed_partials(self, wave: Wave) -> Tensor:
        """Return unit vectors `[n, 256]` of `[samples]` at 16 kHz, one for 1.6 s every 0.77 s."""
        starts = partial_starts(wave.shape[0])
        mel = self._mel(wave, starts[-1] + PARTIAL)
        found = []
        for index in range(0, len(starts), BATCH):
            heard = [mel[:, start : start + PARTIAL].T for start in starts[index : index + BATCH]]
            found.append(self.network(torch.stack(heard).to(self.device)).cpu())
        return torch.cat(found)

    def _mel(self, wave: Wave, frames: int) -> Mel:
        """Return the power (not its logarithm) of `[40, frames]`; frame `i` is at `160 i`."""
        half, needed = AUDIO.n_fft // 2, (frames - 1) * AUDIO.hop_length + AUDIO.n_fft
        padded = F.pad(wave, (half, max(needed - half - wave.shape[0], 0)))[:needed]
        spectrum = torch.fft.rfft(padded.unfold(0, AUDIO.n_fft, AUDIO.hop_length) * self.window)
        power = spectrum.real.square() + spectrum.imag.square()
        mel: Mel = self.bands @ power.T
        return mel


def partial_starts(samples: int) -> list[int]:
    """Return the first frame of each partial; a last one with little sound in it is left out.

    >>> partial_starts(16_000 * 3)
    [0, 77, 154]
    """
    frames = -(-(samples + 1) // AUDIO.hop_length)
    starts = list(range(0, max(1, frames - PARTIAL + STEP + 1), STEP))
    covered = (samples / AUDIO.hop_length - starts[-1]) / PARTIAL
    return starts[:-1] if covered < MIN_COVERAGE and len(starts) > 1 else starts


def raised(wave: Wave) -> Wave:
    """Return `wave` at -30 dBFS if it is quieter; louder sound stays as it is.

    Raises:
        AudioError: There is no sound in it.
    """
    level = wave.double().square().mean().sqrt().item() if wave.numel() else 0.0
    if level == 0:
        raise AudioError.no_speaker()
    return wave * max(1.0, 10 ** (TARGET_DB / 20) / level)


def without_silence(wave: Wave) -> Wave:
    """Return `[samples]` at 16 kHz without its long silences.

    What is within 35 dB of its loudest twentieth counts as sound, averaged over 0.24 s, and
    0.09 s around it are kept.
    """
    count = wave.shape[0] // GATE_WINDOW
    if count < GATE_SMOOTH:
        return wave
    blocks = wave[: count * GATE_WINDOW].view(count, GATE_WINDOW)
    power = blocks.square().mean(1)
    loud = power >= power.quantile(0.95) * 10 ** (-GATE_DB / 10)
    before = (GATE_SMOOTH - 1) // 2
    padded = F.pad(loud.float()[None], (before, GATE_SMOOTH - 1 - before))
    kept = F.avg_pool1d(padded, GATE_SMOOTH, 1) > 0.5
    kept = F.max_pool1d(kept.float(), 2 * GATE_MARGIN + 1, 1, GATE_MARGIN)[0] > 0
    return blocks[kept].reshape(-1) if kept.any() else wave


def load_speaker_encoder(
    device: str | torch.device = "cpu", *, path: Path | None = None
) -> SpeakerEncoder:
    """Return the speaker encoder, ready to embed.

    Args:
        device: Where it computes.
        path: Weights to use instead of the bundled ones.

    Raises:
        WeightsError: The weights are missing or wrong.
    """
    found, where = find(SPEAKER, path), torch.device(device)
    tensors = load_tensors(found)
    kept = {name: t for name, t in tensors.items() if not name.startswith("similarity_")}
    with torch.device("meta"):
        network = SpeakerNetwork()
    load_into(network, kept, found)
    return SpeakerEncoder(network.to(where), where)


def similarity(a: Tensor, b: Tensor) -> float:
    """Return the cosine between two embeddings; about 0.75 and more is the same speaker."""
    return float(F.cosine_similarity(a.flatten(), b.flatten(), dim=0))
