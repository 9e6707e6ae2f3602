"""Discriminators, losses and spectra against a float64 NumPy evaluation of the formulae."""

from __future__ import annotations

import numpy as np
import pytest
import reference_blocks as blocks
import reference_judges as judges
import torch
from reference_blocks import Array
from reference_cases import AUDIO, random_weights

from sovits.audio.mel import LogMel, linear_spectrogram, mel_filters
from sovits.config import AudioConfig, DiscriminatorConfig
from sovits.models import losses
from sovits.models.convolution import NormedConv1d
from sovits.models.discriminator import Discriminator, Judgement
from sovits.models.encoders import Gaussian


def judge(
    wave: Array, width: float, periods: tuple[int, ...]
) -> tuple[list[Judgement], list[tuple[Array, list[Array]]]]:
    """Return what both routes think of a wave."""
    network = Discriminator(DiscriminatorConfig(periods=periods, width=width)).double()
    weights = random_weights({k: tuple(v.shape) for k, v in network.state_dict().items()})
    network.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    with torch.no_grad():
        (found,) = network(torch.from_numpy(wave)[None, None])
    return found, judges.discriminator(wave, blocks.fold(weights), periods)


def test_discriminators_are_those_of_the_formulae() -> None:
    found, wanted = judge(np.random.default_rng(0).standard_normal(2311), 1 / 16, (2, 3, 5, 7, 11))
    for (score, layers), (wanted_score, wanted_layers) in zip(found, wanted, strict=True):
        np.testing.assert_allclose(score[0], wanted_score, rtol=1e-9, atol=1e-12)
        for a, b in zip(layers, wanted_layers, strict=True):
            assert b.std() > 1e-2
            np.testing.assert_allclose(a[0], b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("samples", [24, 25, 30, 31])
def test_the_end_is_mirrored_up_to_a_whole_period(samples: int) -> None:
    found, wanted = judge(np.random.default_rng(1).standard_normal(samples), 1 / 64, (3, 6))
    for (_, layers), (_, wanted_layers) in zip(found[1:], wanted[1:], strict=True):
        np.testing.assert_allclose(layers[0][0], wanted_layers[0], rtol=1e-9, atol=1e-12)


def test_several_waves_are_judged_as_each_alone() -> None:
    """With the same scores and layers, and the same gradients of weights and waves."""
    network = Discriminator(DiscriminatorConfig(periods=(2, 3), width=1 / 32, spectra=(64,)))
    network = network.double()
    waves = [torch.randn(2, 1, n, dtype=torch.float64, requires_grad=True) for n in (700, 700, 901)]
    results = []
    for judged in (network(*waves), [network(wave)[0] for wave in waves]):
        outputs = [x for every in judged for score, layers in every for x in (score, *layers)]
        loss = torch.stack([(x * (i + 1)).square().mean() for i, x in enumerate(outputs)]).sum()
        results.append((outputs, torch.autograd.grad(loss, [*waves, *network.parameters()])))
    for together, alone in zip(*results, strict=True):
        for a, b in zip(together, alone, strict=True):
            assert b.any()
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-14)


def test_kernels_are_the_same_with_and_without_gradients() -> None:
    conv = NormedConv1d(6, 4, 5).double()
    torch.nn.init.normal_(conv.weight_g)
    learning = conv.kernel()
    with torch.no_grad():
        torch.testing.assert_close(learning, conv.kernel())
    pull = torch.randn_like(learning)
    found = torch.autograd.grad((learning * pull).sum(), [conv.weight_v, conv.weight_g])
    length = conv.weight_v.flatten(1).norm(dim=1).view(-1, 1, 1)
    plain = (conv.weight_v * (conv.weight_g / length) * pull).sum()
    wanted = torch.autograd.grad(plain, [conv.weight_v, conv.weight_g])
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b)


