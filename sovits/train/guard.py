"""Steps that are not finite never reach the weights."""

from __future__ import annotations

from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim import Optimizer

from sovits.errors import TrainingError


class Guard:
    """Notices the first step that is not finite, and lets nothing move from then on.

    On the CPU it raises at once. A GPU would have to be waited for in each step: there the
    optimizers are told on the device not to move, and `settle` raises when the host asks.

    Args:
        optimizers: What would move the weights; fused, so that it can be told.
        waits: Whether to raise at once.
    """

    def __init__(self, *optimizers: Optimizer, waits: bool = True) -> None:
        # Fabric wraps optimizers, and would keep for itself what they are told.
        self._optimizers: list[Any] = [getattr(each, "optimizer", each) for each in optimizers]
        self._waits = waits
        self._bad: Tensor | None = None
        self._seen: dict[tuple[str, ...], tuple[Tensor, Tensor]] = {}

    def check(self, step: int, terms: dict[str, Tensor]) -> None:
        """Look at the terms of a step, before it is taken.

        Raises:
            TrainingError: One is not finite.
        """
        values = torch.stack([term.detach().float() for term in terms.values()])
        bad = ~torch.isfinite(values).all()
        if self._waits:
            if bad:
                raise TrainingError.diverged(step, _named(terms, values))
            return
        if self._bad is None:
            self._bad = torch.zeros((), device=values.device)
        first = bad & (self._bad == 0)
        key, at = tuple(terms), torch.full((), step, device=values.device)
        before, then = self._seen.get(key, (torch.zeros_like(values), torch.zeros_like(at)))
        self._seen[key] = torch.where(first, values, before), torch.where(first, at, then)
        self._bad = torch.maximum(self._bad, bad.float())

    def before_update(self, fabric: Fabric) -> None:
        """Tell the optimizers whether they may move, for all processes alike."""
        if self._bad is not None:
            if fabric.world_size > 1:
                bad = fabric.all_reduce(self._bad, reduce_op="max")
                assert isinstance(bad, Tensor)
                self._bad = bad
            for optimizer in self._optimizers:
                optimizer.found_inf = self._bad

    def settle(self) -> None:
        """Wait for the device, and raise if a step was not finite.

        Raises:
            TrainingError: One was not, and none has been taken since.
        """
        if self._bad is None or not self._bad:
            return
        for names, (values, at) in self._seen.items():
            if not torch.isfinite(values).all():
                raise TrainingError.diverged(int(at), _named(names, values))
        raise TrainingError.diverged_elsewhere()


def _named(names: dict[str, Tensor] | tuple[str, ...], values: Tensor) -> dict[str, float]:
    return dict(zip(names, values.tolist(), strict=True))
