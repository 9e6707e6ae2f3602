"""Rows of the table of speakers, which come and go while others stay as they are."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

TABLE = "emb_g.weight"


def fit_rows(content: dict[str, Any], network: nn.Module) -> str | None:
    """Give the table of a checkpoint as many rows as a network has, in place.

    New rows begin as the mean of those that are there, and their moments at 0.

    Args:
        content: What the checkpoint holds.
        network: What it is for.

    Returns:
        What was done, as a sentence; None if nothing had to be.
    """
    own, held = network.state_dict().get(TABLE), content["model"].get(TABLE)
    if own is None or held is None or own.shape[1:] != held.shape[1:] or len(own) == len(held):
        return None
    rows, before = len(own), len(held)
    for state in (content["model"], content.get("average", {})):
        if TABLE in state:
            state[TABLE] = _resized(state[TABLE], rows, state[TABLE].mean(0))
    index = [name for name, _ in network.named_parameters()].index(TABLE)
    moments = ((content.get("optimizer") or {}).get("state") or {}).get(index, {})
    for name, moment in moments.items():
        if isinstance(moment, Tensor) and moment.shape == held.shape:
            moments[name] = _resized(moment, rows, moment.new_zeros(moment.shape[1:]))
    begun = " New ones begin as the mean of the others." if rows > before else ""
    return f"The table of speakers has {rows} rows now, and had {before}.{begun}"


def keep_rows(network: nn.Module, optimizer: torch.optim.Optimizer, heard: Collection[int]) -> None:
    """Let an optimizer leave the rows of speakers of whom nothing is heard as they are.

    Their gradients are 0, but moments and the decay of weights would move them all the same.

    Args:
        network: Whose table of speakers it is.
        optimizer: What moves it.
        heard: Rows of speakers who are trained.
    """
    table = network.get_parameter(TABLE)
    idle = torch.tensor([row for row in range(len(table)) if row not in heard], dtype=torch.int64)
    if not len(idle):
        return
    idle = idle.to(table.device)
    kept = table.detach()[idle]

    def restore(*_: object) -> None:
        table.data[idle] = kept

    optimizer.register_step_post_hook(restore)


def _resized(table: Tensor, rows: int, new: Tensor) -> Tensor:
    """Return the first `rows` rows of a table, with `new` where it has fewer."""
    missing = new.expand(max(0, rows - len(table)), *new.shape)
    return torch.cat([table[:rows], missing])
