"""Praat's autocorrelation (Boersma, 1993), by the package praat-parselmouth.

That package is under the GPL. It is no dependency of this one, and is used only by those who
install it themselves.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import numpy as np
import torch

from sovits.errors import PitchError
from sovits.features.pitch.contract import PitchExtractor, PitchSpec, Track, blocks
from sovits.types import Wave

SPEC = PitchSpec(
    "pm",
    "Praat's autocorrelation: fast, with octave errors in breathy voices",
    needs="praat-parselmouth (GPL-3.0)",
)
STEP = 0.005
"""Seconds from one estimate to the next."""
VOICING = 0.6
"""Strength of the autocorrelation from which a frame is voiced, as so-vits-svc has it."""
BLOCK = 12_000
"""Estimates per run (60 s), which bounds the memory."""
CONTEXT = 200
"""Estimates before and after a block that its run may look at (1 s)."""


class PraatExtractor(PitchExtractor):
    """Pitch by Praat, on the CPU."""

    spec = SPEC
    sample_rate = 16_000

    def __init__(self, praat: ModuleType) -> None:
        self.praat = praat

    def track(self, wave: Wave, sample_rate: int) -> Track:
        """Return the pitch every 5 ms."""
        samples = wave.double().numpy()
        step = round(STEP * sample_rate)
        # Praat leaves out the frames whose window, three of the longest periods, is cut short.
        pad = round(1.5 * sample_rate / self.spec.lowest / step + 2) * step
        samples = np.pad(samples, pad)
        parts = []
        for block in blocks((len(wave) // step) + 1, BLOCK, CONTEXT):
            piece = samples[block.left * step : block.right * step + 2 * pad]
            pitch = self.praat.Sound(piece, sample_rate).to_pitch_ac(
                time_step=STEP,
                voicing_threshold=VOICING,
                pitch_floor=self.spec.lowest,
                pitch_ceiling=self.spec.highest,
            )
            f0 = torch.from_numpy(pitch.selected_array["frequency"].astype(np.float64))
            inner = Track(f0, STEP, float(pitch.xs()[0]) - pad / sample_rate)
            parts.append(_at(inner, block.right - block.left)[block.core])
        return Track(torch.cat(parts), STEP)


def _at(track: Track, number: int) -> torch.Tensor:
    """Return the entries nearest to `i * STEP`."""
    places = (torch.arange(number) * STEP - track.start) / track.step
    return track.f0[places.round().long().clamp(0, len(track.f0) - 1)]


def load() -> PraatExtractor:
    """Load the method."""
    try:
        praat = import_module("parselmouth")
    except ModuleNotFoundError as error:
        raise PitchError.needs_package(SPEC.name, "parselmouth", "praat-parselmouth") from error
    return PraatExtractor(praat)
