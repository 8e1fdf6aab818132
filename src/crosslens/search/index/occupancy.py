"""Which index lies in a folder, checked again while one is open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crosslens.search.index.description import read_description
from crosslens.support.errors import ReplacedIndexError, StoreError

_SAME = ("collection", "fingerprint")
"""What tells one index from another: a name drawn when it was made, and the embedding of its vectors."""


class Occupancy:
    """Notices that the folder of an open index holds another one.

    Versions of a store are mere numbers, so two indexes that lay at one path can have the same ones.

    Args:
        folder: of the index.
        description: what ``index.json`` said when it was opened.
    """

    def __init__(self, folder: Path, description: dict[str, Any]) -> None:
        self._file = folder / "index.json"
        self._description = description
        self._seen: tuple[int, ...] | None = None

    def check(self) -> dict[str, Any]:
        """What the index says of itself now; ``index.json`` is read only after it changed.

        Raises:
            ReplacedIndexError: when the folder holds another index.
            StoreError: when it holds none any more, or ``index.json`` is damaged.
        """
        folder = self._file.parent
        try:
            state = self._file.stat()
        except OSError as error:
            raise StoreError(f"{folder} holds no index any more: {error.strerror}") from error
        seen = (state.st_dev, state.st_ino, state.st_mtime_ns, state.st_size)
        if seen != self._seen:
            description = read_description(folder)
            if any(description.get(key) != self._description.get(key) for key in _SAME):
                raise ReplacedIndexError(f"{folder} holds another index now; open it again")
            self._description, self._seen = description, seen
        return self._description
