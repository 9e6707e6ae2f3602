"""Bounds on settings that come from a stranger's file, checked before anything is built."""

from __future__ import annotations

import math
from typing import Any

from sovits.config import AudioConfig, NativeConfig, SynthesizerConfig
from sovits.errors import ConfigError
from sovits.legacy.keys import SETTINGS

MAX_PARAMETERS = 1e9
"""Parameters of the largest network that is built; so-vits-svc has 5e7."""
HARMONIC_BLOCKS = 7
"""Blocks of the harmonic decoder, each with two layers of twice its width."""
PITCH_INPUTS = 40
"""Numbers that tell the light network a frame's pitch and loudness, and its biases."""
NOISE_STEPS = 4
"""Times a frame that it shapes noise."""
MAX_ITEMS = 64
"""Entries of the longest list of numbers."""
MAX_TEXT = 4096
"""Characters of the longest text."""


def check_finite(key: str, value: Any) -> None:
    """Refuse NaN, infinity, numbers no setting needs, and endless lists and texts.

    Raises:
        ConfigError: `value`, or something inside it, is one of these.
    """
    if isinstance(value, list):
        if len(value) > MAX_ITEMS:
            raise ConfigError.wrong_value(key, value, f"a list of at most {MAX_ITEMS}")
        for index, item in enumerate(value):
            check_finite(f"{key}[{index}]", item)
    elif isinstance(value, str) and len(value) > MAX_TEXT:
        raise ConfigError.wrong_value(key, value, f"at most {MAX_TEXT} characters long")
    elif isinstance(value, int | float) and not (
        abs(value) < 2**53 if isinstance(value, int) else math.isfinite(value)
    ):
        raise ConfigError.wrong_value(key, value, "a number of ordinary size")


def check_range(key: str, value: Any, low: float, high: float) -> None:
    """Refuse numbers, alone or in lists, outside `low` to `high`.

    Raises:
        ConfigError: One is.
    """
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            check_range(f"{key}[{index}]", item, low, high)
    elif isinstance(value, int | float) and not low <= value <= high:
        raise ConfigError.wrong_value(key, value, f"between {low:g} and {high:g}")


def check_ranges(audio: AudioConfig, synthesizer: SynthesizerConfig | NativeConfig) -> None:
    """Refuse settings beyond the ranges that hold for a `config.json` too.

    Raises:
        ConfigError: One is.
    """
    kind = "native" if isinstance(synthesizer, NativeConfig) else "synthesizer"
    rooms: dict[str, tuple[str, object]] = {
        "audio": ("audio", audio),
        kind: ("synthesizer", synthesizer),
    }
    for setting in SETTINGS:
        if setting.room in rooms:
            where, room = rooms[setting.room]
            value = getattr(room, setting.name)
            check_range(f"{where}.{setting.name}", value, setting.low, setting.high)


def check_shape(audio: AudioConfig, synthesizer: SynthesizerConfig | NativeConfig) -> None:
    """Refuse shapes that cannot be built, or that would fill every memory.

    Raises:
        ConfigError: Two settings contradict each other, or the network is absurdly large.
    """
    if audio.mel_max is not None and not audio.mel_min < audio.mel_max <= audio.sample_rate / 2:
        raise ConfigError.wrong_value(
            "data.mel_fmax", audio.mel_max, "above mel_fmin and at most half of sampling_rate"
        )
    if isinstance(synthesizer, SynthesizerConfig):
        _check_stages(synthesizer)
    if (count := parameters(audio, synthesizer)) > MAX_PARAMETERS:
        raise ConfigError.too_large(count, MAX_PARAMETERS)


