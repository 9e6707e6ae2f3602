"""Music behind a voice is found, and noise is not taken for it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sovits.separation.music import accompaniment, accompaniment_share

RATE = 16_000


class LowIsVoice:
    """Stand in for a separator: what lies below 600 Hz is voice."""

    sample_rate, window, hop, frames = RATE, 1024, 256, 192

    def share(self, spectrum: Tensor) -> Tensor:
        bins = torch.arange(spectrum.shape[1]) * self.sample_rate / self.window
        return (bins < 600).float()[:, None].expand(spectrum.shape).clone()


def tone(hertz: float) -> Tensor:
    return torch.sin(2 * torch.pi * hertz * torch.arange(5 * RATE) / RATE)


VOICE = 0.2 * tone(300)
CHORD = sum((tone(hertz) for hertz in (880.0, 1108.7, 1318.5, 2217.0)), torch.zeros(1))


@pytest.mark.parametrize("level", [0.1, 0.01])
def test_a_chord_is_music_and_its_share_is_right(level: float) -> None:
    found = accompaniment_share(VOICE + level * CHORD, RATE, LowIsVoice())
    expected = 2 * level**2 / (2 * level**2 + 0.02)
    assert found == pytest.approx(expected, rel=0.1)


def test_noise_is_no_music() -> None:
    noisy = torch.stack([VOICE, VOICE]) + 0.05 * torch.randn(2, 5 * RATE)
    found = accompaniment(noisy, RATE, LowIsVoice())
    assert found.share > 0.05
    assert not found.is_music
    assert accompaniment_share(noisy, RATE, LowIsVoice()) == 0.0


@pytest.mark.parametrize("wave", [VOICE, torch.zeros(RATE), VOICE[:500]])
def test_nothing_is_behind_a_voice_alone(wave: Tensor) -> None:
    assert accompaniment_share(wave, RATE, LowIsVoice()) == 0.0
