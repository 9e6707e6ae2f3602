"""Second route, in float64 NumPy and from formulae alone: the whole conversion."""

from __future__ import annotations

import numpy as np
import reference_blocks as blocks
import reference_decoders as decoders
from numpy.typing import NDArray
from reference_blocks import Array, Weights, at

from sovits.config import AudioConfig, SynthesizerConfig


def decode(
    z: Array,
    f0: Array,
    speaker: Array,
    weights: Weights,
    config: SynthesizerConfig,
    audio: AudioConfig,
) -> Array:
    """Return the wave `[samples]` of a latent, by whichever decoder."""
    part = at(weights, "dec")
    match config.decoder:
        case "hifi-gan":
            return decoders.nsf(z, f0, speaker, part, config, audio.sample_rate)
        case "istft":
            return decoders.istft(z, part, config)
        case "ms-istft":
            return decoders.ms_istft(z, part, config)
        case "mb-istft":
            return decoders.mb_istft(z, part, config)


def predicted_f0(
    x: Array,
    f0: Array,
    voiced: NDArray[np.bool_],
    speaker: Array,
    weights: Weights,
    n_heads: int,
) -> Array:
    """The pitch that the voice itself would choose."""
    normalised = blocks.normalised_log_f0(f0, voiced)
    part = at(weights, "f0_decoder")
    return blocks.f0_from_log(blocks.f0_decoder(x, normalised, speaker, part, n_heads))


def infer(
    content: Array,
    f0: Array,
    voiced: NDArray[np.bool_],
    speaker_row: int,
    weights: Weights,
    config: SynthesizerConfig,
    audio: AudioConfig,
    *,
    volume: Array | None = None,
    predict_f0: bool = False,
) -> Array:
    """Convert without any noise: the mean of the prior, a source of pure sines from phase 0."""
    speaker = weights["emb_g.weight"][speaker_row][:, None]
    x = blocks.prenet(content, voiced, volume, weights)
    if predict_f0:
        f0 = predicted_f0(x, f0, voiced, speaker, weights, config.n_heads)
    mean, _ = blocks.prior(x, f0, at(weights, "enc_p"), config.n_heads)
    z = blocks.flow(mean, speaker, at(weights, "flow"), reverse=True)
    return decode(z, f0, speaker, weights, config, audio)
