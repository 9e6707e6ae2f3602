"""Setup, fit and validate: a folder of features becomes a voice."""

from sovits.train.loop import fit

__all__ = ["fit"]
