from __future__ import annotations

from math import log10
from pathlib import Path

import pytest
import torch
from sung import cents, medley

from sovits.errors import WeightsError
from sovits.features.pitch import load_pitch_extractor, rmvpe
from sovits.features.pitch.bins import bin_to_hz


def small() -> rmvpe.Rmvpe:
    """A network of width 2 with running statistics that do something."""
    network = rmvpe.Rmvpe(width=2, number=1, hidden=8).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the names, shapes and precision of the published one, and random weights."""
    with torch.device("meta"):
        shapes = rmvpe.Rmvpe().state_dict()
    tensors = {
        name: torch.full(like.shape, 0.01, dtype=torch.half)
        if like.is_floating_point()
        else torch.tensor(1)
        for name, like in shapes.items()
    }
    path = tmp_path_factory.mktemp("weights") / "rmvpe.pt"
    torch.save({"model": tensors}, path)
    return path


def test_the_network_has_the_tensors_of_the_published_file(published: Path) -> None:
    assert published.stat().st_size == pytest.approx(rmvpe.WEIGHTS.bytes, rel=5e-4)
    names = torch.load(published, weights_only=True)["model"].keys()
    assert len(names) == 741
    assert {
        "unet.encoder.bn.running_var",
        "unet.encoder.layers.4.conv.3.conv.4.weight",
        "unet.encoder.layers.1.conv.0.shortcut.bias",
        "unet.intermediate.layers.3.conv.3.conv.0.weight",
        "unet.decoder.layers.0.conv1.0.weight",
        "unet.decoder.layers.4.conv2.0.shortcut.weight",
        "cnn.weight",
        "fc.0.gru.weight_hh_l0_reverse",
        "fc.1.weight",
    } <= names


def test_a_file_of_the_published_layout_is_read(published: Path) -> None:
    extractor = load_pitch_extractor("rmvpe", path=published)
    f0, voiced = extractor(medley()[:4000], 16_000, 160)
    assert f0.shape == voiced.shape == (25,)
    assert f0.isfinite().all()


def test_weights_of_another_width_are_refused(tmp_path: Path) -> None:
    torch.save({"model": small().state_dict()}, tmp_path / "rmvpe.pt")
    with pytest.raises(WeightsError, match="does not hold Rmvpe"):
        load_pitch_extractor("rmvpe", path=tmp_path / "rmvpe.pt")


def mels(hz: float) -> float:
    """HTK's formula (Young et al., The HTK Book)."""
    return 2595 * log10(1 + hz / 700)


def test_a_tone_lands_in_its_mel_band() -> None:
    extractor = rmvpe.RmvpeExtractor(small())
    low, high = mels(rmvpe.MEL_MIN), mels(rmvpe.MEL_MAX)
    for hz in (200.0, 440.0, 1000.0, 3000.0):
        wave = torch.sin(2 * torch.pi * hz * torch.arange(4096) / 16_000)
        band = extractor.mel(wave, 5, 6)[:, 0].argmax().item()
        expected = (mels(hz) - low) / (high - low) * (rmvpe.MELS + 1) - 1
        assert band == pytest.approx(expected, abs=0.7)


def test_filters_have_unit_area() -> None:
    filters = rmvpe.mel_filters()
    width = 16_000 / rmvpe.WINDOW
    assert filters.shape == (128, 513)
    torch.testing.assert_close(filters[60:].sum(1) * width, torch.ones(68), rtol=0.05, atol=0)


@torch.inference_mode()
def test_any_number_of_frames_goes_through_the_u_net() -> None:
    network = small()
    for frames in (1, 31, 32, 33, 100):
        out = network(torch.randn(128, frames))
        assert out.shape == (frames, 360)
        assert ((out >= 0) & (out <= 1)).all()


@torch.inference_mode()
def test_where_blocks_meet_can_hardly_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # They would not differ at all but for the recurrent layer, which has to forget in 5 s.
    network = small()
    for name, weight in network.fc.named_parameters():
        if "weight_ih" in name:
            weight.mul_(0.01)  # gates that are neither open nor shut
    extractor = rmvpe.RmvpeExtractor(network)
    sound = medley().repeat(16)
    _, whole = extractor.probability(sound)
    monkeypatch.setattr(rmvpe, "BLOCK", 10 * rmvpe.MULTIPLE)
    torch.testing.assert_close(extractor.probability(sound)[1], whole, rtol=1e-4, atol=1e-4)


def test_the_best_bins_become_the_pitch() -> None:
    class Sure(rmvpe.Rmvpe):
        def forward(self, mel: torch.Tensor) -> torch.Tensor:
            out = torch.zeros(mel.shape[-1], 360)
            out[:, 200] = 0.9
            out[: mel.shape[-1] // 2] *= 0.01  # below the threshold
            return out

    f0, voiced = rmvpe.RmvpeExtractor(Sure(2, 1, 8))(medley(), 16_000, 160)
    assert not voiced[:48].any()
    assert voiced[53:].all()
    assert cents(f0, bin_to_hz(torch.tensor(200.0)).item()).abs().max() < 0.1
