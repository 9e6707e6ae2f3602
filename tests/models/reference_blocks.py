"""Second route, in float64 NumPy and from formulae alone: the blocks that encode.

Everything is unbatched, `[channels, frames]`: a clip is computed by itself, so that a padded
batch can be compared with its clips one by one. Weights come as a dict of arrays under the
names of so-vits-svc; `at(weights, "enc_p")` gives the part below a prefix.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Weights: TypeAlias = Mapping[str, Array]


def fold(weights: Mapping[str, NDArray[np.floating]]) -> dict[str, Array]:
    """Replace every `weight_g`, `weight_v` by `weight` = g v / |v|, the norm over all axes but 0.

    Axis 0 counts the inputs of a transposed convolution and the outputs of any other.
    """
    plain: dict[str, Array] = {}
    for name, value in weights.items():
        if name.endswith("weight_v"):
            v = value.astype(np.float64)
            g = weights[name[:-1] + "g"].astype(np.float64)
            length = np.empty_like(g)
            for row in range(len(v)):
                length[row] = np.sqrt(np.sum(v[row] ** 2))
            plain[name[:-2]] = g * v / length
        elif not name.endswith("weight_g"):
            plain[name] = value.astype(np.float64)
    return plain


def at(weights: Weights, prefix: str) -> dict[str, Array]:
    """Return the entries below `prefix`, without it."""
    start = prefix + "."
    return {name[len(start) :]: w for name, w in weights.items() if name.startswith(start)}


def conv1d(
    x: Array,
    weights: Weights,
    *,
    pad: tuple[int, int] | None = None,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
) -> Array:
    """y[o, t] = b[o] + sum over i, k of w[o, i, k] x[i, t stride + k dilation - left].

    The padding keeps the length if it is not given.
    """
    kernel = weights["weight"]
    n_out, n_in, taps = kernel.shape
    if pad is None:
        pad = ((taps - 1) * dilation // 2, (taps - 1) * dilation // 2)
    x = np.pad(x, ((0, 0), pad))
    frames = (x.shape[1] - (taps - 1) * dilation - 1) // stride + 1
    y = np.zeros((n_out, frames))
    for group in range(groups):
        rows = slice(group * n_out // groups, (group + 1) * n_out // groups)
        part = x[group * n_in : (group + 1) * n_in]
        for k in range(taps):
            seen = part[:, k * dilation : k * dilation + (frames - 1) * stride + 1 : stride]
            y[rows] += kernel[rows, :, k] @ seen
    if "bias" in weights:
        y += weights["bias"][:, None]
    return y


def conv_transpose1d(x: Array, weights: Weights, *, stride: int, pad: int) -> Array:
    """Every input frame t adds w[i, o, k] x[i, t] to output t stride + k - pad."""
    kernel = weights["weight"]
    _, n_out, taps = kernel.shape
    full = np.zeros((n_out, (x.shape[1] - 1) * stride + taps))
    for k in range(taps):
        full[:, k : k + (x.shape[1] - 1) * stride + 1 : stride] += kernel[:, :, k].T @ x
    y = full[:, pad : full.shape[1] - pad]
    if "bias" in weights:
        y = y + weights["bias"][:, None]
    return y


def leaky_relu(x: Array, slope: float) -> Array:
    """x where positive, `slope` x elsewhere."""
    return np.where(x > 0, x, slope * x)


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x)."""
    return 1 / (1 + np.exp(-x))


def layer_norm(x: Array, weights: Weights) -> Array:
    """Normalise the channels of each frame."""
    centred = x - x.mean(axis=0)
    scale = np.sqrt((centred**2).mean(axis=0) + 1e-5)
    return centred / scale * weights["gamma"][:, None] + weights["beta"][:, None]


def attention(x: Array, weights: Weights, n_heads: int, *, window: int = 0) -> Array:
    """Self-attention, straight from its definition, one pair of frames at a time.

    With a `window`, a learned vector for each distance j - i within it is added to key and value
    (Shaw et al. 2018), and every frame sees every other. Without one, a frame sees only the past.
    """
    q, k, v = (conv1d(x, at(weights, f"conv_{name}")) for name in "qkv")
    channels, frames = x.shape
    size = channels // n_heads
    out = np.zeros((channels, frames))
    for head in range(n_heads):
        rows = slice(head * size, (head + 1) * size)
        for i in range(frames):
            seen = range(frames) if window else range(i + 1)
            score = np.empty(len(seen))
            for j in seen:
                key = k[rows, j]
                if window and abs(j - i) <= window:
                    key = key + weights["emb_rel_k"][0, j - i + window]
                score[j] = q[rows, i] @ key / np.sqrt(size)
            weight = np.exp(score - score.max())
            weight /= weight.sum()
            for j in seen:
                value = v[rows, j]
                if window and abs(j - i) <= window:
                    value = value + weights["emb_rel_v"][0, j - i + window]
                out[rows, i] += weight[j] * value
    return conv1d(out, at(weights, "conv_o"))


