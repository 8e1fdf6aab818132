"""Who may do what: keys, roles and how often."""

from __future__ import annotations

import math
from typing import Any

from fastapi import Request

from crosslens.server.keys import Keys, Role
from crosslens.server.problems import Problem
from crosslens.server.rate import RateLimit, client_of

_HEADER = "X-API-Key"
_PICTURE_COST = 0.05


class Access:
    """Lets requests in.

    Args:
        keys: None lets everybody do everything.
        limit: tokens by client.
    """

    def __init__(self, keys: Keys | None, limit: RateLimit) -> None:
        self.keys, self._limit = keys, limit

    def admit(self, address: str | None, key: str | None, role: Role, cost: float) -> None:
        """Let a request in, or end it.

        Args:
            address: of the client.
            key: as it was sent; None when none was.
            role: what the operation needs.
            cost: tokens that the operation takes.

        Raises:
            Problem: 401 without a right key, 403 when its role is too low, 429 when it asks too often.
        """
        client = f"address {client_of(address)}"
        if self.keys is not None:
            entry = self.keys.find(key) if key else None
            if entry is None:
                # Guesses count too, against their address.
                self._take(client, max(cost, 1.0) if key else cost)
                detail = "this key is not known" if key else "a key is needed: send 'Authorization: Bearer KEY'"
                raise Problem(401, detail, headers={"WWW-Authenticate": 'Bearer realm="crosslens"'})
            client = f"key {entry.id}"
            if role == "write" and entry.role != "write":
                raise Problem(403, f"the key of {entry.name!r} may search, not change anything")
        self._take(client, cost)

    def _take(self, client: str, cost: float) -> None:
        wait = self._limit.take(client, cost)
        if wait:
            seconds = math.ceil(wait)
            raise Problem(429, f"too many requests; wait {seconds} s", headers={"Retry-After": str(seconds)})


async def reading(request: Request) -> None:
    """Dependency of operations that cost about a search."""
    _admit(request, "read", 1.0)


async def looking(request: Request) -> None:
    """Dependency of cheap operations, such as one thumbnail."""
    _admit(request, "read", _PICTURE_COST)


async def writing(request: Request) -> None:
    """Dependency of operations that change something."""
    _admit(request, "write", 1.0)


def add_security(document: dict[str, Any]) -> None:
    """Say in an OpenAPI document how keys are sent, which the API's operations take."""
    document.setdefault("components", {})["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "A key from `crosslens serve keys add`."},
        "header": {"type": "apiKey", "in": "header", "name": _HEADER, "description": "The same key."},
    }
    for path, operations in document["paths"].items():
        if path.startswith("/api/"):
            for operation in operations.values():
                operation["security"] = [{"bearer": []}, {"header": []}]


def _admit(request: Request, role: Role, cost: float) -> None:
    access: Access = request.app.state.service.access
    access.admit(request.client.host if request.client else None, _key_of(request), role, cost)


def _key_of(request: Request) -> str | None:
    # Read here and not by the framework's own classes: five nested dependencies take longer than the check.
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return request.headers.get(_HEADER) or None
