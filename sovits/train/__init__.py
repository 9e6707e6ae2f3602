"""Setup, fit and validate: a folder of features becomes a voice."""

from sovits.train.base import BASE_FILE
from sovits.train.loop import Outcome, fit

__all__ = ["BASE_FILE", "Outcome", "fit"]
