"""What has changed in a configuration since a training was last at work."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from sovits.config import Config
from sovits.errors import ConfigError, TrainingError
from sovits.legacy.settings import config_to_json, read_config


def tell_changes(beside: Path, config: Config, on_log: Callable[[str], None]) -> None:
    """Name each setting that differs from the copy that is kept beside the checkpoints.

    Raises:
        TrainingError: A speaker has another row now, which holds somebody else's voice.
    """
    if not beside.is_file():
        return
    try:
        before, _ = read_config(beside)
    except ConfigError as error:
        on_log(f"It is not known which settings have changed: {error}")
        return
    for name, row in config.voice.speakers.items():
        known = before.voice.speakers.get(name, row)
        if known != row:
            raise TrainingError.speaker_moved(name, row, known, beside)
    for name, row in before.voice.speakers.items():
        heirs = [new for new, taken in config.voice.speakers.items() if taken == row]
        if name not in config.voice.speakers:
            after = f" {heirs[0]} begins with it." if heirs else ""
            on_log(f"Speaker {name} is trained no more; row {row} keeps what it has learnt.{after}")
    changes = list_changes(before, config)
    if changes:
        on_log(f"Changed since this training was last at work: {'; '.join(changes)}.")


def list_changes(before: Config, after: Config) -> list[str]:
    """Return `section.key: old -> new` for each setting that differs."""
    old, new = config_to_json(before), config_to_json(after)
    return [
        f"{section}.{key}: {_shown(old[section].get(key))} -> {_shown(new[section].get(key))}"
        for section in new
        for key in sorted(old[section] | new[section])
        if old[section].get(key) != new[section].get(key)
    ]


def _shown(value: object) -> str:
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)
