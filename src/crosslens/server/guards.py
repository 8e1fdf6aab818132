"""What every request passes before and after the application: host, origin, size, time, and headers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crosslens.server.problems import Problem

_PORTS = {"http": 80, "https": 443}
_CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
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
_ADDED = [
    (name.lower().encode(), value.encode())
    for name, value in (SAFE_HEADERS | {"Cache-Control": "no-store"}).items()
]


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
                sent = [*message.get("headers", ())]
                names = {name for name, _ in sent}
                message["headers"] = [*sent, *(header for header in _ADDED if header[0] not in names)]
            await send(message)

        await self.app(scope, receive, with_headers)


class KnownHosts:
    """Refuses requests for other host names and changes that other web sites ask for.

    A page elsewhere can make a browser send requests here, under a name that its owner lets point to this machine
    (DNS rebinding) or straight across origins. Neither carries a key, but on loopback none is needed.

    Args:
        app: what comes behind.
        hosts: names, whose ports do not count; None takes every name.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] | None) -> None:
        self.app = app
        self._hosts = None if hosts is None else frozenset(_name_of(host.lower()) for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            problem = self._refusal(Headers(scope=scope), scope["method"])
            if problem is not None:
                await problem.response(scope)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _refusal(self, headers: Headers, method: str) -> Problem | None:
        host = headers.get("host", "").lower()
        if self._hosts is not None and _name_of(host) not in self._hosts:
            return Problem(403, "this server is not known by that host name; start it with --allow-host NAME")
        if method not in _CHANGING:
            return None
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        foreign = origin is not None and not _is_same(origin.lower(), host, vouched=site == "same-origin")
        if foreign or site not in (None, "same-origin", "none"):
            return Problem(403, "requests of other web sites are refused; call the API from a program or its page")
        return None


class HeadAsGet:
    """Answers HEAD as GET is answered, headers and status alike, without the body (RFC 9110, 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        # The same scope, so that what stands before learns which route it was.
        scope["method"] = "GET"
        try:
            await self.app(scope, receive, without_body)
        finally:
            scope["method"] = "HEAD"


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
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdecimal() or int(length) > self._most:
            problem = self._too_large() if length.isdecimal() else Problem(400, "Content-Length is no number")
            await problem.response(scope)(scope, receive, send)
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


def _is_same(origin: str, host: str, vouched: bool) -> bool:
    """Whether a page of ``origin`` asks its own server, which the browser calls ``host``.

    A port that is not written is the one of the origin's scheme (RFC 6454, 4). A proxy may drop the port of
    ``Host``; where that alone is missing, it is enough that the browser vouches that the page asks its own origin.
    """
    try:
        asking, called = urlsplit(origin), urlsplit(f"//{host}")
        ports = [one.port or _PORTS.get(asking.scheme) for one in (asking, called)]
    except ValueError:
        return False
    if asking.scheme not in _PORTS or not asking.hostname or asking.hostname != called.hostname:
        return False
    return ports[0] == ports[1] or (vouched and called.port is None)


def _name_of(host: str) -> str:
    """``Host`` without its port; brackets of IPv6 addresses stay off."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    # More than one colon without brackets: an address as a setting holds it.
    return host if host.count(":") > 1 else host.partition(":")[0]
