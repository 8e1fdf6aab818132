"""Putting a new version of an index in the place of the one that is served, and back."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

from crosslens.search.index.contents import Contents
from crosslens.search.index.writer_lock import hold_for_writing
from crosslens.support.addresses import is_address
from crosslens.support.errors import StoreError
from crosslens.support.progress import note

_HERE = -100
"""``AT_FDCWD`` of Linux: paths are as they stand."""
_EXCHANGE = 2
"""``RENAME_EXCHANGE`` of Linux."""


def switch_indexes(index: str | Path, new: str | Path) -> None:
    """Exchange two index folders in one step; the same call again is the way back.

    Both are opened first, so that nothing damaged takes the place. Servers of ``index`` open what lies there now
    with their next look, requests under way end on what they began with, and writers are kept out meanwhile. Where
    the file system cannot exchange folders (NFS), three renamings take its place, between which ``index`` is
    missing for a moment; it says so.

    Raises:
        StoreError: when one of them is no index that can be opened, both are the same, lie on different file
            systems or in object storage.
        AnotherWriterError: when one of them is being written.
    """
    for place in (index, new):
        if is_address(place):
            raise StoreError(
                f"{place} lies in object storage, which exchanges nothing: build each version under its own"
                " address and start the servers with the new one"
            )
    here, beside = Path(index).resolve(), Path(new).resolve()
    if here == beside:
        raise StoreError(f"{index} and {new} are one index; build the new version beside it, in another folder")
    Contents.open(here).store.close()
    coming = Contents.open(beside)
    try:
        # Loaded as a server would.
        coming.require(coming.query_encoder.fingerprint, "its encoder")
        with hold_for_writing(here), hold_for_writing(beside):
            _exchange(here, beside)
            coming.store.publish()
    finally:
        coming.store.close()


def _exchange(one: Path, other: Path) -> None:
    try:
        if _exchange_at_once(one, other):
            return
        note(f"this file system exchanges no folders: {one} is missing for a moment")
        aside = one.with_name(f"{one.name}.aside")
        one.rename(aside)
        other.rename(one)
        aside.rename(other)
    except OSError as error:
        raise StoreError(
            f"{one} and {other} could not be exchanged: {error.strerror or error}; both must lie on one file"
            " system, in folders that you may write to"
        ) from error


def _exchange_at_once(one: Path, other: Path) -> bool:
    """Exchange two folders; False where this system has no call for it."""
    if sys.platform != "linux":
        return False
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    # Not known to the kernel, or not to the file system.
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number))
