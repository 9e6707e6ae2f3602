from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from sung import medley
from torch import Tensor

from sovits.errors import WeightsError
from sovits.features.pitch import fcpe, load_pitch_extractor

HOP = 160


def published(channels: int = 512, layers: int = 6) -> dict[str, Tensor]:
    """Random weights under the names and in the shapes of torchfcpe's file."""
    shapes: dict[str, tuple[int, ...]] = {
        "input_stack.0.weight": (channels, 128, 3),
        "input_stack.0.bias": (channels,),
        "input_stack.1.weight": (channels,),
        "input_stack.1.bias": (channels,),
        "input_stack.3.weight": (channels, channels, 3),
        "input_stack.3.bias": (channels,),
        "norm.weight": (channels,),
        "norm.bias": (channels,),
        "output_proj.bias": (360,),
        "output_proj.weight_g": (360, 1),
        "output_proj.weight_v": (360, channels),
    }
    for i in range(layers):
        layer = f"net.encoder_layers.{i}."
        shapes |= {
            f"{layer}norm.weight": (channels,),
            f"{layer}norm.bias": (channels,),
            f"{layer}conformer.net.0.weight": (channels,),
            f"{layer}conformer.net.0.bias": (channels,),
            f"{layer}conformer.net.2.weight": (4 * channels, channels, 1),
            f"{layer}conformer.net.2.bias": (4 * channels,),
            f"{layer}conformer.net.4.conv.weight": (2 * channels, 1, 31),
            f"{layer}conformer.net.4.conv.bias": (2 * channels,),
            f"{layer}conformer.net.6.weight": (channels, 2 * channels, 1),
            f"{layer}conformer.net.6.bias": (channels,),
        }
    tensors = {name: 0.1 * torch.randn(shape) for name, shape in shapes.items()}
    tensors["cent_table"] = torch.linspace(2051.0, 9151.0, 360)
    tensors["gaussian_blurred_cent_mask"] = torch.tensor(9151.0)
    return tensors


def test_a_file_laid_out_as_the_published_one_is_read(tmp_path: Path) -> None:
    tensors = published()
    torch.save({"model": tensors, "config_dict": {}, "global_step": 1}, tmp_path / "fcpe.pt")
    extractor = load_pitch_extractor("fcpe", path=tmp_path / "fcpe.pt")
    pitch = extractor(medley(), 16_000, HOP)
    assert pitch.f0.shape == (100,)
    assert isinstance(extractor, fcpe.FcpeExtractor)
    # Weight norm: each row has the length that is stored beside its direction.
    torch.testing.assert_close(
        extractor.network.project.weight.norm(dim=1), tensors["output_proj.weight_g"][:, 0].abs()
    )


def test_the_older_network_of_that_name_is_refused(tmp_path: Path) -> None:
    tensors = published()
    tensors["net.encoder_layers.0.attn.to_q.weight"] = torch.zeros(512, 512)
    torch.save({"model": tensors}, tmp_path / "fcpe.pt")
    with pytest.raises(WeightsError, match="does not hold Fcpe"):
        load_pitch_extractor("fcpe", path=tmp_path / "fcpe.pt")


@torch.inference_mode()
def test_where_blocks_meet_cannot_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    network = fcpe.Fcpe(channels=16, layers=6).eval()
    network.cents.copy_(torch.linspace(2051.0, 9151.0, 360))
    extractor = fcpe.FcpeExtractor(network)
    sound = torch.cat([medley(), torch.zeros(9000), medley()])
    whole = extractor.probability(sound)
    monkeypatch.setattr(fcpe, "BLOCK", 41)
    for a, b in zip(whole, extractor.probability(sound), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(find_spec("torchfcpe") is None, reason="torchfcpe is not installed")
@torch.inference_mode()
def test_the_network_agrees_with_torchfcpe() -> None:
    extractor = load_pitch_extractor("fcpe")
    assert isinstance(extractor, fcpe.FcpeExtractor)
    sound = torch.cat([medley(), medley(), torch.zeros(16_000)])
    pitch, chance = extractor.probability(sound)
    frames = [3, 20, 40, 85, 110, 140, 185]
    hz = [155.909, 197.969, 261.13, 499.649, 172.32, 261.131, 499.801]
    best = [0.94064, 0.97142, 0.9873, 0.97992, 0.92937, 0.98732, 0.97723]
    torch.testing.assert_close(pitch[frames].float(), torch.tensor(hz), rtol=1e-4, atol=0)
    torch.testing.assert_close(chance[frames], torch.tensor(best), rtol=0, atol=5e-4)
