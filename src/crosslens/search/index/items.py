"""From a catalog's images to the items of an index, and from its rows to hits."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic_core import from_json

from crosslens.data.catalog import Catalog
from crosslens.ops.sampling import drawn_rows
from crosslens.search.index.unit_rows import find_faults, restore_unit_length
from crosslens.search.stores.base import ITEM_SCHEMA, Nearest, OpenStore, as_items
from crosslens.support.addresses import Place, joined, place_of
from crosslens.support.errors import CatalogError, StoreError
from crosslens.support.file_stamp import stamps_of
from crosslens.support.progress import note
from crosslens.support.remote import Remote

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Hit:
    """One found item.

    Attributes:
        id: of the item.
        score: similarity with the query, in [-1, 1]: the cosine, or what ``Similarity`` says; where the very thing
            is asked for, less the item's number (``hubs``), which has a mean of 0 over the items of a domain.
        path: where the image lay when it was indexed, absolute; its name, not what a link leads to.
        domain: its domain.
        label: its class name, where known.
        root: the absolute folder that the id starts from, where there is one.
        size: of the file in bytes, when it was indexed.
        modified: when the file was last changed before it was indexed, in seconds since 1970.
        columns: its own columns that have a value, as plain values; dates as ``2026-01-31`` or
            ``2026-01-31T12:00:00``.
    """

    id: str
    score: float
    path: str
    domain: str
    label: str | None
    root: str | None = None
    size: int | None = None
    modified: int | None = None
    columns: dict[str, Any] = field(default_factory=dict, hash=False)


_KEPT = tuple(entry.name for entry in fields(Hit) if entry.name not in ("score", "columns"))


def make_hits(rows: pa.Table, scores: Iterable[float]) -> list[Hit]:
    """Rows of ``ITEM_SCHEMA`` with their scores as hits."""
    columns = [rows.column(name).to_pylist() for name in _KEPT]
    own = [from_json(text) if text else {} for text in rows.column("own").to_pylist()]
    return [Hit(image, float(score), *values) for score, image, *values in zip(scores, *columns, own, strict=True)]


def make_all_hits(found: Sequence[Nearest], most: float) -> list[list[Hit]]:
    """What a search found for each query, as hits; no score is above ``most``.

    The rows of several queries are taken at once, which costs hardly more than those of one.
    """
    made: list[list[Hit]] = []
    for _, of_same in groupby(found, key=lambda nearest: id(nearest.items)):
        each = list(of_same)
        scores = np.concatenate([one.scores for one in each])
        together = Nearest(each[0].items, np.concatenate([one.positions for one in each]), scores)
        hits = iter(make_hits(together.rows, np.minimum(scores, most).tolist()))
        made += [list(islice(hits, len(one.positions))) for one in each]
    return made


def make_items(catalog: Catalog) -> pa.Table:
    """The images of a catalog as items, in its order; ``own`` is null, size and time where a file is gone."""
    root = resolve_root(catalog)
    columns = {
        "id": catalog.ids,
        "path": [_named(root, path) for path in catalog.column("path")],
        "root": [root] * len(catalog),
        "domain": catalog.column("domain"),
        "label": catalog.labels,
        **read_file_columns(catalog.paths),
        "own": [None] * len(catalog),
    }
    return pa.table(columns, schema=ITEM_SCHEMA)


def select_gallery(catalog: Catalog) -> Catalog:
    """The images that may be found: all but those whose role is ``query``, which is noted.

    Raises:
        CatalogError: when no image is left.
    """
    may = np.array([role != "query" for role in catalog.column("role")], dtype=bool)
    if may.all():
        return catalog
    if not may.any():
        raise CatalogError("the column 'role' marks every image as a query, so there is none to find")
    note(f"{int((~may).sum())} image(s) with the role query are not indexed")
    return catalog.where(may)


def take_items(items: pa.Table, ids: Sequence[str]) -> pa.Table:
    """The items of these ids, in their order; all must be there."""
    return items.take(pc.index_in(pa.array(ids, pa.string()), value_set=items.column("id")))


def check_items(
    items: pa.Table, vectors: NDArray[np.floating[Any]], dim: int
) -> tuple[pa.Table, NDArray[np.float32]]:
    """Items with exactly the columns of ``ITEM_SCHEMA`` and their vectors, as a store takes them.

    Args:
        items: n rows, ids distinct; columns that may hold null may be missing.
        vectors: ``(n, dim)`` unit rows; lengths that were rounded, as fp16 does, are made 1 again.
        dim: how many numbers a vector has.

    Raises:
        StoreError: for wrong shapes or columns, vectors that are not finite or not of length 1, or repeated ids.
    """
    table = as_items(items)
    if vectors.shape != (table.num_rows, dim):
        raise StoreError(f"{table.num_rows} items need vectors ({table.num_rows}, {dim})")
    if not np.isfinite(vectors).all():
        bad = int((~np.isfinite(vectors).all(1)).sum())
        raise StoreError(f"{bad} of {len(vectors)} vectors hold NaN or infinity; nothing was added")
    faults = find_faults(vectors)
    if faults:
        row, fault = next(iter(faults.items()))
        raise StoreError(
            f"{len(faults)} of {len(vectors)} vectors do not have length 1; the first, of"
            f" {table.column('id')[row].as_py()!r}, {fault}. Divide each by its length, and leave out those of"
            " length 0; nothing was added"
        )
    if len(set(table.column("id").to_pylist())) != table.num_rows:
        raise StoreError("the items to add repeat an id; nothing was added")
    return table, restore_unit_length(vectors)


def sample_items(store: OpenStore, n: int, seed: int = 0) -> tuple[pa.Table, NDArray[np.float32]]:
    """Rows and vectors ``(n', d)`` of n items drawn at random by ``seed``; of all where there are fewer."""
    ids = store.column("id")
    return store.get(ids.take(pa.array(drawn_rows(len(ids), n, seed))).to_pylist())


def count_domains(store: OpenStore) -> dict[str, int]:
    """Items by domain, in the order of names."""
    counted = pc.value_counts(store.column("domain")).to_pylist()
    return dict(sorted((one["values"], one["counts"]) for one in counted))


def read_file_columns(paths: Sequence[Place]) -> dict[str, list[Any]]:
    """The columns ``size``, ``modified`` in whole seconds and ``stamp`` of files; null for one that is gone."""
    columns: dict[str, list[Any]] = {"size": [], "modified": [], "stamp": []}
    for stamp in stamps_of(paths):
        values: tuple[Any, ...] = (None, None, None)
        if stamp is not None:
            values = stamp.size, stamp.modified // 10**9, str(stamp)
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    return columns


def resolve_root(catalog: Catalog) -> str:
    """The absolute folder that a catalog's paths start from, or its address."""
    return str(catalog.root.resolve())


def _named(root: str, path: str) -> str:
    """The absolute name of a catalog's file, or its address; only links to folders above ``root`` are followed."""
    place = joined(place_of(root), path)
    if isinstance(place, Remote):
        return str(place)
    if os.path.isabs(path) or ".." in Path(path).parts:
        folder, name = os.path.split(os.path.join(root, path))
        return os.path.join(os.path.realpath(folder), name)
    return str(Path(root, path))
