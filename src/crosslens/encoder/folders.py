"""Where a run or an encoder lies that a name stands for."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from crosslens.support.addresses import place_of
from crosslens.support.errors import RunError
from crosslens.support.local_copy import mirror
from crosslens.support.remote import Remote

_MARKS = ("config.yaml", "config.json", "encoder/config.json")
"""One of these has every run and every encoder."""
_LEFT = ("checkpoints", "tried")
"""What a run goes on from, and what it set aside: nobody reads them from elsewhere."""


def folder_here(source: str | Path) -> Path:
    """The folder of this machine: the one that is named, or the copy of a run or encoder at an address.

    Nothing is fetched before it is seen that there is one, so that a wrong address costs three questions.

    Raises:
        RunError: for an address at which there is neither.
        PlaceError: when it cannot be asked for.
    """
    place = place_of(source)
    if not isinstance(place, Remote):
        return place
    if not any((place / mark).is_file() for mark in _MARKS):
        raise RunError(f"{place} holds no run and no encoder (no {_MARKS[0]}, no {_MARKS[1]})")
    return mirror(place, _read_of_it)


def _read_of_it(names: Collection[str]) -> Collection[str]:
    return [name for name in names if name.split("/")[0] not in _LEFT]
