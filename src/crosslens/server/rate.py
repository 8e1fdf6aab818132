"""How often one client may ask: a token bucket each, in bounded memory."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable


class RateLimit:
    """Token buckets by client.

    Each client's bucket holds ``burst`` tokens and gains ``rate`` a second. The least recently seen of more than
    ``clients`` clients is forgotten, and starts with a full bucket when it comes back.
    """

    def __init__(
        self,
        rate: float,
        burst: float,
        *,
        clients: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate, self._burst, self._clients, self._clock = rate, burst, clients, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, client: str, cost: float = 1.0) -> float:
        """Take ``cost`` tokens.

        Returns:
            0 when they were there, else the seconds until they are; nothing is taken then.
        """
        now = self._clock()
        with self._lock:
            tokens, seen = self._buckets.pop(client, (self._burst, now))
            tokens = min(self._burst, tokens + (now - seen) * self._rate)
            waiting = max(0.0, (cost - tokens) / self._rate)
            self._buckets[client] = (tokens if waiting else tokens - cost, now)
            while len(self._buckets) > self._clients:
                self._buckets.popitem(last=False)
        return waiting

    def __len__(self) -> int:
        return len(self._buckets)


def client_of(address: str | None) -> str:
    """Who an address belongs to: IPv4 addresses alone, IPv6 ones by their /64, which one customer holds whole."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
