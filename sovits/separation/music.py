"""Is there music behind this voice?"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional as F

from sovits.audio.resample import resample
from sovits.separation.registry import load_separator
from sovits.separation.separate import separate
from sovits.separation.windows import Separator
from sovits.types import Wave

LEAST_SHARE = 0.003
"""Share of the power above which what is behind a voice counts; clean voices have 0.001."""
STEADY = 0.4
"""How steady music is at least where it is soft; noise of 10 to 20 dB has 0.1 to 0.37."""
LOUD_SHARE, LOUD_STEADY = 0.2, 0.25
"""The same for what is about as loud as the voice, as distorted guitars are less steady."""

RATE, WINDOW = 16_000, 1024
LOWEST, HIGHEST = 10, 257  # bins that are compared: 156 to 4000 Hz, above the hum of the mains
AROUND = 15  # bins whose mean is taken away, so that only what stands out is compared


class Accompaniment(NamedTuple):
    """What is behind a voice."""

    share: float
    """Its share of the power, 0 to 1."""
    steadiness: float
    """How alike its partials are from one 64 ms to the next, -1 to 1: 0 for noise."""

    @property
    def is_music(self) -> bool:
        """Whether it is loud and steady enough to be music, and no noise."""
        soft = self.share > LEAST_SHARE and self.steadiness > STEADY
        return soft or (self.share > LOUD_SHARE and self.steadiness > LOUD_STEADY)


def accompaniment(
    wave: Wave, sample_rate: int, separator: Separator | None = None
) -> Accompaniment:
    """Return what is heard behind a voice.

    Noise is behind a voice too, and only `is_music` tells the two apart. Strong reverberation can
    be taken for music.

    Args:
        wave: `[samples]` or `[channels, samples]`; ten seconds or more tell most.
        sample_rate: Its rate (Hz).
        separator: What separates; Spleeter if not given.

    Raises:
        SeparationError: The weights of Spleeter are not on this machine.
    """
    sound = wave if wave.dim() == 2 else wave[None]
    vocals, rest = separate(sound, sample_rate, separator or load_separator())
    power, behind = float(vocals.square().sum()), float(rest.square().sum())
    if behind == 0.0:
        return Accompaniment(0.0, 0.0)
    return Accompaniment(behind / (power + behind), _steadiness(rest.mean(0), sample_rate))


def accompaniment_share(wave: Wave, sample_rate: int, separator: Separator | None = None) -> float:
    """Return the share of the power that is music behind a voice, 0 to 1; 0 if it is none.

    Arguments and errors are those of `accompaniment`.
    """
    found = accompaniment(wave, sample_rate, separator)
    return found.share if found.is_music else 0.0


def _steadiness(wave: Wave, sample_rate: int) -> float:
    """Return how alike neighbouring spectra of `[samples]` are, weighted by their power."""
    heard = resample(wave, sample_rate, RATE)
    if heard.shape[-1] < 2 * WINDOW:
        return 0.0
    spectrum = torch.stft(
        heard,
        WINDOW,
        WINDOW,
        window=torch.hann_window(WINDOW),
        center=False,
        return_complex=True,
    ).abs()[LOWEST:HIGHEST]
    level = (spectrum + 1e-7).log()
    around = F.avg_pool1d(level.T[:, None], AROUND, 1, AROUND // 2, count_include_pad=False)
    peaks = level - around[:, 0].T
    first, second = peaks[:, :-1], peaks[:, 1:]
    alike = (first * second).sum(0) / (first.square().sum(0) * second.square().sum(0)).sqrt().clamp(
        min=1e-9
    )
    power = spectrum.square().sum(0)
    weight = (power[:-1] * power[1:]).sqrt()
    return float((alike * weight).sum() / weight.sum().clamp(min=1e-20))
