from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from sung import cents, medley, vowel

from sovits.errors import WeightsError
from sovits.features.pitch import load_pitch_extractor, swift
from sovits.weights import ASSETS

FRAMES = [0, 5, 15, 25, 33, 40, 50, 60]
# What onnxruntime 1.32 makes of swift_f0 0.3.0's model.onnx.
PITCH = [149.559, 167.524, 209.399, 260.542, 312.981, 666.059, 499.065, 498.978]
CONFIDENCE = [0.01762, 0.98202, 0.99428, 0.99236, 0.01837, 0.69275, 0.93785, 0.81972]


@pytest.fixture(scope="module")
def extractor() -> swift.SwiftExtractor:
    return swift.load()


@torch.inference_mode()
def test_the_network_agrees_with_its_onnx_graph(extractor: swift.SwiftExtractor) -> None:
    pitch, confidence = extractor.confidence(medley())
    torch.testing.assert_close(pitch[FRAMES], torch.tensor(PITCH), rtol=1e-5, atol=0)
    torch.testing.assert_close(confidence[FRAMES], torch.tensor(CONFIDENCE), rtol=0, atol=1e-4)


@settings(max_examples=8)
@given(block=st.integers(1, 70))
@torch.inference_mode()
def test_where_blocks_meet_cannot_be_told(block: int) -> None:
    network = load_pitch_extractor("swift")
    assert isinstance(network, swift.SwiftExtractor)
    whole = network.confidence(medley())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(swift, "BLOCK", block)
        in_blocks = network.confidence(medley())
    for a, b in zip(whole, in_blocks, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_a_clip_cut_out_of_a_voice_has_its_pitch_up_to_its_ends(
    extractor: swift.SwiftExtractor,
) -> None:
    for f0 in (82.4, 110.0, 196.0, 311.1):
        wave = vowel(f0, 44_100, 1.3)[17_777:-3_333]
        pitch = extractor(wave, 44_100, 512)
        assert pitch.voiced.all()
        assert cents(pitch.f0, f0).abs().max() < 100  # an octave would be 1200


def test_other_weights_are_used_if_they_are_given(tmp_path: Path) -> None:
    tensors = load_file(ASSETS / "swift-f0.safetensors")
    tensors["voicing.2.bias"] = torch.tensor([-100.0])
    save_file(tensors, tmp_path / "mute.safetensors")
    mute = load_pitch_extractor("swift", path=tmp_path / "mute.safetensors")
    assert not mute(medley(), 16_000, 160).voiced.any()


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"stem.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="does not hold SwiftF0"):
        load_pitch_extractor("swift", path=tmp_path / "other.safetensors")