def _check_stages(s: SynthesizerConfig) -> None:
    """Refuse layers that do not fit one another."""
    if s.hidden_channels % s.n_heads:
        raise ConfigError.wrong_value(
            "model.hidden_channels", s.hidden_channels, f"a multiple of n_heads ({s.n_heads})"
        )
    if s.inter_channels % 2:
        raise ConfigError.wrong_value("model.inter_channels", s.inter_channels, "even")
    if len(s.upsample_rates) != len(s.upsample_kernel_sizes) or not s.upsample_rates:
        raise ConfigError.lists_differ("model.upsample_rates", "model.upsample_kernel_sizes")
    for rate, kernel in zip(s.upsample_rates, s.upsample_kernel_sizes, strict=True):
        if kernel < rate or (kernel - rate) % 2:
            raise ConfigError.wrong_value(
                "model.upsample_kernel_sizes",
                list(s.upsample_kernel_sizes),
                f"each as large as its rate {list(s.upsample_rates)}, or larger by an even number",
            )
    if s.decoder == "hifi-gan" and s.upsample_rates[1:] and s.upsample_rates[-1] == 1:
        raise ConfigError.wrong_value(
            "model.upsample_rates", list(s.upsample_rates), "above 1 at its end"
        )
    if s.decoder != "hifi-gan" and (s.istft_n_fft % 2 or s.istft_n_fft < s.istft_hop_length):
        raise ConfigError.wrong_value(
            "model.gen_istft_n_fft",
            s.istft_n_fft,
            f"even, and not below gen_istft_hop_size ({s.istft_hop_length})",
        )
    if len(s.resblock_kernel_sizes) != len(s.resblock_dilations) or not s.resblock_dilations:
        raise ConfigError.lists_differ(
            "model.resblock_kernel_sizes", "model.resblock_dilation_sizes"
        )
    if any(kernel % 2 == 0 for kernel in s.resblock_kernel_sizes):
        raise ConfigError.wrong_value(
            "model.resblock_kernel_sizes", list(s.resblock_kernel_sizes), "odd numbers"
        )
    if s.upsample_initial_channels >> len(s.upsample_rates) < 1:
        raise ConfigError.wrong_value(
            "model.upsample_initial_channel",
            s.upsample_initial_channels,
            f"at least {2 ** len(s.upsample_rates)}, as each stage halves it",
        )


def parameters(
    audio: AudioConfig,
    synthesizer: SynthesizerConfig | NativeConfig,
    *,
    posterior: bool = True,
) -> float:
    """Return roughly how many parameters the network has, without building it.

    Args:
        audio: How sound is cut into frames.
        synthesizer: Shape of the network.
        posterior: Whether to count the posterior encoder, which only training needs.
    """
    if isinstance(synthesizer, NativeConfig):
        return _native_parameters(audio, synthesizer, posterior=posterior)
    s, width = synthesizer, float(synthesizer.hidden_channels)
    layer = width * (4 * width + 2 * s.filter_channels * s.kernel_size)
    wavenet = width * (2 * width * 5 + 2 * width + 2 * s.speaker_channels)
    total = (1 + s.predicts_f0) * s.n_layers * layer
    total += 4 * s.flow_layers * wavenet
    if posterior:
        total += s.posterior_layers * wavenet + width * (audio.n_bins + 2 * s.inter_channels)
    total += width * (2 * s.inter_channels + 5 * s.content_channels)
    total += float(s.n_speakers) * s.speaker_channels
    channels = float(s.upsample_initial_channels)
    total += channels * (7 * s.inter_channels + s.speaker_channels)
    if s.decoder == "harmonic":
        return total + channels * (4 * audio.n_bins + HARMONIC_BLOCKS * 4 * channels)
    convolutions = (2 if s.resblock == "1" else 1) * sum(
        kernel * len(dilations)
        for kernel, dilations in zip(s.resblock_kernel_sizes, s.resblock_dilations, strict=True)
    )
    for i, kernel in enumerate(s.upsample_kernel_sizes):
        channels /= 2
        total += channels * (2 * channels * kernel + channels * convolutions)
        if s.decoder == "hifi-gan":
            total += channels * 2 * math.prod(s.upsample_rates[i + 1 :])
    if s.decoder != "hifi-gan":
        bands = 1 if s.decoder == "istft" else s.subbands
        total += 7 * channels * bands * (s.istft_n_fft + 2)
    return total


def _native_parameters(audio: AudioConfig, native: NativeConfig, *, posterior: bool) -> float:
    """Return how many parameters the light network has, but for some biases."""
    n, width = native, float(native.width)

    def blocks(count: int, kernel_size: int, expansion: int) -> float:
        return count * width * (kernel_size + 5 + expansion * (2 * width + 1))

    total = blocks(n.prior_blocks + n.decoder_blocks, n.kernel_size, n.expansion)
    total += width * (n.content_channels + 2 * n.speaker_channels + PITCH_INPUTS)
    total += width * (n.harmonic_bands + NOISE_STEPS * n.noise_bands)
    total += float(n.n_speakers) * n.speaker_channels
    if n.latent:
        total += 3 * width * n.latent
        total += n.flow_layers * width * (n.latent + n.speaker_channels + 1)
        if posterior:
            total += blocks(4, 7, 2) + width * (audio.n_bins + 2 * n.latent)
    return total
