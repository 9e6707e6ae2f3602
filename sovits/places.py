"""Where things are kept that belong to a person and not to a project; told without torch."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return where fetched and joined weights are kept: $SOVITS_CACHE, or ~/.cache/sovits."""
    given = os.environ.get("SOVITS_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "sovits"
