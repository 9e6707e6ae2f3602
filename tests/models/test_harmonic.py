"""The light decoder: its pulses, its spectra, and what it promises."""

from __future__ import annotations

import math

import pytest
import torch

from sovits.config import AudioConfig, SynthesizerConfig
from sovits.models.decoders.harmonic import HarmonicDecoder
from sovits.models.noise import NoiseSource

AUDIO = AudioConfig(sample_rate=24_000, hop_length=256, n_fft=1024)
CONFIG = SynthesizerConfig(
    decoder="harmonic", inter_channels=8, speaker_channels=4, upsample_initial_channels=16
)


@pytest.fixture
def decoder() -> HarmonicDecoder:
    return HarmonicDecoder(CONFIG, AUDIO).eval()


def test_pulses_are_the_sum_of_all_partials_below_half_the_rate(decoder: HarmonicDecoder) -> None:
    f0 = torch.tensor([[233.0, 233.0, 311.0, 2000.0, 60.0]])
    pulses = decoder.pulses(f0, torch.tensor([0.25]))[0].double()
    rate, hop, phase, expected = 24_000, 256, 0.25, []
    for frequency in f0[0].tolist():
        partials = math.floor(rate / 2 / frequency)
        n = torch.arange(1, hop + 1, dtype=torch.float64)
        cycles = phase + n * frequency / rate
        k = torch.arange(1, partials + 1, dtype=torch.float64)[:, None]
        total = torch.cos(2 * math.pi * k * cycles).sum(0) * math.sqrt(2 / partials)
        expected.append(total)
        phase += hop * frequency / rate
    torch.testing.assert_close(pulses, torch.cat(expected), atol=5e-3, rtol=1e-3)


def test_pulses_have_unit_power_at_any_pitch(decoder: HarmonicDecoder) -> None:
    for frequency in (60.0, 220.0, 990.0):
        pulses = decoder.pulses(torch.full((1, 94), frequency), None)
        assert pulses.square().mean().item() == pytest.approx(1, abs=0.06)


def test_a_spectrum_becomes_the_same_sound_again(decoder: HarmonicDecoder) -> None:
    wave = torch.randn(2, 256 * 20)
    torch.testing.assert_close(decoder._sound(decoder._spectrum(wave)), wave, atol=1e-4, rtol=1e-3)


def test_the_sound_lasts_as_long_as_its_frames(decoder: HarmonicDecoder) -> None:
    for frames in (1, 2, 17):
        wave = decoder(
            torch.randn(1, 8, frames), torch.randn(1, 4, 1), torch.full((1, frames), 200.0)
        )
        assert wave.shape == (1, 1, frames * 256)
        assert wave.isfinite().all()


def test_an_octave_up_doubles_the_pitch(decoder: HarmonicDecoder) -> None:
    def lowest_partial(f0: float) -> float:
        frames = 188
        z, g = torch.zeros(1, 8, frames), torch.zeros(1, 4, 1)
        wave = decoder(z, g, torch.full((1, frames), f0))[0, 0].detach()
        window = torch.hann_window(len(wave))
        spectrum = torch.fft.rfft(wave * window, 1 << 18).abs()
        bins = torch.arange(len(spectrum)) * 24_000 / (1 << 18)
        near = (bins > 0.7 * f0) & (bins < 1.3 * f0)
        return float(bins[near][spectrum[near].argmax()])

    ratio = lowest_partial(440.0) / lowest_partial(220.0)
    assert abs(1200 * math.log2(ratio / 2)) < 10


def test_noise_comes_only_from_where_it_is_said_to(decoder: HarmonicDecoder) -> None:
    z, g, f0 = torch.randn(1, 8, 9), torch.randn(1, 4, 1), torch.full((1, 9), 180.0)
    silent = decoder(z, g, f0)
    torch.testing.assert_close(decoder(z, g, f0), silent, rtol=0, atol=0)
    noisy = decoder(z, g, f0, noise=NoiseSource(3))
    torch.testing.assert_close(decoder(z, g, f0, noise=NoiseSource(3)), noisy, rtol=0, atol=0)
    assert (noisy - silent).abs().max() > 1e-3
