"""Make the synthesizer that settings describe, of whichever architecture."""

from __future__ import annotations

from typing import TypeAlias

from sovits.config import AudioConfig, NativeConfig, SynthesizerConfig
from sovits.models.native import NativeSynthesizer
from sovits.models.synthesizer import Synthesizer

AnySynthesizer: TypeAlias = Synthesizer | NativeSynthesizer


def make_synthesizer(
    config: SynthesizerConfig | NativeConfig, audio: AudioConfig, *, posterior: bool = True
) -> AnySynthesizer:
    """Return a synthesizer of random weights.

    Args:
        config: Shape of the network, which tells its architecture too.
        audio: How sound is cut into frames.
        posterior: Whether it can be trained, where that takes parts which conversion does not.
    """
    if isinstance(config, NativeConfig):
        return NativeSynthesizer(config, audio, posterior=posterior)
    return Synthesizer(config, audio, posterior=posterior)
