"""svc serve."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from sovits.cli.progress import note
from sovits.errors import ServerError
from sovits.places import cache_folder
from sovits.web.settings import ServerSettings


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Convert for other programs, by HTTP; they find all addresses at /openapi.json."""

    host: Annotated[str, arg(metavar="ADDRESS")] = ServerSettings.host
    """Address to listen at; another than this machine's own needs a token."""
    port: Annotated[int, arg(metavar="PORT")] = ServerSettings.port
    """Port to listen at; 0: any that is free."""
    token: Annotated[str | None, arg(metavar="TOKEN")] = None
    """What whoever asks must know; $SOVITS_TOKEN, which other users cannot see, if not given."""
    folder: Annotated[Path | None, arg(metavar="PATH")] = None
    """Where jobs are kept; ~/.cache/sovits/jobs if not given."""
    keep_hours: Annotated[float, arg(metavar="HOURS")] = ServerSettings.keep_hours
    """How long results are kept (h)."""
    max_seconds: Annotated[float, arg(metavar="SECONDS")] = ServerSettings.max_seconds
    """Longest sound that is taken (s)."""
    device: Annotated[str, arg(aliases=("-d",))] = ServerSettings.device
    """Where networks compute: auto, cpu, cuda, cuda:1, mps."""

    def run(self) -> int:
        """Serve until told to end."""
        for package in ("fastapi", "uvicorn", "python_multipart"):
            if find_spec(package) is None:
                raise ServerError.needs_web(package)
        settings = ServerSettings(
            folder=self.folder or cache_folder() / "jobs",
            host=self.host,
            port=self.port,
            token=self.token or os.environ.get("SOVITS_TOKEN"),
            device=self.device,
            max_seconds=self.max_seconds,
            keep_hours=self.keep_hours,
        )
        if not settings.is_local:
            note("Sounds and the token are sent as they are. Put a proxy with HTTPS before it.")
        from sovits.web.serve import serve

        serve(settings, lambda address: print(f"Serving at {address}", flush=True))
        return 0
