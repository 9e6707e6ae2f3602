"""How a server is set up, and what it bears."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from sovits.errors import ServerError

LEAST_TOKEN = 16
"""Characters of the shortest token."""
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/=]+")


@dataclass(frozen=True)
class ServerSettings:
    """How a server is set up, and what it bears."""

    folder: Path
    """Where jobs are kept, with their sounds."""
    host: str = "127.0.0.1"
    """Address to listen at."""
    port: int = 7865
    """Port to listen at; 0 is any that is free."""
    token: str | None = None
    """What whoever asks must know."""
    device: str = "auto"
    """Where networks compute."""
    max_upload_bytes: int = 200_000_000
    """Largest sound that is taken."""
    max_seconds: float = 1800.0
    """Longest sound that is taken (s)."""
    upload_seconds: float = 600.0
    """Longest time that a sound may take to come in (s)."""
    max_uploads: int = 8
    """Sounds that may come in at once."""
    max_waiting: int = 64
    """Jobs that may wait."""
    max_waiting_each: int = 16
    """Jobs of one client that may wait."""
    max_stored_bytes: int = 8_000_000_000
    """Sounds and results that may be kept."""
    keep_hours: float = 24.0
    """How long a job is kept once it has ended (h)."""
    requests_per_second: float = 20.0
    """How often one address may ask in the long run."""
    burst: int = 200
    """How often it may ask at once."""
    max_connections: int = 256
    """Connections that are served at once."""

    def __post_init__(self) -> None:
        if self.token is None and not self.is_local:
            raise ServerError.open_to_all(self.host)
        if not 0 <= self.port < 1 << 16:
            raise ServerError.no_port(self.host, self.port, "ports are 0 to 65535")
        if self.token is not None and (
            len(self.token) < LEAST_TOKEN or not _TOKEN.fullmatch(self.token)
        ):
            raise ServerError.weak_token(LEAST_TOKEN)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Return whether a name or an address means this machine, seen from itself."""
    try:
        return host.lower() == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def is_address(host: str) -> bool:
    """Return whether this is an address, and no name that somebody may point anywhere."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
