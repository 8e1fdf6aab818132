"""Looking at every image file: is it there, can it be decoded, is its content the same as another's?"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from crosslens.images.decode import decode as decode_image
from crosslens.support.addresses import Place
from crosslens.support.errors import ImageError
from crosslens.support.file_stamp import FileStamp, stamp_of, stamps_of
from crosslens.support.members import read_bytes
from crosslens.support.remote import Remote

BATCH = 64
"""Files a thread takes at once; a future for each of a million files would cost more memory than the images."""

Fault = Literal["missing", "empty", "unreadable", "undecodable"]


@dataclass(frozen=True)
class FileState:
    """What was found out about one file.

    Attributes:
        size: bytes.
        fault: why it cannot be used, or None.
        detail: the fault in words, to follow the file's name.
        sha256: digest of the contents, where it was asked for and another file has the same size.
    """

    size: int = 0
    fault: Fault | None = None
    detail: str = ""
    sha256: str | None = None


def inspect_files(
    paths: Sequence[Place],
    *,
    decode: bool,
    hash: bool,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[FileState]:
    """The state of each of the N files, in their order; every file is read at most once.

    Args:
        paths: the files.
        decode: decode every image.
        hash: take the SHA-256 of those whose size another file has too.
        on_progress: called from this thread with (files done, files in all).
    """
    stamps = stamps_of([path for path in paths if isinstance(path, Remote)])
    distant = iter(stamps)
    states = [_of_object(next(distant)) if isinstance(path, Remote) else _look_up(path) for path in paths]
    sizes = Counter(state.size for state in states if state.fault is None)
    to_hash = [hash and state.fault is None and sizes[state.size] > 1 for state in states]
    to_read = [row for row, state in enumerate(states) if state.fault is None and (decode or to_hash[row])]
    total, done = len(paths), len(paths) - len(to_read)

    def read(rows: Sequence[int]) -> list[FileState]:
        return [_read(paths[row], states[row], decode=decode, hash=to_hash[row]) for row in rows]

    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        batches = [to_read[start : start + BATCH] for start in range(0, len(to_read), BATCH)]
        for rows, found in zip(batches, pool.map(read, batches), strict=True):
            for row, state in zip(rows, found, strict=True):
                states[row] = state
            done += len(rows)
            if on_progress is not None:
                on_progress(done, total)
    if on_progress is not None and not to_read:
        on_progress(total, total)
    return states


def _look_up(path: Path) -> FileState:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return _in_container(path)
    except OSError as error:
        return FileState(fault="unreadable", detail=f"cannot be read: {error.strerror or error}")
    if not stat.S_ISREG(found.st_mode):
        return FileState(fault="unreadable", detail="is no regular file")
    if found.st_size == 0:
        return FileState(fault="empty", detail="is empty (0 bytes)")
    return FileState(size=found.st_size)


def _in_container(path: Path) -> FileState:
    try:
        return _of_object(stamp_of(path))
    except OSError:
        return FileState(fault="missing", detail="does not exist")


def _of_object(stamp: FileStamp | None) -> FileState:
    if stamp is None:
        return FileState(fault="missing", detail="does not exist, or cannot be asked for")
    return FileState(size=stamp.size) if stamp.size else FileState(fault="empty", detail="is empty (0 bytes)")


def _read(path: Place, state: FileState, *, decode: bool, hash: bool) -> FileState:
    try:
        content = read_bytes(path)
    except OSError as error:
        return replace(state, fault="unreadable", detail=f"cannot be read: {error.strerror or error}")
    if hash:
        state = replace(state, sha256=hashlib.sha256(content).hexdigest())
    if decode:
        try:
            # A scaled JPEG reads the whole file as an exact one does, and is several times faster.
            decode_image(content, mode="fast", min_side=1)
        except ImageError as error:
            return replace(state, fault="undecodable", detail=f"is damaged: {error}")
    return state
