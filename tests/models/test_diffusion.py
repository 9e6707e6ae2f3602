"""Diffusion against closed forms: what is known of Gaussian data at every step, and exactly."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from sovits.models.diffusion import Diffusion, cosine_betas, ddim, dpm_solver, linear_betas

MEAN, SPREAD = 0.3, 0.4
LINEAR = Diffusion(linear_betas())
# What so-vits-svc.md 4.4 has of the linear process: k, root of alpha bar, sigma.
TABLE = [
    (50, 0.985, 0.170),
    (100, 0.947, 0.321),
    (150, 0.888, 0.460),
    (200, 0.812, 0.584),
    (300, 0.630, 0.777),
    (400, 0.442, 0.897),
    (500, 0.280, 0.960),
    (1000, 0.006, 1.000),
]


def knowing(diffusion: Diffusion, x: Tensor, t: float) -> Tensor:
    """Return the mean of the noise in `x`, if data are N(MEAN, SPREAD^2)."""
    signal, noise = diffusion.level(t)
    variance = (signal * SPREAD) ** 2 + noise**2
    return noise / variance * (x - signal * MEAN)


def test_tables_are_those_of_numpy() -> None:
    betas = np.linspace(1e-4, 0.02, 1000)
    np.testing.assert_allclose(LINEAR.alphas_bar.numpy(), np.cumprod(1 - betas), rtol=0, atol=1e-6)
    time = np.arange(1001) / 1000
    falling = np.cos((time + 0.008) / 1.008 * np.pi / 2) ** 2
    cosine = Diffusion(cosine_betas())
    # All but the end, where one beta is held below 1.
    np.testing.assert_allclose(
        cosine.alphas_bar.numpy()[:-1], (falling / falling[0])[1:-1], rtol=0, atol=1e-6
    )
    assert float(cosine.betas.max()) == 0.999


@pytest.mark.parametrize(("k", "signal", "noise"), TABLE)
def test_levels_are_those_of_published_models(k: int, signal: float, noise: float) -> None:
    found = LINEAR.level(k - 1)
    assert found == pytest.approx((signal, noise), abs=6e-4)
    assert math.hypot(*found) == pytest.approx(1)
    assert LINEAR.nearest(LINEAR.ratio(k)) == k


@pytest.mark.parametrize("k", [1, 100, 500, 1000])
def test_noisy_sound_has_the_mean_and_variance_of_its_step(k: int) -> None:
    clean = MEAN + SPREAD * torch.randn(200_000, dtype=torch.float64)
    noisy = LINEAR.noisy(clean, torch.randn_like(clean), k)
    alpha_bar = float(LINEAR.alphas_bar[k - 1])
    variance = alpha_bar * SPREAD**2 + 1 - alpha_bar
    assert float(noisy.mean()) == pytest.approx(math.sqrt(alpha_bar) * MEAN, abs=0.01)
    assert float(noisy.var()) == pytest.approx(variance, rel=0.02)


def test_step_by_step_is_all_at_once() -> None:
    """Means and variances of k small steps are those of one large one."""
    mean, variance = 1.0, 0.0
    for beta in LINEAR.betas[:321].tolist():
        mean, variance = mean * math.sqrt(1 - beta), variance * (1 - beta) + beta
    signal, noise = LINEAR.level(320)
    assert (mean, variance) == pytest.approx((signal, noise**2))


def marginal(k: int) -> tuple[float, float]:
    """Return the mean and the standard deviation of Gaussian data after k steps."""
    signal, noise = LINEAR.level(k - 1)
    return signal * MEAN, math.hypot(signal * SPREAD, noise)


@pytest.mark.parametrize("k", [100, 1000])
def test_ddim_leads_back_to_where_the_probability_flow_begins(k: int) -> None:
    """The flow keeps how many standard deviations a value lies from the mean."""
    mean, spread = marginal(k)
    deviations = torch.linspace(-3, 3, 7, dtype=torch.float64)
    x = ddim(LINEAR, partial(knowing, LINEAR), mean + spread * deviations, k, k)
    torch.testing.assert_close(x, MEAN + SPREAD * deviations, rtol=0, atol=0.01)


@pytest.mark.parametrize("k", [100, 1000])
def test_dpm_solver_leads_back_with_few_evaluations(k: int) -> None:
    mean, spread = marginal(k)
    deviations = torch.linspace(-3, 3, 7, dtype=torch.float64)
    begin = mean + spread * deviations
    # It ends at the level of the first step.
    end_mean, end_spread = marginal(1)
    exact = end_mean + end_spread * deviations
    errors = {
        n: float((dpm_solver(LINEAR, partial(knowing, LINEAR), begin, k, n) - exact).abs().max())
        for n in (10, 20, 80)
    }
    assert errors[80] < 0.01
    assert errors[20] < errors[10]
    if k == 100:
        assert errors[10] < 0.02


def test_dpm_solver_is_of_second_order() -> None:
    """Twice the evaluations leave about a quarter of the error, where ddim keeps half."""
    schedule = Diffusion(linear_betas(200, 1e-4, 0.02))
    signal, noise = schedule.level(199)
    begin = torch.tensor([signal * MEAN + math.hypot(signal * SPREAD, noise)], dtype=torch.float64)
    predict = partial(knowing, schedule)

    def error(solver: object, n: int) -> float:
        fine = solver(schedule, predict, begin, 200, 200)  # type: ignore[operator]
        return float((solver(schedule, predict, begin, 200, n) - fine).abs())  # type: ignore[operator]

    assert error(ddim, 10) / error(ddim, 20) > 1.7
    assert error(dpm_solver, 10) < error(ddim, 10) / 2


@pytest.mark.parametrize("k", [100, 1000])
def test_ddpm_draws_from_the_data(k: int) -> None:
    """The ancestral steps of Ho 2020 are an affine map plus noise, so means and variances add."""
    mean, spread = marginal(k)
    x = mean + spread * torch.randn(40_000, dtype=torch.float64)
    back = ddim(LINEAR, partial(knowing, LINEAR), x, k, k, lambda _: torch.randn_like(x))
    assert float(back.mean()) == pytest.approx(MEAN, abs=0.01)
    assert float(back.std()) == pytest.approx(SPREAD, rel=0.02)


def test_ddpm_takes_the_steps_of_ho() -> None:
    """One step is the mean and the variance of q(x_{t-1} | x_t, x_0), in Ho's own terms."""
    x, t = torch.tensor([0.7], dtype=torch.float64), 41
    predicted, drawn = torch.tensor([0.2], dtype=torch.float64), torch.tensor([-1.3])
    diffusion = Diffusion(linear_betas()[: t + 1])
    seen: list[Tensor] = []

    def predict(given: Tensor, step: float) -> Tensor:
        seen.append(given)
        assert step == t + 1 - len(seen)
        return predicted

    ddim(diffusion, predict, x, t + 1, t + 1, lambda number: drawn * (number == 0))
    beta, bar, before = (
        float(table[t]) for table in (linear_betas(), LINEAR.alphas_bar, LINEAR.alphas_bar.roll(1))
    )
    mean = (x - beta / math.sqrt(1 - bar) * predicted) / math.sqrt(1 - beta)
    expected = mean + math.sqrt((1 - before) / (1 - bar) * beta) * drawn
    torch.testing.assert_close(seen[1], expected.double())


