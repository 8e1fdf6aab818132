"""Copies of objects on this machine, for what must be mapped into memory or is read again and again.

    CACHE/remote/<address>/<content tag>.<suffix>   one object
    CACHE/remote/<address>/...                      some objects below a prefix, under their own names

A copy is of one content: the object is asked for its tag each time, and another one is fetched anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path

from filelock import FileLock

from crosslens.support.addresses import Place
from crosslens.support.files import read_json, remove, write_json
from crosslens.support.members import number_of
from crosslens.support.places import cache_folder
from crosslens.support.reading import read_ahead
from crosslens.support.remote import ObjectState, PlaceError, Remote

_TAGS = ".tags.json"


def local_copy(place: Place) -> Path:
    """A file of this machine with the content of ``place``: itself where it lies here.

    Raises:
        PlaceError: when it is not there or cannot be read.
    """
    if not isinstance(place, Remote):
        return place
    state, folder = place.state(), _folder_of(place)
    copy = folder / f"{number_of(state.etag):016x}{place.suffix}"
    if not copy.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            if not copy.is_file():
                _fetch(place, state, copy)
                for other in folder.iterdir():
                    if other.name not in (copy.name, ".lock"):
                        remove(other)
    os.utime(copy)
    return copy


def mirror(place: Remote, chosen: Callable[[Collection[str]], Collection[str]]) -> Path:
    """A folder of this machine that holds what lies below ``place``, as it is now.

    What is there already is not fetched again. The files at its top come last, so that who reads them finds all
    that they speak of.

    Args:
        place: a prefix.
        chosen: which objects are wanted, of the paths from there.

    Raises:
        PlaceError: when something cannot be read.
    """
    folder = _folder_of(place)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".mirror.lock"):
        tags = read_json(folder / _TAGS) if (folder / _TAGS).is_file() else {}
        found = {str(one.relative_to(place)): (one, state) for one, state in place.walk()}
        there = {name: found[name] for name in chosen(found)}
        changed = [n for n, (_, s) in there.items() if tags.get(n) != s.etag or not (folder / n).is_file()]
        for part in ([n for n in changed if "/" in n], [n for n in changed if "/" not in n]):
            for _, done in read_ahead(lambda name: _fetch(*there[name], folder / name), sorted(part)):
                done.result()
        for name in tags.keys() - there.keys():
            remove(folder / name)
        # Written anew each time: it says that the folder is in use.
        write_json(folder / _TAGS, {name: state.etag for name, (_, state) in there.items()})
    return folder


def lock_of(place: Place) -> FileLock:
    """What keeps other processes of this machine from writing to a folder at the same time."""
    folder = _folder_of(place) if isinstance(place, Remote) else place
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / ".lock")


def _folder_of(place: Remote) -> Path:
    return cache_folder() / "remote" / f"{place.name}-{number_of(str(place)):016x}"


def _fetch(place: Remote, state: ObjectState, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{target.name}.{os.getpid()}.tmp"
    try:
        place.download(temporary, state.size)
        os.replace(temporary, target)
    except PlaceError:
        raise
    except OSError as error:
        raise PlaceError(f"{place} could not be copied to {target}: {error.strerror or error}") from error
    finally:
        remove(temporary)
