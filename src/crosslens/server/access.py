"""Who may do what: keys, roles and how often."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from crosslens.server.keys import Keys, Role
from crosslens.server.problems import Problem
from crosslens.server.rate import RateLimit, client_of

_bearer = HTTPBearer(auto_error=False, scheme_name="bearer", description="A key from `crosslens serve keys add`.")
_header = APIKeyHeader(name="X-API-Key", auto_error=False, scheme_name="header", description="The same key.")
PICTURE_COST = 0.05


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


def _key_of(
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    header: Annotated[str | None, Depends(_header)],
) -> str | None:
    return bearer.credentials if bearer else header


Key = Annotated[str | None, Depends(_key_of)]


async def reading(request: Request, key: Key) -> None:
    """Dependency of operations that cost about a search."""
    _admit(request, key, "read", 1.0)


async def looking(request: Request, key: Key) -> None:
    """Dependency of cheap operations, such as one thumbnail."""
    _admit(request, key, "read", PICTURE_COST)


async def writing(request: Request, key: Key) -> None:
    """Dependency of operations that change something."""
    _admit(request, key, "write", 1.0)


def _admit(request: Request, key: str | None, role: Role, cost: float) -> None:
    access: Access = request.app.state.service.access
    access.admit(request.client.host if request.client else None, key, role, cost)