def test_adversarial_losses_are_those_of_the_formulae() -> None:
    random = np.random.default_rng(2)
    (real, wanted_real), (fake, wanted_fake) = (
        judge(random.standard_normal(600), 1 / 32, (2, 5)) for _ in range(2)
    )
    scores = [[score for score, _ in side] for side in (wanted_real, wanted_fake)]
    layers = [[maps for _, maps in side] for side in (wanted_real, wanted_fake)]
    for found, wanted in (
        (losses.feature_distance(real, fake), judges.feature_matching(*layers)),
        (losses.generator_adversarial(fake), judges.adversarial(scores[1])),
        (losses.discriminator_adversarial(real, fake), judges.judging(*scores)),
    ):
        assert float(found) == pytest.approx(wanted, rel=1e-5)


def test_features_of_what_was_recorded_are_not_moved() -> None:
    real, fake = (torch.randn(2, 3, requires_grad=True) for _ in range(2))
    losses.feature_distance([(real, [real])], [(fake, [fake])]).backward()
    assert real.grad is None
    assert fake.grad is not None


def test_divergence_is_that_of_the_formulae() -> None:
    random = np.random.default_rng(3)
    lengths = (11, 6)
    clips = [[random.standard_normal((8, n)) for n in lengths] for _ in range(4)]
    mask = torch.tensor([[[float(i < n) for i in range(11)]] for n in lengths])
    z, mean, log_std, posterior_log_std = (
        torch.from_numpy(np.stack([np.pad(x, ((0, 0), (0, 11 - x.shape[1]))) for x in items]))
        for items in clips
    )
    mean[1, :, 6:] = 5  # padding must not matter
    found = losses.divergence(
        z, Gaussian(torch.zeros_like(z), posterior_log_std), Gaussian(mean, log_std), mask
    )
    assert float(found) == pytest.approx(judges.kl(*clips), rel=1e-9)


def test_divergence_of_two_normals_is_the_textbook_one() -> None:
    """On average over draws from the posterior: log s_p/s_q + (s_q^2 + d^2) / 2 s_p^2 - 1/2."""
    shape = (1, 2, 20_000)
    q = Gaussian(torch.full(shape, 0.3), torch.full(shape, -0.5))
    p = Gaussian(torch.full(shape, -0.4), torch.full(shape, 0.2))
    z = q.mean + torch.randn(shape) * q.log_std.exp()
    found = losses.divergence(z, q, p, torch.ones(1, 1, shape[-1]))
    wanted = 2 * (0.7 + (np.exp(-1.0) + 0.7**2) / (2 * np.exp(0.4)) - 0.5)
    assert float(found) == pytest.approx(wanted, rel=0.02)


def test_band_stft_distance_is_that_of_the_formulae() -> None:
    random = np.random.default_rng(4)
    real, fake = random.standard_normal((2, 2, 4, 700))
    real[0] *= 3  # clips count together, not each by itself
    fake[1, 2] = 0  # down to the floor
    resolutions = [(768, 60, 300), (1366, 120, 600), (342, 20, 120)]
    found = losses.stft_distance(
        torch.from_numpy(real).float(), torch.from_numpy(fake).float(), resolutions
    )
    wanted = judges.subband_stft(real.reshape(8, -1), fake.reshape(8, -1), resolutions)
    assert float(found) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    "audio", [AUDIO, AudioConfig(sample_rate=16_000, hop_length=160, n_fft=512, n_mels=30)]
)
def test_spectra_are_those_of_the_formulae(audio: AudioConfig) -> None:
    wave = 0.2 * np.random.default_rng(5).standard_normal(7 * audio.hop_length + 100)
    wave[: 3 * audio.hop_length] = 0  # down to the floors
    single = torch.from_numpy(wave).float()
    wanted = judges.linear_spectrogram(wave, audio.n_fft, audio.hop_length)
    found = linear_spectrogram(single, audio)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    filters = judges.mel_filters(
        audio.sample_rate, audio.n_fft, audio.n_mels, 0.0, audio.sample_rate / 2
    )
    np.testing.assert_allclose(mel_filters(audio), filters, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(
        LogMel(audio)(single), judges.log_mel(wanted, filters), rtol=1e-4, atol=1e-4
    )
