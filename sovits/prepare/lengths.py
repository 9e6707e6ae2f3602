"""How long a training shall take: quick, standard or best."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

from sovits.config import Config, NativeConfig, TrainConfig
from sovits.errors import ConfigError


class Length(NamedTuple):
    """What one preset changes; None leaves what the type of voice has."""

    light_steps: int | None
    """Steps after which a light voice, which begins with the bundled base, ends at the latest."""
    steps: int | None
    """The same of any other voice."""
    patience: int
    """Evaluations without a gain after which training ends."""
    eval_interval: int | None
    """Steps between evaluations, of a light voice."""
    average: float
    """Least decay of the averaged weights, which are what converts."""
    keep_checkpoints: int
    """How many of the newest checkpoints are kept, besides the best."""


STANDARD = "standard"
LENGTHS = {
    "quick": Length(1000, 4000, 5, 100, 0.0, 2),
    STANDARD: Length(
        None, None, TrainConfig.patience, None, 0.0, keep_checkpoints=TrainConfig.keep_checkpoints
    ),
    "best": Length(None, None, 60, None, 0.999, 5),
}
"""Lengths by name.

Quick ends where the measured gains of a light voice have become small (docs/native-model.md); best
goes on three times as long as standard where nothing is gained, and averages weights of all kinds.
"""


def of_length(config: Config, name: str, clips: int) -> Config:
    """Return settings of a training that takes as long as a preset says.

    Args:
        config: Settings of a type of voice.
        name: One of `LENGTHS`.
        clips: Clips to train on. Steps are limited by epochs, so more clips make more steps.

    Raises:
        ConfigError: There is no such preset.
    """
    if name not in LENGTHS:
        raise ConfigError.wrong_value("--preset", name, f"one of {', '.join(LENGTHS)}")
    length, train = LENGTHS[name], config.train
    light = isinstance(config.voice.synthesizer, NativeConfig)
    steps = length.light_steps if light else length.steps
    if steps is not None:
        each = math.ceil(clips / max(1, train.batch_size))
        train = replace(train, epochs=math.ceil(steps / max(1, each)))
    if light and length.eval_interval is not None:
        train = replace(train, eval_interval=length.eval_interval)
    if name != STANDARD:
        train = replace(
            train,
            patience=length.patience,
            average=max(train.average, length.average),
            keep_checkpoints=length.keep_checkpoints,
        )
    return replace(config, train=train)
