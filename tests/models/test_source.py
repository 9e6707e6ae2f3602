"""The random parts of the harmonic source, by their statistics."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sovits.models.decoders.source import HarmonicSource
from sovits.models.noise import NoiseSource

FRAMES, HOP = 40, 512


def source(weights: list[float]) -> HarmonicSource:
    """Return a source with the given weights of its nine harmonics, and no bias."""
    made = HarmonicSource(44_100, HOP)
    with torch.no_grad():
        made.l_linear.weight.copy_(torch.tensor([weights + [0.0] * (9 - len(weights))]))
        made.l_linear.bias.zero_()
    return made


def linear(wave: Tensor) -> Tensor:
    """Undo the tanh at the end of the source."""
    return torch.atanh(wave.double())[0, 0]


def unexplained(wave: Tensor, pitch: float) -> Tensor:
    """Return what no sum of nine harmonics of `pitch`, at whatever phases, explains."""
    time = torch.arange(1, len(wave) + 1, dtype=torch.float64)[:, None]
    angle = 2 * math.pi * pitch / 44_100 * time * torch.arange(1, 10)
    sines = torch.cat([angle.sin(), angle.cos()], dim=1)
    return wave - sines @ torch.linalg.lstsq(sines, wave[:, None]).solution[:, 0]


@pytest.mark.parametrize("training", [False, True])
def test_noise_has_the_levels_of_the_formulae(training: bool) -> None:
    """Nine noises of one level each, mixed by the weights, add up in power."""
    weights = [0.6, -0.5, 0.4, 0.3, -0.2, 0.1, 0.3, -0.4, 0.5]
    length = math.sqrt(sum(w**2 for w in weights))
    made, noise = source(weights), NoiseSource()
    with torch.no_grad():
        voiced = linear(made(torch.full((1, FRAMES), 200.0), None, noise, training=training))
        unvoiced = linear(made(torch.zeros(1, FRAMES), None, noise, training=training))
    left = unexplained(voiced, 200.0)
    assert float(left.std()) == pytest.approx(0.003 * length, rel=0.02)
    assert float((voiced - left).std()) == pytest.approx(0.1 * length / math.sqrt(2), rel=0.02)
    assert float(unvoiced.std()) == pytest.approx(0.1 / 3 * length, rel=0.02)


@pytest.mark.parametrize("training", [False, True])
def test_the_fundamental_starts_at_phase_zero_whatever_the_seed(training: bool) -> None:
    f0 = torch.full((1, 4), 441.0)
    made = source([1.0])
    wanted = 0.1 * torch.sin(2 * math.pi * 0.01 * torch.arange(1, 4 * HOP + 1).double())
    with torch.no_grad():
        torch.testing.assert_close(linear(made(f0, None, None)), wanted, atol=1e-7, rtol=1e-5)
        for seed in range(3):
            noisy = linear(made(f0, None, NoiseSource(seed), training=training))
            assert float((noisy - wanted).std()) == pytest.approx(0.003, rel=0.05)


@pytest.mark.parametrize("training", [False, True])
def test_overtones_start_anywhere(training: bool) -> None:
    f0 = torch.full((2, 4), 441.0)
    made = source([0.0, 0.0, 1.0])
    with torch.no_grad():
        clean = linear(made(f0, None, None))
        shifts = [
            float((linear(made(f0, None, NoiseSource(seed), training=training)) - clean).std())
            for seed in range(4)
        ]
    assert max(shifts) - min(shifts) > 0.03
