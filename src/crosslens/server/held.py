"""What a client holds already, and need not be sent again."""

from __future__ import annotations


def is_held(tag: str, held: str | None) -> bool:
    """Whether ``If-None-Match`` names a strong tag, which proxies that compress make weak (RFC 9110, 13.1.2)."""
    if held is None:
        return False
    return held.strip() == "*" or tag in (part.strip().removeprefix("W/") for part in held.split(","))
