"""Ids as an index has them, for ids as somebody typed them."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from crosslens.data.names import nfc
from crosslens.search.filters.conditions import MOST_VALUES, In
from crosslens.search.stores.base import OpenStore
from crosslens.support.near_names import in_question, near_names
from crosslens.support.utf8 import require_utf8

_LOOKED_AT = 1_000_000
"""Items of an index whose ids are looked at for one that was meant; of a larger one, nothing is offered."""
_COMPARED = 2000
"""Ids that are compared, a second's work."""
_LONGEST = 1000
"""Letters of an id that is compared."""


def find_stored_ids(store: OpenStore, ids: Sequence[str]) -> list[str]:
    """The stored id for each of ``ids``: itself where it is there, else the one that reads the same.

    Ids start from paths, and a disk may hold an accent in two characters where a keyboard gives one.

    Returns:
        As many ids; one that is not there in any form stays as it is.

    Raises:
        ConfigError: for an id that is no UTF-8 text, which none is.
    """
    require_utf8(ids, "id")
    unsure = sorted({image for image in ids if not image.isascii()})
    meant: dict[str, str] = {}
    for start in range(0, len(unsure), MOST_VALUES):
        asked = unsure[start : start + MOST_VALUES]
        where = In(field="id", values=tuple(asked))
        there = [image for table, _ in store.scan(where) for image in table.column("id").to_pylist()]
        by_text = {nfc(image): image for image in there}
        exact = set(there)
        meant |= {image: image if image in exact else by_text.get(nfc(image), image) for image in asked}
    return [meant.get(image, image) for image in ids]


def near_ids(store: OpenStore, image: str) -> str:
    """``; did you mean 'photo/1.jpg'?`` of an id that is not there; the empty text where none is near.

    Only ids of the same folder are compared, or else those of the same file name in other ones.
    """
    if store.count() > _LOOKED_AT or len(image) > _LONGEST:
        return ""
    ids = store.column("id")
    folder, slash, name = image.rpartition("/")
    beside = _starting(ids, folder + slash)
    if len(beside) > _COMPARED:
        # Of a large folder, those whose names begin alike.
        beside = _starting(ids, folder + slash + name[: len(name) // 2])
    # Whoever forgot a folder, or took another, meant that very file.
    namesakes = ids.filter(pc.ends_with(ids, f"/{name}"))
    # The folder is known; told with it, any name of few letters would seem near.
    by_name = {one.rpartition("/")[2]: one for one in _first(beside)}
    near = [by_name[one] for one in near_names(name, by_name)]
    return in_question(near or near_names(image, _first(namesakes), cutoff=0))


def _starting(ids: pa.ChunkedArray, start: str) -> pa.ChunkedArray:
    return ids.filter(pc.starts_with(ids, start))


def _first(ids: pa.ChunkedArray) -> list[str]:
    found: list[str] = ids.slice(0, _COMPARED).to_pylist()
    return found
