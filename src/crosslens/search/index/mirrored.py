"""An index in object storage: what of it is fetched to this machine, and what is read where it lies.

Its description, encoder, kept queries and newest serving structure are copied into the cache, since they are
mapped into memory or read again and again; Lance reads its table where it lies. Pictures are fetched when they are
shown.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from crosslens.search.index.description import SNAPSHOT
from crosslens.search.stores.lance import SERVING
from crosslens.search.stores.lance_table import FOLDER
from crosslens.support.errors import StoreError
from crosslens.support.local_copy import mirror
from crosslens.support.remote import Remote

_LEFT_THERE = (FOLDER, "uploads", "server")


def mirror_index(place: Remote) -> Path:
    """The folder of this machine that stands for an index in object storage, brought up to date.

    Raises:
        StoreError: when there is none.
        PlaceError: when it cannot be read.
    """
    # One listing, which also says where there is no bucket.
    names = {one.name for one in place.iterdir()}
    if "index.json" not in names:
        if SNAPSHOT in names:
            raise StoreError(
                f"{place} is a snapshot; make an index of it with 'crosslens index restore {place} --out INDEX'"
            )
        raise StoreError(f"{place} holds no index; make one with 'crosslens index build ROOT --out {place}'")
    return mirror(place, _fetched)


def _fetched(names: Collection[str]) -> list[str]:
    """Of the files of an index those that are fetched: of the serving structures the newest that is whole."""
    manifests = sorted(
        name for name in names if name.startswith(f"{SERVING}/") and name.endswith("/manifest.json")
    )
    newest = manifests[-1].rpartition("/")[0] + "/" if manifests else None
    kept = []
    for name in names:
        top = name.partition("/")[0]
        if top.startswith(".") or top in _LEFT_THERE:
            continue
        if top != SERVING or (newest is not None and name.startswith(newest)):
            kept.append(name)
    return kept
