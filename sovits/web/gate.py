"""Who may ask, and how often: judged before anything else is looked at."""

from __future__ import annotations

import time
from collections import OrderedDict
from hmac import compare_digest
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sovits.errors import ServerError
from sovits.web.settings import ServerSettings, is_address, is_loopback

OPEN = frozenset({"/healthz"})
"""What may be asked without a token."""
FORM_BYTES = 1 << 20
"""What a form may have besides its sound (bytes)."""
MOST_ADDRESSES = 4096
"""Addresses whose requests are counted."""
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


class Gate:
    """Refuses strangers, pages of other sites, floods, and bodies that are too large."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self.app, self.settings = app, settings
        self._rates = Rates(settings.requests_per_second, settings.burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it with an error."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        limit = self.settings.max_upload_bytes + FORM_BYTES
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise ServerError.too_large(self.settings.max_upload_bytes)
            return message

        try:
            self._check(scope, Headers(scope=scope), limit)
        except ServerError as error:
            await refusal(error)(scope, receive, guarded)
            return
        await self.app(scope, counted, guarded)

    def _check(self, scope: Scope, headers: Headers, limit: int) -> None:
        """Refuse what may not pass.

        Raises:
            ServerError: It is refused.
        """
        client = scope.get("client")
        if not self._rates.allow(client[0] if client else ""):
            raise ServerError.too_fast()
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            raise ServerError.wrong_host()
        # Pages of other sites cannot hide where they are from.
        origin = headers.get("origin")
        if origin is not None and origin.lower().partition("://")[2] != hosts[0].lower():
            raise ServerError.wrong_origin()
        if headers.get("sec-fetch-site", "none") in ("cross-site", "same-site"):
            raise ServerError.wrong_origin()
        if scope["path"] not in OPEN and not self._knows_token(headers):
            raise ServerError.no_token()
        length = headers.get("content-length", "0")
        if len(length) > 15 or not length.isdecimal() or int(length) > limit:
            raise ServerError.too_large(self.settings.max_upload_bytes)

    def _is_ours(self, host: str) -> bool:
        """Return whether this is no name that somebody else may point at this machine."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if self.settings.is_local:
            return is_loopback(name)
        return is_address(name) or is_loopback(name) or name == self.settings.host.lower()

    def _knows_token(self, headers: Headers) -> bool:
        token = self.settings.token
        if token is None:
            return True
        kind, _, told = headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and compare_digest(told.strip().encode(), token.encode())


class Rates:
    """How often each address may ask: a bucket of requests that fills up again.

    Args:
        per_second: Requests by which it fills.
        burst: Requests that it holds.
    """

    def __init__(self, per_second: float, burst: int) -> None:
        self.per_second, self.burst = per_second, burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allow(self, address: str) -> bool:
        """Take a request out of an address's bucket, if there is one."""
        now = time.monotonic()
        left, then = self._left.pop(address, (float(self.burst), now))
        left = min(float(self.burst), left + (now - then) * self.per_second)
        self._left[address] = (left - 1 if left >= 1 else left, now)
        if len(self._left) > MOST_ADDRESSES:
            self._left.popitem(last=False)
        return left >= 1


def refusal(error: Exception) -> JSONResponse:
    """Return an error as one line, with its status; an error of the library is the asker's."""
    status = error.status if isinstance(error, ServerError) else 422
    headers = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}}.get(status)
    return JSONResponse({"error": str(error)}, status, headers)
