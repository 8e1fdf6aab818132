"""One writer at a time in an index folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from crosslens.errors import StoreError
from crosslens.search.stores.base import LOCK

LOCK_SECONDS = 10.0
"""How long a writer waits for another one."""


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold an index folder against every other process that would write in it.

    Raises:
        StoreError: when another process writes, and does not end within ``LOCK_SECONDS``, or it cannot be written.
    """
    lock = FileLock(folder / LOCK, timeout=LOCK_SECONDS)
    try:
        lock.acquire()
    except Timeout:
        raise StoreError(f"another process is writing to {folder}; try again when it is done") from None
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()
