"""Weights in 8 bits are what they were, but for half a step."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from sovits.quantized import LARGE, SCALE, STEPS, dequantize, quantize


@given(st.integers(0, 1000), st.floats(1e-4, 1e3))
def test_values_are_off_by_half_a_step_at_most(seed: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(64, 16, 5, generator=generator) * size
    weight[3] = 0
    stored = quantize({"a.weight": weight, "a.bias": weight[:, 0, 0]})
    assert stored["a.weight"].dtype == torch.int8
    assert stored["a.weight"].shape == weight.shape
    found = dequantize(stored)
    assert set(found) == {"a.weight", "a.bias"}
    step = weight.flatten(1).abs().amax(1) / STEPS
    gap = (found["a.weight"] - weight).abs().flatten(1).amax(1)
    assert (gap <= 0.5001 * step + 1e-30).all()
    assert not found["a.weight"][3].any()


def test_small_tensors_and_whole_numbers_are_kept() -> None:
    small, whole = torch.randn(LARGE // 64, 63), torch.arange(10_000).view(100, 100)[:40, :40]
    stored = quantize({"small": small, "whole": whole})
    assert not any(name.endswith(SCALE) for name in stored)
    assert stored["small"].dtype == torch.float16
    assert torch.equal(dequantize(stored)["whole"], whole)


def test_plain_files_are_read_as_they_are() -> None:
    tensors = {"x.weight": torch.randn(100, 100), "x.bias": torch.randn(100)}
    found = dequantize(tensors)
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
