"""How far a voice is from its target when it says what the target said."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sovits.audio.mel import LogMel
from sovits.audio.resample import resample
from sovits.config import AudioConfig
from sovits.evaluate import bootstrap
from sovits.evaluate.clips import Clip
from sovits.evaluate.results import Column, Measure
from sovits.types import Wave

HOP_SECONDS = 0.0116
"""From one frame to the next, as in so-vits-svc (s)."""
BANDS = 80
MOST_SECONDS = 60.0
"""Sound of the target that is converted (s)."""


def measure_reconstruction(
    clips: Sequence[Clip], on_progress: Callable[[float], None]
) -> list[Measure]:
    """Return the log-mel distance between clips of the target and what the voice made of them."""
    rows = []
    for number, clip in enumerate(clips):
        total, cells = mel_distance(*clip.source(), *clip.result())
        rows.append([total, cells])
        on_progress((number + 1) / len(clips))
    return [
        Measure(
            "mel_distance",
            "Log-mel distance",
            "reconstruction",
            "lower",
            tuple(clip.name for clip in clips),
            Column(np.array(rows), bootstrap.ratio),
            unit="nepers",
            explanation="Mean difference of natural-log mel magnitudes when the voice converts "
            "recordings of its own target; 0.1 is 0.9 dB.",
        )
    ]


def mel_distance(
    source: Wave, source_rate: int, result: Wave, result_rate: int
) -> tuple[float, int]:
    """Return the sum of the differences of two log-mel spectrograms, and over how many cells.

    Both are brought to the lower of the two rates, above which one of them holds nothing.

    Args:
        source: `[samples]`.
        source_rate: Its rate (Hz).
        result: `[samples]`, at the same times.
        result_rate: Its rate (Hz).
    """
    rate = min(source_rate, result_rate)
    hop = max(1, round(HOP_SECONDS * rate))
    log_mel = LogMel(AudioConfig(rate, hop_length=hop, n_fft=4 * hop, n_mels=BANDS))
    a, b = (
        log_mel(resample(source, source_rate, rate)),
        log_mel(resample(result, result_rate, rate)),
    )
    frames = min(a.shape[-1], b.shape[-1])
    difference = (a[..., :frames] - b[..., :frames]).abs()
    return float(difference.double().sum()), difference.numel()
