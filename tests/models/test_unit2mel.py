"""The refiner of so-vits-svc 4.1: names and numbers of tensors, and what it computes."""

from __future__ import annotations

import numpy as np
import pytest
import reference_refiner as reference
import torch
from numpy.typing import NDArray
from reference_cases import random_weights

from sovits.errors import RefinerError
from sovits.models.noise import NoiseSource
from sovits.models.unit2mel import Unit2Mel, Unit2MelConfig

SMALL = Unit2MelConfig(
    content_channels=12, n_layers=3, channels=16, hidden_channels=10, n_speakers=3
)
FRAMES = 24
Weights = dict[str, NDArray[np.float32]]


def census(n_layers: int, width: int, content: int, speakers: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes, written out from the tables of so-vits-svc.md 4.2 and 4.3."""
    shapes: dict[str, tuple[int, ...]] = {
        "unit_embed.weight": (256, content),
        "unit_embed.bias": (256,),
        "f0_embed.weight": (256, 1),
        "f0_embed.bias": (256,),
        "volume_embed.weight": (256, 1),
        "volume_embed.bias": (256,),
        "aug_shift_embed.weight": (256, 1),
        "decoder.spec_min": (1, 1, 1),
        "decoder.spec_max": (1, 1, 1),
    }
    if speakers > 1:
        shapes["spk_embed.weight"] = (speakers, 256)
    for name in (
        "betas",
        "alphas_cumprod",
        "alphas_cumprod_prev",
        "sqrt_alphas_cumprod",
        "sqrt_one_minus_alphas_cumprod",
        "log_one_minus_alphas_cumprod",
        "sqrt_recip_alphas_cumprod",
        "sqrt_recipm1_alphas_cumprod",
        "posterior_variance",
        "posterior_log_variance_clipped",
        "posterior_mean_coef1",
        "posterior_mean_coef2",
    ):
        shapes[f"decoder.{name}"] = (1000,)
    layers = {
        "input_projection": (width, 128, 1),
        "mlp.0": (4 * width, width),
        "mlp.2": (width, 4 * width),
        "skip_projection": (width, width, 1),
        "output_projection": (128, width, 1),
    }
    for i in range(n_layers):
        layers |= {
            f"residual_layers.{i}.diffusion_projection": (width, width),
            f"residual_layers.{i}.conditioner_projection": (2 * width, 256, 1),
            f"residual_layers.{i}.dilated_conv": (2 * width, width, 3),
            f"residual_layers.{i}.output_projection": (2 * width, width, 1),
        }
    for name, shape in layers.items():
        shapes[f"decoder.denoise_fn.{name}.weight"] = shape
        shapes[f"decoder.denoise_fn.{name}.bias"] = shape[:1]
    return shapes


@pytest.mark.parametrize(
    ("n_layers", "width", "content", "speakers", "millions"),
    [
        (20, 512, 768, 1, 55.19),
        (20, 384, 768, 1, 32.15),
        (30, 512, 768, 1, 81.44),
        (20, 512, 256, 7, None),
    ],
)
def test_tensors_are_those_of_published_models(
    n_layers: int, width: int, content: int, speakers: int, millions: float | None
) -> None:
    config = Unit2MelConfig(
        content_channels=content, n_layers=n_layers, channels=width, n_speakers=speakers
    )
    with torch.device("meta"):
        network = Unit2Mel(config)
    found = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert found == census(n_layers, width, content, speakers)
    if millions is not None:
        assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(
            millions, abs=0.005
        )


def test_tables_are_those_of_float64() -> None:
    decoder = Unit2Mel(SMALL).decoder
    bars = reference.alphas_bar()
    before = np.concatenate([[1.0], bars[:-1]])
    betas = np.linspace(1e-4, 0.02, 1000)
    for name, expected in (
        ("alphas_cumprod", bars),
        ("sqrt_one_minus_alphas_cumprod", np.sqrt(1 - bars)),
        ("posterior_variance", betas * (1 - before) / (1 - bars)),
        ("posterior_mean_coef1", betas * np.sqrt(before) / (1 - bars)),
        ("posterior_mean_coef2", (1 - before) * np.sqrt(1 - betas) / (1 - bars)),
    ):
        np.testing.assert_allclose(getattr(decoder, name).numpy(), expected, rtol=0, atol=1e-6)


def drawn_weights(network: Unit2Mel) -> Weights:
    """Return weights of ordinary size, under which every part matters."""
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    weights = random_weights(shapes)
    wide = {name: value for name, value in weights.items() if value.ndim == 2}
    return weights | {name: value / np.sqrt(value.shape[1]) for name, value in wide.items()}


@pytest.fixture(scope="module")
def weights() -> Weights:
    return drawn_weights(Unit2Mel(SMALL))


@pytest.fixture(scope="module")
def network(weights: Weights) -> Unit2Mel:
    network = Unit2Mel(SMALL)
    network.load_state_dict({n: torch.from_numpy(w) for n, w in weights.items()}, strict=False)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def sound() -> dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(0)
    return {
        "mel": random.uniform(-11, 1, (128, FRAMES)).astype(np.float32),
        "content": random.standard_normal((12, FRAMES)).astype(np.float32),
        "f0": random.uniform(80, 1000, FRAMES).astype(np.float32),
        "volume": random.uniform(0, 0.3, FRAMES).astype(np.float32),
    }


def tensors(sound: dict[str, NDArray[np.float32]]) -> list[torch.Tensor]:
    return [torch.from_numpy(sound[name])[None] for name in ("mel", "content", "f0", "volume")]


def doubles(weights: Weights) -> dict[str, NDArray[np.float64]]:
    return {name: value.astype(np.float64) for name, value in weights.items()}


def told(sound: dict[str, NDArray[np.float32]], weights: Weights) -> NDArray[np.float64]:
    parts = [sound[name].astype(np.float64) for name in ("content", "f0", "volume")]
    speaker = doubles(weights)["spk_embed.weight"][2]
    return reference.condition(*parts, speaker, doubles(weights))


def test_the_denoiser_is_that_of_numpy(
    network: Unit2Mel, weights: Weights, sound: dict[str, NDArray[np.float32]]
) -> None:
    _, content, f0, volume = tensors(sound)
    condition = network.condition(content, f0, volume, torch.tensor([2]))
    expected = told(sound, weights)
    np.testing.assert_allclose(condition[0].numpy(), expected, atol=1e-5)
    x = np.random.default_rng(1).standard_normal((128, FRAMES))
    for t in (0, 7.25, 99, 999):
        found = network.denoiser(torch.from_numpy(x).float()[None], torch.tensor([t]), condition)
        step = reference.denoise(x, t, expected, doubles(weights))
        assert np.abs(step).max() > 0.1
        np.testing.assert_allclose(found[0].numpy(), step, atol=2e-5)


def test_noisy_mels_are_those_of_numpy(network: Unit2Mel) -> None:
    random = np.random.default_rng(2)
    clean, noise = random.standard_normal((2, 1, 128, 5))
    for k in (1, 100, 1000):
        bar = reference.alphas_bar()[k - 1]
        found = network.diffusion.noisy(
            torch.from_numpy(clean).float(), torch.from_numpy(noise).float(), k
        )
        expected = np.sqrt(bar) * clean + np.sqrt(1 - bar) * noise
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(("k", "speedup"), [(100, 10), (60, 20), (7, 1), (3, 10)])
def test_refining_without_noise_is_that_of_numpy(
    network: Unit2Mel,
    weights: Weights,
    sound: dict[str, NDArray[np.float32]],
    k: int,
    speedup: int,
) -> None:
    refined = network.refine(
        *tensors(sound), torch.tensor([2]), k=k, speedup=speedup, deterministic=True
    )
    expected = reference.refine(
        sound["mel"].astype(np.float64), told(sound, weights), doubles(weights), k, speedup
    )
    np.testing.assert_allclose(refined[0].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("sampler", ["ddim", "dpm++", "ddpm"])
def test_a_seed_gives_the_same_mel(
    network: Unit2Mel, sound: dict[str, NDArray[np.float32]], sampler: str
) -> None:
    given = (*tensors(sound), torch.tensor([0]))

    def drawn(seed: int) -> torch.Tensor:
        noise = NoiseSource(seed)
        return network.refine(*given, k=20, speedup=4, sampler=sampler, noise=noise)

    assert torch.equal(drawn(1), drawn(1))
    assert float((drawn(1) - drawn(2)).abs().mean()) > 0.01


def test_speakers_can_be_mixed(network: Unit2Mel, sound: dict[str, NDArray[np.float32]]) -> None:
    """Shares of one speaker alone are that speaker; shares change from frame to frame."""
    _, content, f0, volume = tensors(sound)

    def condition(speaker: torch.Tensor) -> torch.Tensor:
        return network.condition(content, f0, volume, speaker)

    first, last = condition(torch.tensor([0])), condition(torch.tensor([2]))
    alone = torch.tensor([1.0, 0, 0])[None, :, None]
    torch.testing.assert_close(condition(alone), first)
    way = torch.linspace(0, 1, FRAMES)
    changing = torch.stack([1 - way, 0 * way, way])[None]
    torch.testing.assert_close(condition(changing), torch.lerp(first, last, way))


def test_strength_is_the_share_of_noise(network: Unit2Mel) -> None:
    for k in (1, 50, 100, 700):
        strength = network.strength_of(k)
        signal, noise = network.diffusion.level(k - 1)
        assert strength == pytest.approx(noise / (noise + signal))
        assert network.k_of(strength) == k
    assert network.strength == network.strength_of(100) == pytest.approx(0.253, abs=1e-3)
    assert (network.strength_of(1000), network.k_of(1.0)) == (1.0, 1000)


def test_no_strength_leaves_the_mel_and_all_of_it_forgets_it(
    network: Unit2Mel, sound: dict[str, NDArray[np.float32]]
) -> None:
    mel, *rest = tensors(sound)
    speaker = torch.tensor([1])
    assert torch.equal(network.refine(mel, *rest, speaker, strength=0.0), mel)
    one, other = (
        network.refine(given, *rest, speaker, strength=1.0, steps=5, sampler="auto")
        for given in (mel, torch.zeros_like(mel))
    )
    assert torch.equal(one, other)


def test_what_it_has_not_learnt_is_refused(sound: dict[str, NDArray[np.float32]]) -> None:
    shallow = Unit2Mel(
        Unit2MelConfig(content_channels=12, n_layers=1, channels=8, hidden_channels=4, k_max=50)
    )
    given = (*tensors(sound), torch.tensor([0]))
    with pytest.raises(RefinerError, match=r"^101 steps .*trained for 1 to 50 \(k_step_max\)"):
        shallow.refine(*given, k=101)
    with pytest.raises(RefinerError, match=r"has no sampler euler\. It may be: ddim, dpm"):
        shallow.refine(*given, k=10, sampler="euler")
    with pytest.raises(ValueError, match=r"mel is \(1, 12, 24\), but has to be \[1, 128, n\]"):
        shallow.refine(given[1], *given[1:], k=10)
    assert shallow.strength == shallow.strength_of(50)
