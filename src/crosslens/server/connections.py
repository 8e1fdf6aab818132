"""Connections that cannot be held open by doing nothing: deadlines for sending a head and for reading answers."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol


class DeadlineProtocol(H11Protocol):
    """HTTP/1.1 whose clients must send a whole head, and take their answer, in time.

    uvicorn closes a connection that idles after an answer; one that never finishes its first head, or never reads,
    it keeps for ever.

    Attributes:
        header_timeout: seconds a request's head may take.
        write_timeout: seconds a client may leave an answer unread.
    """

    header_timeout = 10.0
    write_timeout = 30.0

    def __init__(self, config: Config, *arguments: Any, **options: Any) -> None:
        super().__init__(config, *arguments, **options)
        self._head: asyncio.TimerHandle | None = None
        self._reader: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline of the first head."""
        super().connection_made(transport)
        self._head = self.loop.call_later(self.header_timeout, self._abort)

    def data_received(self, data: bytes) -> None:
        """Start or stop the deadline of a head: bytes that complete none leave it running."""
        super().data_received(data)
        self._watch_head()

    def on_response_complete(self) -> None:
        """Start the deadline of a head that began to arrive during the answer."""
        super().on_response_complete()
        self._watch_head()

    def _watch_head(self) -> None:
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            if self._head is None:
                self._head = self.loop.call_later(self.header_timeout, self._abort)
        elif self._head is not None and self.conn.their_state is not h11.IDLE:
            self._head.cancel()
            self._head = None

    def pause_writing(self) -> None:
        """The client does not read: start its deadline."""
        super().pause_writing()
        self._reader = self.loop.call_later(self.write_timeout, self._abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the deadlines."""
        for timer in (self._head, self._reader):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def _abort(self) -> None:
        self.transport.abort()
