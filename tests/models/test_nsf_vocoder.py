"""NSF-HiFiGAN as a vocoder is the decoder of so-vits-svc without a speaker, as NumPy has it."""

from __future__ import annotations

import numpy as np
import pytest
import reference_decoders as reference
import torch
from reference_blocks import fold
from reference_cases import random_weights

from sovits.audio.mel import VOCODER_MEL
from sovits.config import SynthesizerConfig
from sovits.models.nsf_vocoder import NsfVocoder

NARROW = SynthesizerConfig(inter_channels=128, speaker_channels=0, upsample_initial_channels=32)


def test_its_sound_is_that_of_numpy() -> None:
    vocoder = NsfVocoder(NARROW, VOCODER_MEL)
    shapes = {f"dec.{n}": tuple(p.shape) for n, p in vocoder.generator.state_dict().items()}
    weights = {name[4:]: value for name, value in random_weights(shapes).items()}
    vocoder.generator.load_state_dict({n: torch.from_numpy(w) for n, w in weights.items()})
    random = np.random.default_rng(0)
    mel = random.uniform(-3, 1, (128, 12)).astype(np.float32)
    f0 = np.linspace(90, 1500, 12).astype(np.float32)
    # The reference always adds what a speaker says, which here is nothing.
    nothing = {"cond.weight": np.zeros((32, 1, 1)), "cond.bias": np.zeros(32)}
    expected = reference.nsf(
        mel.astype(np.float64),
        f0.astype(np.float64),
        np.zeros((1, 1)),
        fold(weights) | nothing,
        NARROW,
        44_100,
    )
    given = torch.from_numpy(mel)[None], torch.from_numpy(f0)[None]
    for network in (vocoder.eval(), vocoder.fold()):
        wave = network.synthesize(*given)
        assert wave.shape == (1, 12 * 512)
        np.testing.assert_allclose(wave[0].numpy(), expected, atol=1e-4)


def test_it_has_the_size_of_published_models() -> None:
    """14.18 M parameters, counted with the lengths of weight normalisation."""
    with torch.device("meta"):
        vocoder = NsfVocoder(SynthesizerConfig(inter_channels=128, speaker_channels=0), VOCODER_MEL)
    assert sum(p.numel() for p in vocoder.parameters()) / 1e6 == pytest.approx(14.18, abs=0.005)
    assert not any(name.startswith("generator.cond") for name, _ in vocoder.named_parameters())


def test_frames_farther_than_its_reach_change_nothing() -> None:
    torch.manual_seed(0)
    vocoder = NsfVocoder(NARROW, VOCODER_MEL).fold()
    reach = vocoder.reach
    mel, f0 = torch.randn(1, 128, 2 * reach + 9), torch.full((1, 2 * reach + 9), 200.0)
    other = mel.clone()
    middle = reach + 4
    other[..., : middle - reach] *= 100
    other[..., middle + reach + 1 :] *= 100
    wave, moved = vocoder.synthesize(mel, f0)[0], vocoder.synthesize(other, f0)[0]
    kept = slice(middle * 512, (middle + 1) * 512)
    torch.testing.assert_close(wave[kept], moved[kept])
    assert float((wave - moved).abs().max()) > 1e-2
