"""What every store of an index is and does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
import pyarrow as pa

from crosslens.nn.similarity import Similarity
from crosslens.search.filters.conditions import Filter
from crosslens.support.errors import StoreError
from crosslens.support.remote import Remote

if TYPE_CHECKING:
    from numpy.typing import NDArray

ITEM_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("root", pa.string()),
        pa.field("domain", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("size", pa.int64()),
        pa.field("modified", pa.int64()),
        pa.field("stamp", pa.string()),
        pa.field("own", pa.string()),
    ]
)
"""An item: unique id, absolute path, folder the id is relative to, domain, class name, bytes, epoch seconds, the
``FileStamp`` of its file as text, which indexes of format 2 lack, and its own columns as a JSON object
(``index.own_columns``), which those of format 3 lack and which is null until they were looked for."""


LOCK = ".lock"
"""File in an index folder that a writer locks."""


@dataclass(frozen=True, eq=False)
class Nearest:
    """The items nearest to one query.

    Attributes:
        items: of one version, or the part of them that was looked at, with the columns of ``ITEM_SCHEMA``.
        positions: rows of ``items`` ``(k',)``, best first.
        scores: ``(k',)`` inner products with the query, descending; ties are in the order of ids.
    """

    items: pa.Table | pa.RecordBatch
    positions: NDArray[np.int64]
    scores: NDArray[np.float32]

    @cached_property
    def ids(self) -> list[str]:
        """The ids of these items. Costs a third of ``rows``."""
        column = self.items.column("id")
        return [column[position].as_py() for position in self.positions.tolist()]

    @cached_property
    def rows(self) -> pa.Table:
        """The k' items."""
        # ``pa.array`` would import pandas, where that is installed, which takes as long as all of Arrow.
        counted = np.ascontiguousarray(self.positions, np.int64)
        taken = self.items.take(
            pa.Int64Array.from_buffers(pa.int64(), len(counted), [None, pa.py_buffer(counted)])
        )
        return taken if isinstance(taken, pa.Table) else pa.Table.from_batches([taken])


@dataclass(frozen=True)
class StoreContext:
    """What a store needs to know when it is made or opened.

    Attributes:
        folder: of the index; a local store keeps its files there, under names of its own.
        away: where the index lies in object storage, of which ``folder`` then holds a part; it is only read.
        name: of the collection, unique to this index: for stores that hold several.
        dim: d, the length of a vector.
        similarity: the form queries come in.
        fingerprint: digest of the embedding whose vectors these are.
        settings: of the store's kind, as plain values.
        numbered: whether the last of the ``dim`` numbers is no part of the vector; see ``NumberedStore``.
    """

    folder: Path
    name: str
    dim: int
    similarity: Similarity = field(default_factory=Similarity)
    fingerprint: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    numbered: bool = False
    away: Remote | None = None


class OpenStore(Protocol):
    """Items and their unit vectors, durably kept.

    A store trusts what it is given: ``Index`` checks vectors, ids and fingerprints, and lets one writer in at a
    time. Every change is one step: a process killed at any moment leaves it wholly done or wholly undone. A reader
    sees one whole version until it calls ``refresh``; it may search from several threads at once.
    """

    def upsert(self, items: pa.Table, vectors: NDArray[np.float32]) -> None:
        """Add n items of ``ITEM_SCHEMA`` with their vectors ``(n, d)``; items whose id is there are replaced."""
        ...

    def delete(self, which: Sequence[str] | Filter) -> int:
        """Delete items by id, unknown ones passed over, or by filter.

        Returns:
            How many were deleted.
        """
        ...

    def search(
        self, queries: NDArray[np.float32], k: int, where: Filter | None = None, exact: bool = False
    ) -> list[Nearest]:
        """The k best items of each query ``(Q, d)`` among those that match ``where``.

        All k come back when as many items match. ``exact`` scores every one of them.
        """
        ...

    def get(self, ids: Sequence[str]) -> tuple[pa.Table, NDArray[np.float32]]:
        """Items and vectors ``(n, d)`` in the order asked.

        Raises:
            StoreError: naming the first id that is not there.
        """
        ...

    def count(self, where: Filter | None = None) -> int:
        """How many items there are, or match."""
        ...

    def scan(
        self, where: Filter | None = None, vectors: bool = False, batch: int = 8192
    ) -> Iterator[tuple[pa.Table, NDArray[np.float32] | None]]:
        """All items of one version, or those that match, in batches, with vectors ``(n, d)`` if asked for."""
        ...

    def column(self, name: str) -> pa.ChunkedArray:
        """One column of all items of one version, in the order of ``scan``; far cheaper where nothing else is
        wanted."""
        ...

    def optimize(self) -> dict[str, Any]:
        """Do what makes searching fast and the files small again; says what was done, as plain values."""
        ...

    def quicken(self) -> None:
        """Spend memory and a moment on answering many queries of the version that is read faster, where a store
        can; answers stay what they are."""
        ...

    def publish(self) -> None:
        """Let other programs find this index under the name given for it, where the kind has such names."""
        ...

    def refresh(self) -> bool:
        """Take over what other processes committed; True when something changed."""
        ...

    @property
    def version(self) -> str:
        """The version that is read: a text that differs after every committed change."""
        ...

    def keeps(self, column: str) -> bool:
        """Whether a column of ``ITEM_SCHEMA`` is kept; a table that an older crosslens made may lack the newer."""
        ...

    def stats(self) -> dict[str, Any]:
        """Kind, structure and settings, as plain values."""
        ...

    def snapshot(self, target: Path) -> None:
        """Write this version to a new folder: ``items.parquet`` and ``vectors.safetensors`` (N, d)."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


class Store(OpenStore, Protocol):
    """A kind of store: how one is made and opened.

    Attributes:
        kind: its name in ``STORES``.
        entries: what it calls its files and folders in the folder of an index; no two kinds share a name.
    """

    kind: ClassVar[str]
    entries: ClassVar[frozenset[str]]

    @classmethod
    def create(cls, context: StoreContext) -> Self:
        """Make an empty store; what an interrupted ``create`` left is replaced."""
        ...

    @classmethod
    def open(cls, context: StoreContext) -> Self:
        """Open the store that is there.

        Raises:
            StoreError: when it is missing or damaged.
        """
        ...


def as_items(table: pa.Table) -> pa.Table:
    """``table`` with exactly the columns of ``ITEM_SCHEMA``; missing ones that may be null are filled with null.

    Raises:
        StoreError: when a column is missing, has another type, or holds a null it must not.
    """
    columns = []
    for column in ITEM_SCHEMA:
        if column.name not in table.schema.names:
            if not column.nullable:
                raise StoreError(f"the items lack the column {column.name!r}")
            columns.append(pa.nulls(table.num_rows, column.type))
            continue
        values = table.column(column.name)
        if not column.nullable and values.null_count:
            raise StoreError(f"{values.null_count} items have no {column.name}")
        try:
            columns.append(values.cast(column.type))
        except pa.ArrowException as error:
            raise StoreError(f"the column {column.name!r} cannot be read as {column.type}: {error}") from error
    return pa.table(columns, schema=ITEM_SCHEMA)


def missing_item(image: str, folder: Path) -> StoreError:
    """The error of an id that is not there."""
    return StoreError(f"there is no item {image!r} in {folder}")
