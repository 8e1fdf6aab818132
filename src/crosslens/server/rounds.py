"""Work that becomes due at the same moment, done together: one thread wakes for it and shares what it looks up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")
Work = Callable[[Sequence[Item]], Sequence[Made | Exception]]


class Rounds:
    """Gathers what is asked for in one turn of the event loop, which is what the turn before has made possible.

    Nobody waits for company: a turn takes a fraction of a millisecond.

    Args:
        threads: does the work of each round.
    """

    def __init__(self, threads: Executor) -> None:
        self._threads = threads
        self._due: dict[Work[Any, Any], list[tuple[Any, asyncio.Future[Any]]]] = {}

    async def __call__(self, work: Work[Item, Made], item: Item) -> Made:
        """What ``work`` makes of ``item``, with the others of the round.

        Args:
            work: items to what is made of each, or why nothing is.
            item: one of them.

        Raises:
            Exception: what ``work`` gave or raised.
        """
        loop = asyncio.get_running_loop()
        made: asyncio.Future[Made] = loop.create_future()
        if not self._due:
            loop.call_soon(self._start, loop)
        self._due.setdefault(work, []).append((item, made))
        return await made

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        due, self._due = self._due, {}
        for work, waiting in due.items():
            self._threads.submit(_do, loop, work, waiting)


def _do(
    loop: asyncio.AbstractEventLoop, work: Work[Any, Any], waiting: list[tuple[Any, asyncio.Future[Any]]]
) -> None:
    try:
        made = work([item for item, _ in waiting])
    except Exception as error:
        made = [error] * len(waiting)
    loop.call_soon_threadsafe(_hand_out, [future for _, future in waiting], made)


def _hand_out(futures: Sequence[asyncio.Future[Any]], made: Sequence[Any]) -> None:
    for future, one in zip(futures, made, strict=True):
        # Who has gone meanwhile waits no longer.
        if future.done():
            continue
        if isinstance(one, Exception):
            future.set_exception(one)
        else:
            future.set_result(one)
