"""Which voice a command means."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sovits.errors import ConfigError, VoiceError
from sovits.hub import HUB, NATIVE
from sovits.library import bundled_files, candidates, chosen, resolve

LOGS = Path("logs/44k")
"""Where trainings of the current folder are."""
CONFIG = Path("configs/44k/config.json")
"""Settings of the current folder."""


class Choice(NamedTuple):
    """A voice, and where its settings are if not in or beside it."""

    model: Path | str
    config: Path | None
    because: str
    """Why this one, if nobody named it."""


def choose(model: str | None, config: Path | None) -> Choice:
    """Return the voice that is meant, once it is known to be there.

    Args:
        model: A file, a folder, a name that `svc voices` lists, `hub:owner/repo`, or None.
        config: Its settings, or None.

    Raises:
        VoiceError: There is no such voice, or there are several.
        ConfigError: There is no such file of settings.
    """
    if config is not None and not config.is_file():
        raise ConfigError.no_file(config)
    if model is None:
        return _default(config)
    if model.startswith(HUB):
        return Choice(model, config, "")
    found = resolve(model)
    return Choice(found.path, config or found.config, "")


def _default(config: Path | None) -> Choice:
    """Return what was trained here, or else a voice that ships with this package."""
    if candidates(LOGS):
        path, because = chosen(LOGS)
        needed = path.suffix != NATIVE and not (LOGS / "config.json").is_file()
        if config is None and needed:
            if not CONFIG.is_file():
                raise ConfigError.no_file(CONFIG)
            config = CONFIG
        return Choice(path, config, because or f"Using {path}.")
    voices = bundled_files()
    if not voices:
        raise VoiceError.none_anywhere(LOGS)
    because = f"Using the bundled voice {voices[0].stem}, as {LOGS} holds none."
    return Choice(voices[0], config, because)
