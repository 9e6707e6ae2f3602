"""Give tensors that others named the names of this package."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from sovits.errors import WeightsError


def translate(
    path: Path,
    network: str,
    tensors: Mapping[str, Tensor],
    table: Mapping[str, str],
) -> dict[str, Tensor]:
    """Return the tensors under our names; queries, keys and values joined into one.

    Tensors of parts that the table does not know at all are left out: they serve training. One
    more in a part that it knows makes another network, and is an error.

    Args:
        path: Where they came from, for messages.
        network: What they should be, for messages.
        tensors: By their name.
        table: Their name to ours, with or without the last part (`weight`, `bias`). `N` stands
            for the first number in their name, and is put in for `N` in ours.

    Raises:
        WeightsError: A part has a tensor that is not in the table, or attention is incomplete.
    """
    parts = {key.split(".")[0] for key in table}
    native: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        stem, _, kind = name.rpartition(".")
        number = re.search(r"\d+", name)
        general = re.sub(r"\d+", "N", name, count=1)
        general_stem = general.rpartition(".")[0]
        if not parts & {name.split(".")[0], general.split(".")[0]}:
            continue
        for key, end in ((name, ""), (stem, kind), (general, ""), (general_stem, kind)):
            if key in table:
                ours = table[key].replace("N", number[0] if number else "N")
                native[f"{ours}.{end}" if end else ours] = tensor
                break
        else:
            raise WeightsError.wrong_layout(path, network, f"{name} is not part of it")
    return join_attention(path, network, native)


def join_attention(path: Path, network: str, native: dict[str, Tensor]) -> dict[str, Tensor]:
    """Replace each `q`, `k` and `v` by one `qkv`; a missing bias of the keys is 0."""
    for name in [name for name in native if name.endswith(".q.weight")]:
        where = name.removesuffix("q.weight")
        for kind in ("weight", "bias"):
            q, k, v = (native.pop(f"{where}{part}.{kind}", None) for part in "qkv")
            if k is None and kind == "bias" and q is not None:
                k = torch.zeros_like(q)
            if q is None or k is None or v is None:
                raise WeightsError.wrong_layout(path, network, f"{where}attention is incomplete")
            native[f"{where}qkv.{kind}"] = torch.cat([q, k, v])
    return native


def without_prefix(tensors: Mapping[str, Tensor], marker: str) -> dict[str, Tensor] | None:
    """Return the tensors below the prefix that `marker` has; None if there is no `marker`.

    Tensors outside of the prefix (heads, decoders) are left out.
    """
    for name in tensors:
        if name == marker or name.endswith(f".{marker}"):
            prefix = name.removesuffix(marker)
            return {
                other.removeprefix(prefix): tensor
                for other, tensor in tensors.items()
                if other.startswith(prefix)
            }
    return None
