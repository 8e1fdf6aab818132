"""Whether a file is still the one that was read: all rooms compare the same stamp."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple


class FileStamp(NamedTuple):
    """The state of a file without its content; any change to the file changes one of the four.

    Size and time alone do not tell: archives give all their files one time, and two such files may change places.
    A rename changes what lies under the name (``inode``), a file written over in place its time of change.

    Attributes:
        size: in bytes.
        modified: when its content was last written, in nanoseconds since 1970; a program may set it.
        inode: which file lies under the name.
        changed: when its content or properties last changed, in nanoseconds since 1970; no program sets it. A
            copy, or a change of rights, has another one, so where reading again is dear, ask ``content_digest``.
    """

    size: int
    modified: int
    inode: int
    changed: int

    def __str__(self) -> str:
        return "|".join(map(str, self))


def stamp_of(path: Path) -> FileStamp:
    """The stamp of a file, links followed.

    Raises:
        OSError: when it is gone or cannot be looked at.
    """
    state = path.stat()
    return FileStamp(state.st_size, state.st_mtime_ns, state.st_ino, state.st_ctime_ns)


def content_digest(path: Path) -> str:
    """32 hexadecimal characters that stand for the bytes of a file.

    Raises:
        OSError: when it cannot be read.
    """
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
