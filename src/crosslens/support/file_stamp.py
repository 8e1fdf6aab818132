"""Whether a file is still the one that was read: all rooms compare the same stamp."""

from __future__ import annotations

import hashlib
import posixpath
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from crosslens.support.addresses import Place
from crosslens.support.members import container_of, number_of, of_object, prepare, read_bytes, span_of, state_of
from crosslens.support.reading import read_ahead
from crosslens.support.remote import AccessError, NoObjectError, Remote, UnreachableError

_PAGE = 1000
"""Objects that one request lists."""
_WORTH = 4
"""Requests for single objects that are worth one that lists: those are under way at once."""


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


def stamp_of(place: Place) -> FileStamp:
    """The stamp of a file, links followed, of an object, or of a picture that lies in one.

    An object's content tag stands for its number, and it has no time of change beside that of writing.

    Raises:
        OSError: when it is gone or cannot be looked at.
    """
    if isinstance(place, Path):
        try:
            state = place.stat()
            return FileStamp(state.st_size, state.st_mtime_ns, state.st_ino, state.st_ctime_ns)
        except (FileNotFoundError, NotADirectoryError):
            if (held := container_of(place)) is None:
                raise
    elif (held := container_of(place)) is None:
        return FileStamp(*of_object(place.state()), 0)
    container, name = held
    size, modified, number = state_of(container)
    if container.suffix.lower() == ".tar":
        size = span_of(container, name).size
    return FileStamp(size, modified, number_of(f"{number}|{name}"), 0)


def stamps_of(places: Sequence[Place]) -> list[FileStamp | None]:
    """The stamp of each of N pictures; None for one that is gone or cannot be looked at.

    Folders of object storage are listed, a thousand objects a request, as far as that spares asking for each.

    Raises:
        UnreachableError: where no object of a bucket could be read: wrong credentials, no such bucket.
    """
    found: dict[Place, FileStamp | None] = dict(_listed([p for p in places if isinstance(p, Remote)]))
    distant = [place for place in dict.fromkeys(places) if isinstance(place, Remote) and place not in found]
    for remote, stamp in read_ahead(stamp_of, distant):
        try:
            found[remote] = stamp.result()
        except UnreachableError:
            raise
        except OSError:
            found[remote] = None
    stamps: list[FileStamp | None] = []
    for place in places:
        if isinstance(place, Path) and place not in found:
            found[place] = None
            with suppress(OSError):
                found[place] = stamp_of(place)
        stamps.append(found[place])
    return stamps


def _listed(places: Sequence[Remote]) -> Iterator[tuple[Place, FileStamp | None]]:
    """Objects that lie many below one folder, and their stamps."""
    buckets: dict[Remote, set[Remote]] = defaultdict(set)
    containers = set()
    for place in places:
        if (held := container_of(place)) is None:
            buckets[Remote(place.scheme, place.bucket)].add(place)
        else:
            containers.add(held[0])
    for _, ready in read_ahead(prepare, containers):
        # What is wrong with one is told of the pictures in it.
        with suppress(NoObjectError, AccessError):
            ready.result()
    for bucket, wanted in buckets.items():
        folder = bucket / posixpath.commonpath([place.parent.key for place in wanted])
        # A folder that holds far more than is wanted would take longer to list than to ask.
        for place, state in islice(folder.walk(), _PAGE * len(wanted) // _WORTH):
            if place in wanted:
                yield place, FileStamp(*of_object(state), 0)


def content_digest(source: Place | bytes) -> str:
    """32 hexadecimal characters that stand for the bytes of a file, or for bytes.

    Raises:
        OSError: when it cannot be read.
    """
    if isinstance(source, Path) and source.is_file():
        with open(source, "rb") as handle:
            return hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    content = source if isinstance(source, bytes) else read_bytes(source)
    return hashlib.blake2b(content, digest_size=16).hexdigest()
