"""Answers commands of the same user on the same machine, over the socket of ``support/local_socket.py``."""

from __future__ import annotations

import logging
import os
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from crosslens.search.query.plain import answer_plainly, request_plainly, to_plain
from crosslens.server.collection import Collection
from crosslens.support.errors import CrosslensError
from crosslens.support.local_socket import is_same_user, receive, send, socket_of

log = logging.getLogger(__name__)
_SECONDS = 30
"""That a command may take to ask."""


class LocalSocket:
    """Listens on the socket of a collection until it is closed; of several processes the first one does."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._listening: socket.socket | None = None
        self._lock: FileLock | None = None
        self._place = socket_of(collection.folder)

    def start(self) -> None:
        """Begin; where that cannot be, commands answer for themselves as ever."""
        if self._place is None:
            return
        try:
            self._place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = FileLock(f"{self._place}.lock")
            self._lock.acquire(timeout=0)
            # Who holds the lock is alone: what lies here was left by a process that is gone.
            self._place.unlink(missing_ok=True)
            self._listening = _listen(self._place)
        except Timeout:
            self._lock = None
        except OSError as error:
            log.info("commands are not answered over %s: %s", self._place, error)
        else:
            threading.Thread(target=self._accept, name="local", daemon=True).start()

    def close(self) -> None:
        """Stop, and remove the socket."""
        if self._listening is not None and self._place is not None:
            self._place.unlink(missing_ok=True)
            with suppress(OSError):
                # Wakes the thread that waits for the next command.
                self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
        if self._lock is not None:
            self._lock.release()

    def _accept(self) -> None:
        assert self._listening is not None
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), name="local-answer", daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, ValueError):
            connection.settimeout(_SECONDS)
            if is_same_user(connection):
                send(connection, self._told(receive(connection)))

    def _told(self, asked: Any) -> dict[str, Any]:
        """The answer, or nothing but the reason why there is none: the command finds out for itself."""
        try:
            if Path(asked["index"]) != self._collection.folder.resolve():
                return {"refused": "another index"}
            self._collection.refresh(now=True)
            searcher, wanted = self._collection.searcher, asked["asked"]
            request = request_plainly(self._collection.folder, wanted)
            answer = answer_plainly(searcher, request, wanted.get("min_match"))
            return to_plain(answer, len(searcher.index))
        except (CrosslensError, AttributeError, KeyError, TypeError) as error:
            return {"refused": str(error)}
        except Exception as error:
            log.exception("a command could not be answered")
            return {"refused": str(error)}


def _listen(place: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(str(place))
        os.chmod(place, 0o600)
        listening.listen(16)
    except OSError:
        listening.close()
        raise
    return listening
