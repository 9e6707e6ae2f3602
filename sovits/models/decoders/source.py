"""Sines at the multiples of the pitch, which a neural source-filter model shapes (Wang 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sovits.models.noise import NoiseSource
from sovits.types import F0

HARMONICS = 9
AMPLITUDE = 0.1
VOICED_NOISE = 0.003
UNVOICED_NOISE = AMPLITUDE / 3


def frame_phases(f0: F0, sample_rate: int, hop_length: int, start: Tensor | None = None) -> Tensor:
    """Return the phase just before each frame and after the last, in cycles within [0, 1).

    Summed in float64, so that a note of an hour is still in tune at its end.

    Args:
        f0: Pitch, `[batch, frames]`.
        sample_rate: Hz.
        hop_length: Samples per frame.
        start: Phase before the first frame (cycles), `[batch]`; zero if not given.

    Returns:
        float64, `[batch, frames + 1]`.
    """
    advance = f0.double() * (hop_length / sample_rate)
    phase = torch.nn.functional.pad(advance.cumsum(dim=-1), (1, 0))
    if start is not None:
        phase = phase + start.double().unsqueeze(-1)
    return phase % 1.0


class HarmonicSource(nn.Module):
    """Mix `HARMONICS` sines of the pitch into one excitation signal."""

    def __init__(self, sample_rate: int, hop_length: int) -> None:
        super().__init__()
        self.sample_rate, self.hop_length = sample_rate, hop_length
        self.l_linear = nn.Linear(HARMONICS, 1)

    def forward(
        self, f0: F0, phase: Tensor | None, noise: NoiseSource | None, *, training: bool = False
    ) -> Tensor:
        """Return the excitation, `[batch, 1, frames * hop_length]`.

        Args:
            f0: Pitch, `[batch, frames]`; frames of 0 Hz hold noise alone.
            phase: Phase of the fundamental before the first sample (cycles), `[batch]`.
            noise: Where noise and the overtones' start phases come from. Nothing means neither
                noise nor start phases, but torch's global generator while `training`.
            training: Draw noise and start phases from torch's global generator.
        """
        batch, frames = f0.shape
        begin = frame_phases(f0, self.sample_rate, self.hop_length, phase)[:, :-1, None]
        steps = torch.arange(1, self.hop_length + 1, device=f0.device, dtype=torch.float64)
        cycles = (begin + f0.double()[..., None] * (steps / self.sample_rate)).flatten(1)
        overtones = torch.arange(1, HARMONICS + 1, device=f0.device, dtype=torch.float64)
        offsets = self._offsets(batch, noise, training, f0.device)
        weight, bias = self.l_linear.weight[0], self.l_linear.bias
        voiced = (f0 > 0).to(f0.dtype).repeat_interleave(self.hop_length, dim=1)
        mixed = torch.zeros_like(voiced)
        # One harmonic at a time: nine sines at once cost nine times the memory for no speed.
        for k in range(HARMONICS):
            turns = (cycles * overtones[k] + offsets[:, k, None]) % 1.0
            mixed = mixed + weight[k] * torch.sin(2 * torch.pi * turns.to(f0.dtype))
        mixed = mixed * (AMPLITUDE * voiced)
        drawn = self._noise(batch, frames, noise, training, f0)
        if drawn is not None:
            # Nine independent noises, mixed by the layer, are one noise of the weights' length.
            level = voiced * VOICED_NOISE + (1 - voiced) * UNVOICED_NOISE
            mixed = mixed + weight.norm() * level * drawn
        return torch.tanh(mixed + bias).unsqueeze(1)

    @staticmethod
    def _offsets(
        batch: int, noise: NoiseSource | None, training: bool, device: torch.device
    ) -> Tensor:
        offsets = torch.zeros(batch, HARMONICS, dtype=torch.float64, device=device)
        if training:
            offsets[:, 1:] = torch.rand(batch, HARMONICS - 1, device=device)
        elif noise is not None:
            offsets[:, 1:] = noise.phases(HARMONICS - 1).to(device)
        return offsets

    def _noise(
        self, batch: int, frames: int, noise: NoiseSource | None, training: bool, f0: F0
    ) -> Tensor | None:
        if training:
            return torch.randn(batch, frames * self.hop_length, device=f0.device, dtype=f0.dtype)
        return None if noise is None else noise.samples(frames, self.hop_length)[0].to(f0)
