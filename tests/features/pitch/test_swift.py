from __future__ import annotations

import torch

from sovits.features.pitch import load_pitch_extractor


def test_swift_reads_a_constant_tone() -> None:
    wave = 0.3 * torch.sin(2 * torch.pi * 220 * torch.arange(16_000) / 16_000)
    pitch = load_pitch_extractor("swift")(wave, 16_000, 160)
    assert pitch.voiced[15:-15].all()
    torch.testing.assert_close(pitch.f0, torch.full((100,), 220.0), rtol=0.01, atol=0)
