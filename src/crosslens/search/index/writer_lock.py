"""One writer at a time in an index folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from crosslens.search.stores.base import LOCK
from crosslens.support.errors import AnotherWriterError, StoreError

LOCK_SECONDS = 10.0
"""How long a writer waits for another one."""


@contextmanager
def hold_for_writing(folder: Path) -> Iterator[None]:
    """Hold an index folder against every other process that would write in it.

    Raises:
        AnotherWriterError: when another process writes, and does not end within ``LOCK_SECONDS``.
        StoreError: when it is gone or cannot be written.
    """
    if not folder.is_dir():
        # The lock would make the folder again, where another index may be about to take its place.
        raise StoreError(f"{folder} is not there any more")
    lock = FileLock(folder / LOCK, timeout=LOCK_SECONDS)
    try:
        lock.acquire()
    except Timeout:
        raise AnotherWriterError(f"another process is writing to {folder}; try again when it is done") from None
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()


def is_being_written(folder: Path) -> bool:
    """Whether some process holds an index folder right now; False too where nobody may write in it."""
    if not folder.is_dir():
        return False
    try:
        with FileLock(folder / LOCK, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False
