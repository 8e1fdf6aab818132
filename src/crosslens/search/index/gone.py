"""Items whose pictures are gone, and how many may go at once before somebody is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from crosslens.support.errors import TooManyGoneError
from crosslens.support.presence import is_gone

_MOST_LOST = 0.5
"""Share of a domain's items that may be deleted at once because their images are gone."""
_FILE = ["size", "modified", "stamp"]


def restore_names(indexed: pa.Table) -> pa.Table:
    """Items of a source whose ids are paths, under the names by which they were indexed.

    Format 2 held what a link led to instead.
    """
    name = pc.binary_join_element_wise(indexed.column("root"), indexed.column("id"), "/")
    unnamed = pc.and_(indexed.column("stamp").is_null(), pc.invert(pc.starts_with(indexed.column("id"), "/")))
    column = indexed.schema.get_field_index("path")
    paths = pc.if_else(unnamed, name, indexed.column("path"))
    return indexed.set_column(column, indexed.schema.field(column), paths)


def find_gone(indexed: pa.Table, items: pa.Table, among: Sequence[str] | None = None) -> list[str]:
    """Ids of the items of a root whose file is gone (``crosslens.support.presence``).

    Args:
        indexed: the items that the index has of it.
        items: those of the catalog; a file that it found a moment ago is there.
        among: look at these ids alone; at all of ``indexed`` by default.
    """
    there = items.column("id").filter(items.column("stamp").is_valid())
    unseen = indexed.filter(pc.invert(pc.is_in(indexed.column("id"), value_set=there)))
    if among is not None:
        unseen = unseen.filter(pc.is_in(unseen.column("id"), value_set=pa.array(among, pa.string())))
    looked_at = unseen.select(["id", "path", "root"]).to_pylist()
    return [row["id"] for row in looked_at if is_gone(row["path"], row["root"])]


def refuse_loss(indexed: pa.Table, gone: Sequence[str], items: pa.Table, root: str) -> None:
    """A folder that is empty because its disk is not mounted must not empty the index.

    Files that have another name below the root now, as when a folder was renamed, are not lost.

    Raises:
        TooManyGoneError: when more than one item, and more than ``_MOST_LOST`` of a domain's, would be deleted.
    """
    if not gone:
        return
    rows, lost = indexed.select(["id", "domain", *_FILE]).to_pylist(), set(gone)
    is_new = pc.invert(pc.is_in(items.column("id"), value_set=indexed.column("id").combine_chunks()))
    renamed = {same for row in items.filter(is_new).select(_FILE).to_pylist() for same in _identities(row)}
    total = Counter(row["domain"] for row in rows)
    missing = Counter(row["domain"] for row in rows if row["id"] in lost and _identities(row)[0] not in renamed)
    for domain, count in sorted(missing.items()):
        if count > max(1, _MOST_LOST * total[domain]):
            raise TooManyGoneError(
                f"the images of {count} of the {total[domain]} items of {domain!r} are gone from {root}; nothing"
                " was changed. Is a disk not mounted, or a folder not synchronised? If they are to go, add again"
                " with --force (force=True); to keep their items, with --keep-gone (remove_gone=False); if the"
                f" pictures were moved: 'crosslens index relocate INDEX {root} NEW'"
            )


def _identities(row: dict[str, Any]) -> list[str]:
    """What stays of a file that is renamed: its stamp but for the time of that; without one, size and time."""
    whole = [] if row["stamp"] is None else [row["stamp"].rpartition("|")[0]]
    return [*whole, f"{row['size']} {row['modified']}"]


def find_renamed(indexed: pa.Table, items: pa.Table) -> list[str]:
    """Ids of items whose very file the catalog has under another id, as where accents are spelt otherwise."""
    other = pc.invert(pc.is_in(indexed.column("id"), value_set=items.column("id")))
    same = pc.is_in(indexed.column("path"), value_set=items.column("path"))
    return [
        row["id"]
        for row in indexed.filter(pc.and_(other, same)).select(["id", "path", "root", "stamp"]).to_pylist()
        # Otherwise the path may be that of what a link led to; see ``restore_names``.
        if row["stamp"] is not None or row["path"] == str(Path(row["root"], row["id"]))
    ]
