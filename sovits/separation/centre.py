"""Lead and harmonies: what both channels of a voice have alike, and the rest (Avendano, 2004)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SMOOTH = 5  # frames over which channels are compared


class Centre:
    """Tells the share of a stereo sound that lies in the middle, where lead vocals are.

    Args:
        sample_rate: Rate of the sound, which is heard as it is (Hz).
    """

    window, hop, frames = 4096, 1024, 384

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate

    def share(self, spectrum: Tensor) -> Tensor:
        """Return how alike both channels of `[2, bins, frames]` are, 0 to 1; one is all middle."""
        if len(spectrum) == 1:
            return torch.ones(spectrum.shape)
        left, right = spectrum
        both = (left * right.conj()).real
        power = left.abs().square() + right.abs().square()
        pair = F.avg_pool1d(torch.stack([both, power]), SMOOTH, 1, SMOOTH // 2)
        alike = 2 * pair[0] / pair[1].clamp(min=1e-20)
        # Squared, as what is not quite in the middle is mostly of something else.
        return alike.clamp(0, 1).square().expand(2, -1, -1).clone()
