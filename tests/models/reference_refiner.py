"""Second route, in float64 NumPy and from formulae alone: the refiner of so-vits-svc 4.1."""

from __future__ import annotations

import numpy as np
from reference_blocks import Array, Weights, at, conv1d, count, sigmoid

LOW, HIGH = -12.0, 2.0


def linear(x: Array, weights: Weights) -> Array:
    """Map `[in, frames]` to `[out, frames]`."""
    y = weights["weight"] @ x
    return y + weights["bias"][:, None] if "bias" in weights else y


def condition(
    content: Array, f0: Array, volume: Array, speaker: Array | None, weights: Weights
) -> Array:
    """Return what the denoiser is told, `[hidden, frames]`; `speaker` is its row of the table."""
    x = linear(content, at(weights, "unit_embed"))
    x = x + linear(np.log(1 + f0 / 700)[None], at(weights, "f0_embed"))
    x = x + linear(volume[None], at(weights, "volume_embed"))
    return x if speaker is None else x + speaker[:, None]


def step_embedding(t: float, channels: int) -> Array:
    """Sines, then cosines, at frequencies that fall geometrically from 1 to 1 / 10000."""
    frequencies = 10_000.0 ** -(np.arange(channels // 2) / (channels // 2 - 1))
    return np.concatenate([np.sin(t * frequencies), np.cos(t * frequencies)])


def denoise(x: Array, t: float, told: Array, weights: Weights) -> Array:
    """Return the noise in `x` `[bands, frames]` at step index `t`."""
    part = at(weights, "decoder.denoise_fn")
    channels = len(part["input_projection.bias"])
    step = linear(step_embedding(t, channels)[:, None], at(part, "mlp.0"))
    step = step * np.tanh(np.log1p(np.exp(step)))
    step = linear(step, at(part, "mlp.2"))
    x = np.maximum(conv1d(x, at(part, "input_projection")), 0)
    total, layers = np.zeros_like(x), count(part, "residual_layers")
    for i in range(layers):
        layer = at(part, f"residual_layers.{i}")
        y = x + linear(step, at(layer, "diffusion_projection"))
        y = conv1d(y, at(layer, "dilated_conv"))
        y = y + conv1d(told, at(layer, "conditioner_projection"))
        y = sigmoid(y[:channels]) * np.tanh(y[channels:])
        y = conv1d(y, at(layer, "output_projection"))
        x = (x + y[:channels]) / np.sqrt(2)
        total += y[channels:]
    y = np.maximum(conv1d(total / np.sqrt(layers), at(part, "skip_projection")), 0)
    return conv1d(y, at(part, "output_projection"))


def alphas_bar() -> Array:
    """Return the share of power that is left after each of 1000 steps."""
    return np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))


def refine(mel: Array, told: Array, weights: Weights, k: int, speedup: int) -> Array:
    """Refine without any noise: the mel is only made weaker, and DDIM takes it back."""
    bars = np.concatenate([[1.0], alphas_bar()])  # after 0, 1, ... steps
    x = np.sqrt(bars[k]) * (2 * (mel - LOW) / (HIGH - LOW) - 1)
    for now in range(k, 0, -speedup):
        after = max(0, now - speedup)
        noise = denoise(x, now - 1, told, weights)
        clean = (x - np.sqrt(1 - bars[now]) * noise) / np.sqrt(bars[now])
        x = np.sqrt(bars[after]) * clean + np.sqrt(1 - bars[after]) * noise
    return (x + 1) / 2 * (HIGH - LOW) + LOW