def feed_forward(x: Array, weights: Weights, *, causal: bool) -> Array:
    """Two convolutions with a ReLU between."""
    taps = weights["conv_1.weight"].shape[2]
    pad = (taps - 1, 0) if causal else ((taps - 1) // 2, taps // 2)
    x = np.maximum(conv1d(x, at(weights, "conv_1"), pad=pad), 0)
    return conv1d(x, at(weights, "conv_2"), pad=pad)


def count(weights: Weights, name: str) -> int:
    """Return how many numbered entries `name` has."""
    return len({key.split(".")[1] for key in weights if key.startswith(name + ".")})


def prior(x: Array, f0: Array, weights: Weights, n_heads: int) -> tuple[Array, Array]:
    """enc_p: mean and log of the standard deviation of the latent for each frame."""
    x = x + weights["f0_emb.weight"][coarse(f0)].T
    layers = at(weights, "enc_")
    for i in range(count(layers, "attn_layers")):
        y = attention(x, at(layers, f"attn_layers.{i}"), n_heads, window=4)
        x = layer_norm(x + y, at(layers, f"norm_layers_1.{i}"))
        y = feed_forward(x, at(layers, f"ffn_layers.{i}"), causal=False)
        x = layer_norm(x + y, at(layers, f"norm_layers_2.{i}"))
    mean, log_std = np.split(conv1d(x, at(weights, "proj")), 2)
    return mean, log_std


def coarse(f0: Array) -> NDArray[np.int64]:
    """Bin 1 to 255 of each frame on a mel scale from 50 to 1100 Hz; no pitch is bin 1."""
    low, high = 1127 * np.log(1 + 50 / 700), 1127 * np.log(1 + 1100 / 700)
    bins = np.ones(len(f0), dtype=np.int64)
    for frame, hertz in enumerate(f0):
        mel = 1127 * np.log(1 + hertz / 700)
        if mel > 0:
            position = (mel - low) * 254 / (high - low) + 1
            bins[frame] = int(np.floor(min(max(position, 1.0), 255.0) + 0.5))
    return bins


def prenet(
    content: Array, voiced: NDArray[np.bool_], volume: Array | None, weights: Weights
) -> Array:
    """What prior and F0 decoder read: content, voicing and, since 4.1, loudness."""
    x = conv1d(content, at(weights, "pre"))
    x = x + np.stack([weights["emb_uv.weight"][int(flag)] for flag in voiced], axis=1)
    if volume is not None:
        x = x + weights["emb_vol.weight"] * volume + weights["emb_vol.bias"][:, None]
    return x


def wavenet(x: Array, speaker: Array, weights: Weights) -> Array:
    """WN: gated convolutions of dilation 1, a residual and a skip path."""
    hidden = len(x)
    layers = count(weights, "in_layers")
    condition = conv1d(speaker, at(weights, "cond_layer"))
    out = np.zeros_like(x)
    for i in range(layers):
        a = conv1d(x, at(weights, f"in_layers.{i}"))
        a = a + condition[2 * hidden * i : 2 * hidden * (i + 1)]
        gated = np.tanh(a[:hidden]) * sigmoid(a[hidden:])
        y = conv1d(gated, at(weights, f"res_skip_layers.{i}"))
        if i < layers - 1:
            x = x + y[:hidden]
            y = y[hidden:]
        out = out + y
    return out


def posterior(spectrogram: Array, speaker: Array, weights: Weights) -> tuple[Array, Array]:
    """enc_q: mean and log of the standard deviation of the latent, from what was recorded."""
    x = wavenet(conv1d(spectrogram, at(weights, "pre")), speaker, at(weights, "enc"))
    mean, log_std = np.split(conv1d(x, at(weights, "proj")), 2)
    return mean, log_std


def flow(z: Array, speaker: Array, weights: Weights, *, reverse: bool = False) -> Array:
    """Four couplings, each followed by a flip of the channels; or all that undone."""
    for k in (6, 4, 2, 0) if reverse else (0, 2, 4, 6):
        if reverse:
            z = z[::-1]
        kept, moved = np.split(z, 2)
        part = at(weights, f"flows.{k}")
        h = wavenet(conv1d(kept, at(part, "pre")), speaker, at(part, "enc"))
        shift = conv1d(h, at(part, "post"))
        z = np.concatenate([kept, moved - shift if reverse else moved + shift])
        if not reverse:
            z = z[::-1]
    return z


def log_f0(f0: Array) -> Array:
    """The scale on which pitch is predicted: mel by O'Shaughnessy, over 500."""
    return 2595 * np.log10(1 + f0 / 700) / 500


def normalised_log_f0(f0: Array, voiced: NDArray[np.bool_], scale: float = 1.0) -> Array:
    """Log f0 less its mean over voiced frames; where none is voiced, the mean is nought."""
    values = log_f0(f0)
    mean = values[voiced].sum() / voiced.sum() if voiced.any() else 0.0
    return (values - mean) * scale


def f0_decoder(
    x: Array, normalised: Array, speaker: Array, weights: Weights, n_heads: int
) -> Array:
    """Return the predicted log f0 of each frame."""
    x = x + conv1d(speaker, at(weights, "cond"))
    x = x + conv1d(normalised[None], at(weights, "f0_prenet"))
    x = conv1d(x, at(weights, "prenet"))
    layers = at(weights, "decoder")
    for i in range(count(layers, "self_attn_layers")):
        y = attention(x, at(layers, f"self_attn_layers.{i}"), n_heads)
        x = layer_norm(x + y, at(layers, f"norm_layers_0.{i}"))
        y = feed_forward(x, at(layers, f"ffn_layers.{i}"), causal=True)
        x = layer_norm(x + y, at(layers, f"norm_layers_1.{i}"))
    return conv1d(x, at(weights, "proj"))[0]


def f0_from_log(values: Array) -> Array:
    """Undo `log_f0`."""
    return 700 * (10 ** (values * 500 / 2595) - 1)
