"""A number beside each vector, taken from an item's scores as far as a query says.

It is the last of a row, ``[vector, -number]``, and the last of a query is how much of it counts: ``[query, 0]``
ranks by the inner product, ``[query, 1]`` by the inner product less the number. So any store of inner products
ranks exactly by both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from crosslens.search.filters.conditions import Filter
from crosslens.search.stores.base import Nearest, OpenStore
from crosslens.search.stores.snapshot import gather, write_pair

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]


def with_weight(queries: Array, weight: float) -> Array:
    """Queries ``(Q, d)`` that say how much of the numbers counts ``(Q, d + 1)``; see ``NumberedStore``."""
    return _with_numbers(queries, np.full(len(queries), -weight, np.float32))


def _with_numbers(vectors: Array, numbers: Array) -> Array:
    """Vectors ``(n, d)`` with their numbers ``(n,)`` as rows ``(n, d + 1)``."""
    return np.concatenate([vectors, -numbers[:, None]], axis=1, dtype=np.float32)


class NumberedStore:
    """A store that gives and takes vectors ``(n, d)``, over one that keeps rows ``(n, d + 1)``.

    Args:
        inner: what keeps the rows.
        dim: d.
        number_of: the numbers ``(n,)`` of items with their vectors; asked whenever some are written.

    Attributes:
        inner: what keeps the rows.
    """

    def __init__(self, inner: OpenStore, dim: int, number_of: Callable[[pa.Table, Array], Array]) -> None:
        self.inner, self._dim, self._number_of = inner, dim, number_of

    def upsert(self, items: pa.Table, vectors: Array) -> None:
        """Add or replace n items with their vectors ``(n, d)``, numbered anew."""
        self.put(items, vectors, self._number_of(items, vectors))

    def put(self, items: pa.Table, vectors: Array, numbers: Array) -> None:
        """The same with numbers ``(n,)`` that are known."""
        self.inner.upsert(items, _with_numbers(vectors, numbers))

    def delete(self, which: Sequence[str] | Filter) -> int:
        """Delete items by id or filter; says how many."""
        return self.inner.delete(which)

    def search(self, queries: Array, k: int, where: Filter | None = None, exact: bool = False) -> list[Nearest]:
        """The k best items of each query: ``(Q, d)``, without the numbers, or ``(Q, d + 1)`` as
        ``with_weight``."""
        asked = with_weight(queries, 0) if queries.shape[1] == self._dim else queries
        return self.inner.search(asked, k, where, exact)

    def get(self, ids: Sequence[str]) -> tuple[pa.Table, Array]:
        """Items and vectors in the order asked."""
        items, rows = self.inner.get(ids)
        return items, np.ascontiguousarray(rows[:, : self._dim])

    def numbers(self, ids: Sequence[str]) -> Array:
        """The numbers ``(n,)`` of items.

        Raises:
            StoreError: naming the first id that is not there.
        """
        return -self.inner.get(ids)[1][:, self._dim]

    def count(self, where: Filter | None = None) -> int:
        """How many items there are, or match."""
        return self.inner.count(where)

    def scan(
        self, where: Filter | None = None, vectors: bool = False, batch: int = 8192
    ) -> Iterator[tuple[pa.Table, Array | None]]:
        """All items, or those that match, in batches."""
        for items, rows in self.inner.scan(where, vectors, batch):
            yield items, None if rows is None else np.ascontiguousarray(rows[:, : self._dim])

    def column(self, name: str) -> pa.ChunkedArray:
        """One column of all items."""
        return self.inner.column(name)

    def optimize(self) -> dict[str, Any]:
        """Make searching fast and the files small again."""
        return self.inner.optimize()

    def quicken(self) -> None:
        """Answer many queries faster, where the inner store can."""
        self.inner.quicken()

    def publish(self) -> None:
        """Let other programs find it under its name."""
        self.inner.publish()

    def refresh(self) -> bool:
        """Take over what other processes committed."""
        return self.inner.refresh()

    @property
    def version(self) -> str:
        """The version that is read."""
        return self.inner.version

    def keeps(self, column: str) -> bool:
        """Whether a column of ``ITEM_SCHEMA`` is kept."""
        return self.inner.keeps(column)

    def stats(self) -> dict[str, Any]:
        """Kind, structure and settings."""
        return self.inner.stats()

    def snapshot(self, target: Path) -> None:
        """Write this version to a new folder, without the numbers: what is made of it learns its own."""
        write_pair(target, *gather(self.scan(vectors=True), self._dim))

    def close(self) -> None:
        """Let go of files and connections."""
        self.inner.close()
