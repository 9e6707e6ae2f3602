"""Setup, fit and validate: a folder of features becomes a voice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sovits.train.loop import Outcome, fit

__all__ = ["Outcome", "fit"]


def __getattr__(name: str) -> Any:
    """Import what needs the extra `train` only when it is asked for; an index does not."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sovits.train import loop

    return getattr(loop, name)
