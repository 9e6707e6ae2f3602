"""Second route, in float64 NumPy and from formulae alone: discriminators, spectra and losses."""

from __future__ import annotations

import numpy as np
from reference_blocks import Array, Weights, at, conv1d, leaky_relu

SCALE_STRIDES = (1, 4, 4, 4, 4, 1)
PERIOD_STRIDES = (3, 3, 3, 3, 1)


def scale_discriminator(wave: Array, weights: Weights) -> tuple[Array, list[Array]]:
    """Judge the raw wave `[samples]`; return the verdict, flat, and every layer's output."""
    x, features = wave[None], []
    for j, stride in enumerate(SCALE_STRIDES):
        part = at(weights, f"convs.{j}")
        taps = part["weight"].shape[2]
        groups = len(x) // part["weight"].shape[1]
        x = conv1d(x, part, stride=stride, pad=(taps // 2, taps // 2), groups=groups)
        x = leaky_relu(x, 0.1)
        features.append(x)
    x = conv1d(x, at(weights, "conv_post"))
    features.append(x)
    return x.ravel(), features


def period_discriminator(wave: Array, period: int, weights: Weights) -> tuple[Array, list[Array]]:
    """Judge every `period`-th sample by itself, each phase of the period with the same weights."""
    rest = -len(wave) % period
    wave = np.concatenate([wave, wave[-2 : -2 - rest : -1]])
    columns = [wave[phase::period][None] for phase in range(period)]
    features = []
    for name, stride in [(f"convs.{j}", s) for j, s in enumerate(PERIOD_STRIDES)] + [
        ("conv_post", 1)
    ]:
        part = at(weights, name)
        flat = {"weight": part["weight"][..., 0], "bias": part["bias"]}
        half = flat["weight"].shape[2] // 2
        columns = [conv1d(x, flat, stride=stride, pad=(half, half)) for x in columns]
        if name != "conv_post":
            columns = [leaky_relu(x, 0.1) for x in columns]
        features.append(np.stack(columns, axis=-1))
    return features[-1].ravel(), features


def discriminator(
    wave: Array, weights: Weights, periods: tuple[int, ...] = (2, 3, 5, 7, 11)
) -> list[tuple[Array, list[Array]]]:
    """The scale discriminator, then those of each period."""
    judged = [scale_discriminator(wave, at(weights, "discriminators.0"))]
    for i, period in enumerate(periods):
        part = at(weights, f"discriminators.{i + 1}")
        judged.append(period_discriminator(wave, period, part))
    return judged


def hann(length: int) -> Array:
    """Periodic Hann window."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)


def power_frames(wave: Array, window: Array, hop_length: int) -> Array:
    """|DFT|^2 of every whole window, `[bins, frames]`, from the definition of the DFT."""
    n = len(window)
    starts = range(0, len(wave) - n + 1, hop_length)
    frames = np.stack([window * wave[s : s + n] for s in starts], axis=1)
    angle = 2 * np.pi * np.outer(np.arange(n // 2 + 1), np.arange(n)) / n
    return (np.cos(angle) @ frames) ** 2 + (np.sin(angle) @ frames) ** 2


def linear_spectrogram(wave: Array, n_fft: int, hop_length: int) -> Array:
    """Magnitude as the posterior encoder reads it: reflected ends, no centring, a floor of 1e-3."""
    side = (n_fft - hop_length) // 2
    padded = np.pad(wave, (side, side), mode="reflect")
    return np.sqrt(power_frames(padded, hann(n_fft), hop_length) + 1e-6)


def slaney_mel(hertz: float) -> float:
    """Linear below 1000 Hz (3 mel per 200 Hz), logarithmic above (27 mel per factor 6.4)."""
    if hertz < 1000:
        return 3 * hertz / 200
    return 15 + 27 * np.log(hertz / 1000) / np.log(6.4)


def slaney_hertz(mel: float) -> float:
    """Undo `slaney_mel`."""
    return 200 * mel / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


def mel_filters(sample_rate: int, n_fft: int, n_mels: int, low: float, high: float) -> Array:
    """Triangles of area one on the slaney scale, `[n_mels, bins]`."""
    marks = np.linspace(slaney_mel(low), slaney_mel(high), n_mels + 2)
    edges = [slaney_hertz(mel) for mel in marks]
    filters = np.zeros((n_mels, n_fft // 2 + 1))
    for band in range(n_mels):
        left, peak, right = edges[band : band + 3]
        for b in range(n_fft // 2 + 1):
            hertz = b * sample_rate / n_fft
            if left < hertz <= peak:
                filters[band, b] = (hertz - left) / (peak - left)
            elif peak < hertz < right:
                filters[band, b] = (right - hertz) / (right - peak)
        filters[band] *= 2 / (right - left)
    return filters


def log_mel(spectrogram: Array, filters: Array) -> Array:
    """Natural logarithm of the mel magnitudes, floored at 1e-5."""
    return np.log(np.maximum(filters @ spectrogram, 1e-5))


def kl(z_p: list[Array], m_p: list[Array], logs_p: list[Array], logs_q: list[Array]) -> float:
    """Divergence of posterior from prior: the sum over channels, the mean over all valid frames."""
    total = sum(
        float(np.sum(lp - lq - 0.5 + 0.5 * (z - m) ** 2 * np.exp(-2 * lp)))
        for z, m, lp, lq in zip(z_p, m_p, logs_p, logs_q, strict=True)
    )
    return total / sum(z.shape[1] for z in z_p)


def feature_matching(real: list[list[Array]], fake: list[list[Array]]) -> float:
    """Sum over discriminators and layers of the mean absolute difference, without its weight."""
    return sum(
        float(np.mean(np.abs(a - b)))
        for one, other in zip(real, fake, strict=True)
        for a, b in zip(one, other, strict=True)
    )


def adversarial(fake: list[Array]) -> float:
    """Least squares: the generator wants every verdict to be 1."""
    return sum(float(np.mean((1 - d) ** 2)) for d in fake)


def judging(real: list[Array], fake: list[Array]) -> float:
    """Least squares: the discriminators want 1 for what was recorded and 0 for what was made."""
    return sum(
        float(np.mean((1 - r) ** 2) + np.mean(f**2)) for r, f in zip(real, fake, strict=True)
    )


def stft_magnitude(wave: Array, n_fft: int, hop_length: int, window_length: int) -> Array:
    """Magnitude with centred, reflected frames and a short window in the middle of each."""
    left = (n_fft - window_length) // 2
    window = np.pad(hann(window_length), (left, n_fft - window_length - left))
    padded = np.pad(wave, (n_fft // 2, n_fft // 2), mode="reflect")
    return np.sqrt(np.maximum(power_frames(padded, window, hop_length), 1e-7))


def subband_stft(real: Array, fake: Array, resolutions: list[tuple[int, int, int]]) -> float:
    """Spectral convergence and log magnitude of sub-bands `[n, samples]`; mean over resolutions."""
    total = 0.0
    for n_fft, hop_length, window_length in resolutions:
        a, b = (
            np.stack([stft_magnitude(w, n_fft, hop_length, window_length) for w in waves])
            for waves in (real, fake)
        )
        total += float(np.sqrt(np.sum((a - b) ** 2)) / np.sqrt(np.sum(a**2)))
        total += float(np.mean(np.abs(np.log(a) - np.log(b))))
    return total / len(resolutions)
