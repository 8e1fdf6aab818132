"""What lies in the cache folder, and making room there."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from crosslens.support.errors import ConfigError
from crosslens.support.files import remove
from crosslens.support.near_names import did_you_mean
from crosslens.support.places import cache_folder

KINDS = {
    "features": "features of pictures; embedded again when needed",
    "onnx": "backbones as ONNX graphs; exported again when needed",
    "encoders": "encoders of indexes as ONNX graphs; compiled again when needed",
    "lite": "texts of lite's classes; embedded again when needed",
    "remote": "copies of files in object storage; fetched again when needed",
    "members": "where pictures lie in tar archives in object storage; looked up again when needed",
    "thumbnails": "small pictures of the page; made again when needed",
    "emoji": "the built-in pictures, which the demo's run and index show",
    "indexes": "what 'crosslens open' made; it indexes again",
    "other": "anything else",
}
"""Kinds of what is cached, and what they are."""
KEPT = ("emoji", "indexes", "other")
"""Kinds that go only when they are named: others may point at them, or they took hours."""
_DEPTHS = {"features": 2, "indexes": 2, "onnx": 1, "encoders": 1, "lite": 1, "remote": 1}
"""How many folders below the cache one thing lies that goes as a whole; 0 elsewhere."""
_JUST_NOW = 600
"""Seconds after its last change in which a thing counts as in use."""


@dataclass(frozen=True)
class Cached:
    """One thing in the cache, which goes as a whole.

    Attributes:
        kind: of ``KINDS``.
        path: a file or a folder.
        size: bytes.
        changed: the time of the last change in it, seconds since 1970.
    """

    kind: str
    path: Path
    size: int
    changed: float

    @property
    def is_in_use(self) -> bool:
        """Whether a process works in it, or did a moment ago."""
        return time.time() - self.changed < _JUST_NOW or any(map(_is_held, self.path.rglob("*.lock")))


def list_cached() -> list[Cached]:
    """All there is, by kind and path."""
    found = [_measured(kind, path) for kind, path in _things(cache_folder())]
    return sorted(found, key=lambda one: (list(KINDS).index(one.kind), one.path))


def clean_cache(
    kinds: Collection[str] = (), *, older_than: float = 0.0, pretend: bool = False
) -> tuple[list[Cached], list[Cached]]:
    """Remove what can be made again, but nothing that is in use.

    Args:
        kinds: of ``KINDS``; all but ``KEPT`` by default.
        older_than: days since the last change.
        pretend: say what would go, and remove nothing.

    Returns:
        What went, and what would have gone but is in use.

    Raises:
        ConfigError: for an unknown kind.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        near = did_you_mean(unknown[0], KINDS)
        raise ConfigError(f"there is no kind {unknown[0]!r} in the cache; there are {', '.join(KINDS)}{near}")
    wanted = set(kinds) or set(KINDS) - set(KEPT)
    before = time.time() - older_than * 86400
    gone, kept = [], []
    for one in list_cached():
        if one.kind not in wanted or one.changed > before:
            continue
        if one.is_in_use:
            kept.append(one)
            continue
        if not pretend:
            remove(one.path)
            _drop_empty(one.path.parent)
        gone.append(one)
    return gone, kept


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    return sum(state.st_size for state in _states(path))


def _things(folder: Path) -> Iterator[tuple[str, Path]]:
    for entry in sorted(folder.iterdir()):
        name = entry.name.partition("-")[0] if entry.name.startswith("emoji") else entry.name
        kind = name if name in KINDS else "other"
        things = [entry]
        for _ in range(_DEPTHS.get(kind, 0)):
            things = [below for thing in things if thing.is_dir() for below in sorted(thing.iterdir())]
        yield from ((kind, thing) for thing in things)


def _measured(kind: str, path: Path) -> Cached:
    states = list(_states(path))
    size, changed = sum(s.st_size for s in states), max((s.st_mtime for s in states), default=0.0)
    return Cached(kind, path, size, changed)


def _states(path: Path) -> Iterator[os.stat_result]:
    for file in path.rglob("*") if path.is_dir() else [path]:
        try:
            if file.is_file() and not file.is_symlink():
                yield file.stat()
        except OSError:
            # Gone meanwhile.
            continue


def _is_held(lock: Path) -> bool:
    from filelock import FileLock, Timeout

    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False


def _drop_empty(folder: Path) -> None:
    if folder != cache_folder() and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
