"""What a reverse proxy hides from the server: who asks, by which name, and below which path."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware


class Forwarded:
    """Believes what trusted proxies say in ``X-Forwarded-For``, ``-Proto`` and ``-Host``.

    uvicorn's own step reads the first two; the host is read here, since a proxy that rewrites ``Host`` would make
    every page a foreign one.

    Args:
        app: what comes behind.
        trusted: addresses of proxies, separated by commas.
    """

    def __init__(self, app: ASGIApp, trusted: str) -> None:
        self._behind = ProxyHeadersMiddleware(app, trusted_hosts=trusted)  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and scope["client"] and scope["client"][0] in self._behind.trusted_hosts:
            # Proxies in a row write a list, or a header each. The last was written by the one that is trusted.
            named = ",".join(Headers(scope=scope).getlist("x-forwarded-host")).rpartition(",")[2].strip()
            if named:
                scope["headers"] = list(scope["headers"])
                MutableHeaders(scope=scope)["host"] = named
        await self._behind(scope, receive, send)  # type: ignore[arg-type]


class RootPath:
    """Says below which path the server is reached; a proxy may strip that path or hand it on.

    Args:
        app: what comes behind.
        root: such as ``/photos``; empty for none.
    """

    def __init__(self, app: ASGIApp, root: str) -> None:
        self.app, self._root = app, root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            scope["root_path"] = self._root
        await self.app(scope, receive, send)
