"""What every request passes before and after the application: host, origin, size, time, and headers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crosslens.server.problems import Problem

CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
SAFE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none';"
        " form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), microphone=(), camera=()",
}


class SafeHeaders:
    """Adds the headers that keep browsers from doing more than the page needs; API answers are never stored."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SAFE_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self.app(scope, receive, with_headers)


class KnownHosts:
    """Refuses requests for other host names and changes that other web sites ask for.

    A page elsewhere can make a browser send requests here, under a name that its owner lets point to this machine
    (DNS rebinding) or straight across origins. Neither carries a key, but on loopback none is needed.

    Args:
        app: what comes behind.
        hosts: names without ports; None takes every name.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] | None) -> None:
        self.app = app
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            problem = self._refusal(Headers(scope=scope), scope["method"])
            if problem is not None:
                await problem.response()(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _refusal(self, headers: Headers, method: str) -> Problem | None:
        host = headers.get("host", "").lower()
        if self._hosts is not None and _name_of(host) not in self._hosts:
            return Problem(403, "this server is not known by that host name; start it with --allow-host NAME")
        if method not in CHANGING:
            return None
        origin = headers.get("origin")
        foreign = origin is not None and urlsplit(origin.lower()).netloc != host
        if foreign or headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return Problem(403, "requests of other web sites are refused; call the API from a program or its page")
        return None


class BodyLimit:
    """Counts a request's body while it arrives, and gives up when it is too large or too slow.

    Args:
        app: what comes behind.
        most: bytes.
        seconds: from the head to the last byte.
    """

    def __init__(self, app: ASGIApp, most: int, seconds: float) -> None:
        self.app, self._most, self._seconds = app, most, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        told = Headers(scope=scope).get("content-length", "0")
        if not told.isdecimal() or int(told) > self._most:
            problem = self._too_large() if told.isdecimal() else Problem(400, "Content-Length is no number")
            await problem.response()(scope, receive, send)
            return
        deadline = time.monotonic() + self._seconds
        taken, complete = 0, False

        async def counted() -> Message:
            nonlocal taken, complete
            if complete:
                # What comes now is the news that the client has gone, for which one may wait as long as one likes.
                return await receive()
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    message = await receive()
            except TimeoutError:
                detail = f"the body did not arrive within {self._seconds:g} seconds"
                raise Problem(408, detail, headers={"Connection": "close"}) from None
            taken += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if taken > self._most:
                raise self._too_large()
            return message

        await self.app(scope, counted, send)

    def _too_large(self) -> Problem:
        detail = f"the body is larger than {self._most:,} bytes, which is this server's limit"
        return Problem(413, detail, headers={"Connection": "close"})


def _name_of(host: str) -> str:
    """``Host`` without its port; brackets of IPv6 addresses stay off."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
