"""Read the YAML settings of other programs as data: no tags, no aliases, no depth, no length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sovits.errors import ConfigError, RefinerError
from sovits.legacy.limits import check_finite

MAX_BYTES = 256 << 10
"""Settings larger than this (bytes) are no settings."""
MAX_DEPTH = 6
"""How deeply mappings and lists may be nested."""


def read_yaml(path: Path) -> dict[str, dict[str, Any]]:
    """Return the sections of a YAML file, each with its keys; what is no section is left out.

    Raises:
        RefinerError: The file is missing, no YAML, or holds what settings never hold: tags that
            make objects, aliases (a few lines of which can stand for any amount of memory), deep
            nesting, numbers that are not finite.
    """
    import yaml

    if not path.is_file():
        raise RefinerError.missing("diffusion.yaml", path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RefinerError.bad_settings(path, f"more than {MAX_BYTES // 1024} KB")
        text = path.read_text("utf-8-sig")
        _check_events(path, text)
        content = yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise RefinerError.bad_settings(path, "it is not UTF-8 text") from error
    except OSError as error:
        reason = error.strerror or "it cannot be opened"
        raise RefinerError.bad_settings(path, reason) from error
    # Values such as dates that there are not fail as ValueError.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RefinerError.bad_settings(path, f"it is no YAML ({_where(error)})") from error
    if not isinstance(content, dict):
        raise RefinerError.bad_settings(path, "there are no sections in it")
    sections: dict[str, dict[str, Any]] = {}
    for name, section in content.items():
        if isinstance(name, str) and isinstance(section, dict):
            sections[name] = {str(key): value for key, value in section.items()}
            _check_values(path, name, sections[name])
    return sections


def _check_events(path: Path, text: str) -> None:
    """Refuse aliases and deep nesting before anything is built."""
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise RefinerError.bad_settings(path, "it has aliases (*), which settings never have")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise RefinerError.bad_settings(path, f"it is nested more than {MAX_DEPTH} deep")


def _check_values(path: Path, name: str, section: dict[str, Any]) -> None:
    try:
        for key, value in section.items():
            check_finite(f"{name}.{key}", value)
    except ConfigError as error:
        raise RefinerError.bad_settings(path, str(error)) from error


def _where(error: Exception) -> str:
    """Return what is wrong, and where, in a few words."""
    problem = getattr(error, "problem", None) or type(error).__name__
    mark = getattr(error, "problem_mark", None)
    return f"{problem}, line {mark.line + 1}" if mark is not None else str(problem)[:160]