def test_strides_are_those_of_so_vits_svc() -> None:
    """k = 100 in strides of 10 begins at index 99 and takes ten evaluations."""
    asked: list[float] = []

    def predict(x: Tensor, t: float) -> Tensor:
        asked.append(t)
        return torch.zeros_like(x)

    ddim(LINEAR, predict, torch.zeros(1), 100, 10)
    assert asked == [99, 89, 79, 69, 59, 49, 39, 29, 19, 9]
    asked.clear()
    dpm_solver(LINEAR, predict, torch.zeros(1), 100, 10)
    assert asked == pytest.approx([99 * (1 - i / 10) for i in range(10)])


def test_a_network_learns_the_noise_of_gaussian_data() -> None:
    """Least squares on the loss's own targets finds the closed form, at one step."""
    k = torch.full((20_000,), 300)
    clean = MEAN + SPREAD * torch.randn(20_000, 1)
    noise = torch.randn_like(clean)
    line = torch.nn.Linear(1, 1)
    optimizer = torch.optim.LBFGS(line.parameters(), max_iter=50)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = LINEAR.loss(lambda x, t: line(x), clean, noise, k)
        value.backward()
        return value

    optimizer.step(loss)
    x = torch.tensor([[-1.0], [0.0], [1.0]])
    torch.testing.assert_close(line(x), knowing(LINEAR, x, 299), rtol=0.03, atol=0.03)
