"""Denoising diffusion: noise is added step by step, and a network that knows it takes it out.

Sohl-Dickstein 2015 and Ho 2020. `docs/theory.md` has the formulae and where they come from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

Predict = Callable[[Tensor, float], Tensor]
"""Returns the noise in `x` at step `t`, counted from 0; between steps too."""
Draw = Callable[[int], Tensor]
"""Returns noise of the shape of `x` for the n-th evaluation."""


def linear_betas(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """Return how much variance each step adds, rising evenly (Ho 2020), float64 `[steps]`."""
    return torch.linspace(first, last, steps, dtype=torch.float64, device="cpu")


def cosine_betas(steps: int = 1000, offset: float = 0.008, most: float = 0.999) -> Tensor:
    """Return betas under which the signal falls as a squared cosine (Nichol and Dhariwal 2021).

    Args:
        steps: Number of steps.
        offset: Keeps the first steps from being too small.
        most: Largest beta, which keeps the last ones from ending at once.

    Returns:
        float64, `[steps]`.
    """
    time = torch.arange(steps + 1, dtype=torch.float64) / steps
    left = ((time + offset) / (1 + offset) * math.pi / 2).cos().square()
    return (1 - left[1:] / left[:-1]).clamp(max=most)


class Diffusion:
    """The forward process, `x_k = signal * x_0 + noise`, and the ways back.

    Args:
        betas: Variance that each step adds, in (0, 1), `[steps]`.
    """

    def __init__(self, betas: Tensor) -> None:
        self.betas = betas.detach().double().cpu()
        self.alphas_bar = (1 - self.betas).cumprod(0)
        """Share of the signal's power that is left after each step, float64 `[steps]`."""
        self._log_signal: list[float] = (self.alphas_bar.log() / 2).tolist()

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.betas)

    def level(self, t: float) -> tuple[float, float]:
        """Return the factors of signal and noise after step `t`, whose squares sum to 1.

        Steps are counted from 0, and -1 is before the first. Between steps the logarithm of the
        signal is interpolated linearly, as DPM-Solver has it.
        """
        if t < 0:
            return 1.0, 0.0
        low = min(int(t), self.steps - 1)
        high = min(low + 1, self.steps - 1)
        share = t - low
        log_signal = (1 - share) * self._log_signal[low] + share * self._log_signal[high]
        return math.exp(log_signal), math.sqrt(-math.expm1(2 * log_signal))

    def noisy(self, clean: Tensor, noise: Tensor, k: int | Tensor) -> Tensor:
        """Return `x_k`: `clean` after the first `k` steps, in one go.

        Args:
            clean: `[batch, ...]`.
            noise: Standard normal, of the same shape.
            k: 1 to `steps`, a number or one for each of the batch.
        """
        alphas_bar = self.alphas_bar[torch.as_tensor(k).cpu() - 1]
        alphas_bar = alphas_bar.reshape(-1, *[1] * (clean.dim() - 1))
        return alphas_bar.sqrt().to(clean) * clean + (1 - alphas_bar).sqrt().to(clean) * noise

    def loss(
        self, predict: Callable[[Tensor, Tensor], Tensor], clean: Tensor, noise: Tensor, k: Tensor
    ) -> Tensor:
        """Return the error of the predicted noise, `mean (noise - predict(x_k, k - 1))^2`."""
        return (predict(self.noisy(clean, noise, k), k - 1) - noise).square().mean()

    def nearest(self, ratio: float) -> int:
        """Return the `k` after which noise over signal is nearest to `ratio`; all for infinity."""
        ratios = ((1 - self.alphas_bar) / self.alphas_bar).sqrt()
        return self.steps if math.isinf(ratio) else int((ratios - ratio).abs().argmin()) + 1

    def ratio(self, k: int) -> float:
        """Return noise over signal after the first `k` steps."""
        signal, noise = self.level(k - 1)
        return noise / signal


def ddim(
    diffusion: Diffusion,
    predict: Predict,
    x: Tensor,
    k: int,
    evaluations: int,
    draw: Draw | None = None,
) -> Tensor:
    """Take the noise of `k` steps out of `x` (Song 2021), by equal strides down to no noise.

    Args:
        diffusion: How noise was added.
        predict: The network.
        x: `x_k`, of any shape.
        k: Steps of noise in it.
        evaluations: Of the network, at most `k`.
        draw: Noise that is added anew on the way, as much as the forward process has between two
            levels; that is DDPM (Ho 2020) if `evaluations` is `k`. None adds none.
    """
    for number, (t, after) in enumerate(_strides(k, evaluations)):
        signal, noise = diffusion.level(t)
        next_signal, next_noise = diffusion.level(after)
        predicted = predict(x, t)
        clean = (x - noise * predicted) / signal
        fresh = 0.0
        if draw is not None:
            ratio = signal / next_signal
            fresh = next_noise / noise * math.sqrt(1 - ratio**2)
        kept = math.sqrt(max(0.0, next_noise**2 - fresh**2))
        x = next_signal * clean + kept * predicted
        if draw is not None and fresh:
            x = x + fresh * draw(number)
    return x


def _strides(k: int, evaluations: int) -> Iterator[tuple[int, int]]:
    """Yield pairs of steps from `k - 1` down to -1; as equal as whole numbers allow."""
    edges = [round(k * (evaluations - i) / evaluations) - 1 for i in range(evaluations + 1)]
    yield from pairwise(edges)


def dpm_solver(
    diffusion: Diffusion, predict: Predict, x: Tensor, k: int, evaluations: int
) -> Tensor:
    """Take the noise of `k` steps out of `x` by DPM-Solver++ (2M, Lu 2022).

    Solves the same equation as `ddim` does, to second order: between evaluations, which lie evenly
    in time, what the network takes for clean is continued along a line in the logarithm of signal
    over noise. It ends at the level of the first step, and its last step is of first order.

    Args:
        diffusion: How noise was added.
        predict: The network.
        x: `x_k`, of any shape.
        k: Steps of noise in it, at least 2.
        evaluations: Of the network, at most `k`.
    """
    before: Tensor | None = None
    width_before = 0.0
    signal, noise = diffusion.level(k - 1)
    for number in range(evaluations):
        clean = (x - noise * predict(x, (k - 1) * (1 - number / evaluations))) / signal
        next_signal, next_noise = diffusion.level((k - 1) * (1 - (number + 1) / evaluations))
        width = math.log(next_signal / next_noise) - math.log(signal / noise)
        ahead = clean
        if before is not None and number + 1 < evaluations:
            ahead = clean + (clean - before) * (width / width_before / 2)
        x = next_noise / noise * x - next_signal * math.expm1(-width) * ahead
        before, width_before = clean, width
        signal, noise = next_signal, next_noise
    return x
