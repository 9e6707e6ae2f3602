"""Large matrices stored as 8-bit integers with a scale for each row: half the size of fp16."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = ".scale"
"""Ends the name of the scales of a stored matrix."""
LARGE = 4096  # elements from which a matrix is worth it
STEPS = 127


def quantize(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return large matrices and kernels as int8 with float32 scales, and the rest as float16.

    A value is off by at most half a step, which is 1 / 254 of the largest of its row.
    """
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.dim() < 2 or tensor.numel() < LARGE:
            stored[name] = tensor.half() if tensor.is_floating_point() else tensor
            continue
        rows = tensor.float().flatten(1)
        scale = rows.abs().amax(1).clamp(min=1e-12) / STEPS
        stored[name] = (rows / scale[:, None]).round().to(torch.int8).view(tensor.shape)
        stored[name + SCALE] = scale
    return stored


def dequantize(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what `quantize` was given, as float32; tensors without scales stay as they are."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        if name.endswith(SCALE) and name.removesuffix(SCALE) in stored:
            continue
        scale = stored.get(name + SCALE)
        if scale is None:
            tensors[name] = tensor
        else:
            tensors[name] = tensor.float() * scale.view(-1, *[1] * (tensor.dim() - 1))
    return tensors
