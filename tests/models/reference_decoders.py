"""Second route, in float64 NumPy and from formulae alone: from latent to sound."""

from __future__ import annotations

import numpy as np
from reference_blocks import Array, Weights, at, conv1d, conv_transpose1d, leaky_relu

from sovits.config import SynthesizerConfig


def source(f0: Array, weights: Weights, *, sample_rate: int, hop_length: int) -> Array:
    """Nine sines on the harmonics of f0, mixed to one; no noise, all start at phase 0.

    The phase of harmonic h at sample n is h times the sum of f0 / sample_rate up to and with n.
    """
    every_sample = np.repeat(f0, hop_length)
    cycles = np.cumsum(every_sample / sample_rate)
    harmonics = np.arange(1, weights["l_linear.weight"].shape[1] + 1)
    sines = 0.1 * np.sin(2 * np.pi * harmonics[:, None] * cycles) * (every_sample > 0)
    mixed = weights["l_linear.weight"] @ sines + weights["l_linear.bias"][:, None]
    return np.tanh(mixed)


def residual(x: Array, weights: Weights, dilations: tuple[int, ...], kind: str) -> Array:
    """One residual block: kind 1 has pairs of convolutions, kind 2 two single ones."""
    if kind == "1":
        for i, dilation in enumerate(dilations):
            y = conv1d(leaky_relu(x, 0.1), at(weights, f"convs1.{i}"), dilation=dilation)
            x = x + conv1d(leaky_relu(y, 0.1), at(weights, f"convs2.{i}"))
    else:
        for i, dilation in enumerate(dilations[:2]):
            x = x + conv1d(leaky_relu(x, 0.1), at(weights, f"convs.{i}"), dilation=dilation)
    return x


