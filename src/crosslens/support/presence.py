"""Whether a picture is gone: the one answer that adding, moving and serving share."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from crosslens.support.addresses import Place, place_of
from crosslens.support.file_stamp import stamp_of
from crosslens.support.members import read_head
from crosslens.support.remote import NoObjectError, Remote

_LEADS_NOWHERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


def is_gone(path: str | Path, root: str | Path | None = None) -> bool:
    """Whether a file is no longer there under the very name it was read by.

    A link is there as long as it leads to a file. A folder of the same name, or a name that differs in the case of
    its letters alone, is something else, also on a disk that takes the one for the other. What cannot be looked at
    (no rights, a disk that does not answer) is not known to be gone.

    Args:
        path: of the file, with its links as they were named.
        root: the folder below which every part of the name counts; outside it, the last part alone does.
    """
    place = place_of(path)
    try:
        if isinstance(place, Remote):
            stamp_of(place)
            return False
        if not stat.S_ISREG(os.stat(place).st_mode):
            return True
    except (OSError, ValueError) as error:
        if isinstance(place, Remote):
            return isinstance(error, NoObjectError)
        nowhere = isinstance(error, OSError) and error.errno in _LEADS_NOWHERE
        return nowhere and not _is_in_container(place)
    file = place
    parts: tuple[str, ...] = (file.name,)
    if root is not None and file.is_relative_to(root):
        parts = file.relative_to(root).parts
    folder = Path(*file.parts[: len(file.parts) - len(parts)])
    for name in parts:
        if _is_another(folder, name):
            return True
        folder /= name
    return False


def can_be_read(path: str | Place) -> bool:
    """Whether a file can be opened and read, whatever it holds."""
    try:
        read_head(place_of(path), 1)
    except OSError:
        return False
    return True


def _is_in_container(picture: Path) -> bool:
    try:
        stamp_of(picture)
    except OSError:
        return False
    return True


def _is_another(folder: Path, name: str) -> bool:
    """Whether the folder lists no such name, though the system finds a file by it."""
    other = name.swapcase()
    if other == name:
        return False
    try:
        # Where case matters, and nearly everywhere it does, this spares reading the whole folder.
        if not os.path.samestat(os.lstat(folder / name), os.lstat(folder / other)):
            return False
        return name not in os.listdir(folder)
    except OSError:
        return False
