"""Which voice a command means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sovits.errors import ConfigError, VoiceError

LOGS = Path("logs/44k")
"""Where trainings of the current folder are."""
CONFIG = Path("configs/44k/config.json")
"""Settings of the current folder."""
HUB = "hub:"
"""How the name of a voice on the Hugging Face hub begins."""


class Choice(NamedTuple):
    """A voice, and where its settings are if not in or beside it."""

    model: Path | str
    config: Path | None
    because: str
    """Why this one, if nobody named it."""


def bundled() -> list[Path]:
    """Return the voices that ship with this package; the first is the default."""
    import sovits

    return sorted(Path(sovits.__file__).with_name("assets").glob("voices/*.safetensors"))


def trained(folder: Path = LOGS) -> list[Path]:
    """Return the voices in a folder of trainings, newest number last."""
    return sorted(_models(folder), key=lambda path: (_number(path), path.name))


def choose(model: str | None, config: Path | None) -> Choice:
    """Return the voice that is meant, once it is known to be there.

    Args:
        model: A file, a folder, the name of a bundled voice, `hub:owner/repo`, or None.
        config: Its settings, or None.

    Raises:
        VoiceError: There is no such voice.
        ConfigError: There is no such file of settings.
    """
    if config is not None and not config.is_file():
        raise ConfigError.no_file(config)
    if model is None:
        return _default(config)
    if model.startswith(HUB):
        return Choice(model, config, "")
    path = Path(model)
    if not path.exists():
        names = {voice.stem: voice for voice in bundled()}
        if model not in names:
            raise VoiceError.nowhere(path, names)
        path = names[model]
    if path.is_dir() and not trained(path):
        raise VoiceError.empty_folder(path)
    return Choice(path, config, "")


def _default(config: Path | None) -> Choice:
    """Return what was trained here, or else a voice that ships with this package."""
    if trained():
        beside = LOGS / "config.json"
        if config is None and not beside.is_file():
            if not CONFIG.is_file():
                raise ConfigError.no_file(CONFIG)
            config = CONFIG
        return Choice(LOGS, config, f"Using the newest voice in {LOGS}.")
    voices = bundled()
    if not voices:
        raise VoiceError.none_anywhere(LOGS)
    because = f"Using the bundled voice {voices[0].stem}, as {LOGS} holds none."
    return Choice(voices[0], config, because)


def _models(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder that may hold a voice."""
    for path in folder.iterdir() if folder.is_dir() else ():
        legacy = path.suffix == ".pth" and path.name.startswith("G_")
        native = path.suffix == ".safetensors" and not path.name.startswith(".")
        if (legacy or native) and path.is_file() and not _holds_centres(path):
            yield path


def _holds_centres(path: Path) -> bool:
    """Return whether svc train-cluster wrote `path`; told from its header, without torch."""
    with path.open("rb") as file:
        return b'"sovits-clusters-' in file.read(4096)


def _number(path: Path) -> int:
    """Return the number in the name of a checkpoint."""
    digits = path.stem.rpartition("_")[2]
    return int(digits) if digits.isdecimal() else -1
