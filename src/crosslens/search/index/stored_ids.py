"""Ids as an index has them, for ids as somebody typed them."""

from __future__ import annotations

from collections.abc import Sequence

from crosslens.data.names import nfc
from crosslens.search.filters.conditions import MOST_VALUES, In
from crosslens.search.stores.base import OpenStore
from crosslens.support.utf8 import require_utf8


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
