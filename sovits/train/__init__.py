"""Setup, fit and validate: a folder of features becomes a voice."""

from sovits.train.loop import Outcome, fit

__all__ = ["Outcome", "fit"]
