"""Reading ahead: many pictures are asked for at once where each takes its time to come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

REQUESTS = 32
"""Requests to object storage that are under way at once."""


def read_ahead(
    read: Callable[[T], R], wanted: Iterable[T], *, ahead: int = 2 * REQUESTS
) -> Iterator[tuple[T, Future[R]]]:
    """``read`` of each thing, in order, while those behind it are on their way.

    Args:
        read: is run in ``REQUESTS`` threads.
        wanted: what to read.
        ahead: how many may be under way or ready before they are taken; bounds the memory.

    Yields:
        The thing, and what gives its result or raises what ``read`` raised.
    """
    source = iter(wanted)
    with ThreadPoolExecutor(REQUESTS, "reading") as pool:
        waiting = deque((one, pool.submit(read, one)) for one in islice(source, ahead))
        try:
            while waiting:
                yield waiting.popleft()
                waiting.extend((one, pool.submit(read, one)) for one in islice(source, 1))
        finally:
            for _, future in waiting:
                future.cancel()
