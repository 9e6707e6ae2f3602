"""Listen, and serve until told to end."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from sovits.errors import ServerError
from sovits.web.app import create_app
from sovits.web.settings import ServerSettings

FAREWELL = 5
"""How long answers under way may take at the end (s)."""


def serve(settings: ServerSettings, on_ready: Callable[[str], None]) -> None:
    """Serve until a signal tells to end.

    Args:
        settings: How the server is set up.
        on_ready: Told the address, once requests are heard.

    Raises:
        ServerError: The address or the folder cannot be used.
    """
    host, port = settings.host, settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise ServerError.no_port(host, port, (error.strerror or str(error)).lower()) from error
    with listener:
        config = uvicorn.Config(
            create_app(settings),
            access_log=False,
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            limit_concurrency=settings.max_connections,
            timeout_graceful_shutdown=FAREWELL,
        )
        shown = f"[{host}]" if ":" in host else host
        on_ready(f"http://{shown}:{listener.getsockname()[1]}")
        uvicorn.Server(config).run(sockets=[listener])