def stage(
    x: Array, weights: Weights, config: SynthesizerConfig, i: int, extra: Array | None
) -> Array:
    """Upsample once, add the source if there is one, and take the mean of the residual blocks."""
    rate, kernel = config.upsample_rates[i], config.upsample_kernel_sizes[i]
    x = leaky_relu(x, 0.1)
    x = conv_transpose1d(x, at(weights, f"ups.{i}"), stride=rate, pad=(kernel - rate) // 2)
    if extra is not None:
        x = x + extra
    n = len(config.resblock_kernel_sizes)
    total = np.zeros_like(x)
    for j, dilations in enumerate(config.resblock_dilations):
        total += residual(x, at(weights, f"resblocks.{n * i + j}"), dilations, config.resblock)
    return total / n


def nsf(
    z: Array,
    f0: Array,
    speaker: Array,
    weights: Weights,
    config: SynthesizerConfig,
    sample_rate: int,
) -> Array:
    """NSF-HiFiGAN: the source is brought down to the rate of every stage."""
    rates = config.upsample_rates
    excitation = source(
        f0, at(weights, "m_source"), sample_rate=sample_rate, hop_length=int(np.prod(rates))
    )
    x = conv1d(z, at(weights, "conv_pre")) + conv1d(speaker, at(weights, "cond"))
    for i in range(len(rates)):
        stride = int(np.prod(rates[i + 1 :]))
        half = stride // 2
        down = conv1d(excitation, at(weights, f"noise_convs.{i}"), stride=stride, pad=(half, half))
        x = stage(x, weights, config, i, down)
    return np.tanh(conv1d(leaky_relu(x, 0.01), at(weights, "conv_post")))[0]


def inverse_stft(magnitude: Array, phase: Array, n_fft: int, hop_length: int) -> Array:
    """Overlap-add with a periodic Hann window, over the sum of its squares, centred frames."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    frames = magnitude.shape[1]
    wave, weight = np.zeros((2, (frames - 1) * hop_length + n_fft))
    n = np.arange(n_fft)
    for t in range(frames):
        piece = np.zeros(n_fft)
        for k in range(n_fft // 2 + 1):
            mirrored = 1 if k in (0, n_fft // 2) else 2
            wave_k = np.cos(2 * np.pi * k * n / n_fft + phase[k, t])
            piece += mirrored / n_fft * magnitude[k, t] * wave_k
        span = slice(t * hop_length, t * hop_length + n_fft)
        wave[span] += window * piece
        weight[span] += window**2
    inside = slice(n_fft // 2, n_fft // 2 + (frames - 1) * hop_length)
    return wave[inside] / weight[inside]


def pqmf_filters(bands: int = 4, taps: int = 62, cutoff: float = 0.15) -> tuple[Array, Array]:
    """Cosine-modulated Kaiser prototype (beta 9): `[bands, taps + 1]`, to split and to join."""
    n = np.arange(taps + 1)
    from_centre = n - taps / 2
    prototype = cutoff * np.sinc(cutoff * from_centre) * np.kaiser(taps + 1, 9.0)
    analysis, synthesis = np.zeros((2, bands, taps + 1))
    for k in range(bands):
        # Half a sample off the middle of the prototype: textbooks have taps / 2, with which
        # splitting and joining undo each other, but others' weights are trained on this.
        angle = (2 * k + 1) * np.pi / (2 * bands) * (n - (taps - 1) / 2)
        turn = (-1) ** k * np.pi / 4
        analysis[k] = 2 * prototype * np.cos(angle + turn)
        synthesis[k] = 2 * prototype * np.cos(angle - turn)
    return analysis, synthesis


def pqmf_analysis(wave: Array, bands: int = 4) -> Array:
    """Split a wave `[samples]` into bands at a fraction of its rate."""
    filters, _ = pqmf_filters(bands)
    half = filters.shape[1] // 2
    return conv1d(wave[None], {"weight": filters[:, None]}, pad=(half, half), stride=bands)


def pqmf_synthesis(x: Array) -> Array:
    """Put bands together: zeros between samples, times their number, filter, sum."""
    bands = len(x)
    _, filters = pqmf_filters(bands)
    half = filters.shape[1] // 2
    sparse = np.zeros((bands, x.shape[1] * bands))
    sparse[:, ::bands] = bands * x
    return conv1d(sparse, {"weight": filters[None]}, pad=(half, half))[0]


def istft_bands(z: Array, weights: Weights, config: SynthesizerConfig, last: str) -> Array:
    """The trunk of the inverse-STFT decoders: `[bands, samples]`, without pitch or speaker."""
    x = conv1d(z, at(weights, "conv_pre"))
    for i in range(len(config.upsample_rates)):
        x = stage(x, weights, config, i, None)
    x = leaky_relu(x, 0.01)
    x = np.concatenate([x[:, 1:2], x], axis=1)  # a reflection by one, on the left
    x = conv1d(x, at(weights, last))
    bins = config.istft_n_fft // 2 + 1
    return np.stack(
        [
            inverse_stft(
                np.exp(part[:bins]),
                np.pi * np.sin(part[bins:]),
                config.istft_n_fft,
                config.istft_hop_length,
            )
            for part in np.split(x, len(x) // (2 * bins))
        ]
    )


def istft(z: Array, weights: Weights, config: SynthesizerConfig) -> Array:
    """One band."""
    return istft_bands(z, weights, config, "conv_post")[0]


def ms_istft(z: Array, weights: Weights, config: SynthesizerConfig) -> Array:
    """Several streams, joined by a learned filter."""
    streams = istft_bands(z, weights, config, "subband_conv_post")
    n = len(streams)
    spread = conv_transpose1d(streams, {"weight": n * weights["updown_filter"]}, stride=n, pad=0)
    return conv1d(spread, at(weights, "multistream_conv_post"))[0]


def mb_istft(z: Array, weights: Weights, config: SynthesizerConfig) -> Array:
    """Several bands, joined by a fixed filter bank."""
    return pqmf_synthesis(istft_bands(z, weights, config, "subband_conv_post"))
