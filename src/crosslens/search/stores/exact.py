"""The small reference store: two plain files a version, everything in memory, every answer exact.

    I/generations/current.json    which generation is current
    I/generations/000001/         items.parquet and vectors.safetensors (N, d), row by row, in the order of ids

A change writes a new generation beside the current one and then replaces ``current.json``. So a change costs as
much as the whole index: good for thousands of items, not for millions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crosslens.search.filters.conditions import BaseFilter, Filter
from crosslens.search.stores.base import ITEM_SCHEMA, Nearest, StoreContext, missing_item
from crosslens.search.stores.scoring import exact_top
from crosslens.search.stores.snapshot import damaged, read_pair, write_pair
from crosslens.support.errors import StoreError
from crosslens.support.files import read_json, remove, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDER = "generations"


class _Generation(NamedTuple):
    number: int
    items: pa.Table
    vectors: NDArray[np.float32]


class ExactStore:
    """Items and vectors in memory, written as a whole."""

    kind = "exact"
    entries = frozenset({FOLDER})

    def __init__(self, context: StoreContext, current: _Generation) -> None:
        self._context = context
        self._current = current

    @classmethod
    def create(cls, context: StoreContext) -> Self:
        """Make an empty store."""
        if context.settings:
            raise StoreError(f"the exact store has no settings; leave out {', '.join(context.settings)}")
        remove(context.folder / FOLDER)
        write_json(_pointer(context), {"generation": 0, "items": 0})
        return cls(context, _empty(context))

    @classmethod
    def open(cls, context: StoreContext) -> Self:
        """Read the current generation.

        Raises:
            StoreError: when it is missing or damaged.
        """
        return cls(context, _read(context))

    def upsert(self, items: pa.Table, vectors: NDArray[np.float32]) -> None:
        """Add or replace n items with their vectors ``(n, d)``."""
        kept = ~_truth(pc.is_in(self._current.items.column("id"), value_set=items.column("id").combine_chunks()))
        self._commit(
            pa.concat_tables([self._current.items.filter(pa.array(kept)), items]),
            np.concatenate([self._current.vectors[kept], vectors]),
        )

    def delete(self, which: Sequence[str] | Filter) -> int:
        """Delete items by id or filter; says how many."""
        gone = self._matching(which)
        count = int(gone.sum())
        if count:
            self._commit(self._current.items.filter(pa.array(~gone)), self._current.vectors[~gone])
        return count

    def search(
        self, queries: NDArray[np.float32], k: int, where: Filter | None = None, exact: bool = False
    ) -> list[Nearest]:
        """The k best items of each query ``(Q, d)``, always exact. Rows lie in the order of ids, so ties do."""
        current = self._current
        among = None if where is None else np.flatnonzero(where.mask(current.items))
        answers = exact_top(queries, current.vectors, k, among)
        return [Nearest(current.items, rows, scores) for rows, scores in answers]

    def get(self, ids: Sequence[str]) -> tuple[pa.Table, NDArray[np.float32]]:
        """Items and vectors in the order asked.

        Raises:
            StoreError: naming the first id that is not there.
        """
        current = self._current
        rows = pc.index_in(pa.array(ids, pa.string()), value_set=current.items.column("id"))
        if rows.null_count:
            raise missing_item(
                next(i for i, row in zip(ids, rows.to_pylist(), strict=True) if row is None), self._context.folder
            )
        return current.items.take(rows), current.vectors[rows.to_numpy()]

    def count(self, where: Filter | None = None) -> int:
        """How many items there are, or match."""
        items = self._current.items
        return int(items.num_rows if where is None else where.mask(items).sum())

    def scan(
        self, where: Filter | None = None, vectors: bool = False, batch: int = 8192
    ) -> Iterator[tuple[pa.Table, NDArray[np.float32] | None]]:
        """All items, or those that match, in batches."""
        current = self._current
        rows = np.arange(current.items.num_rows) if where is None else np.flatnonzero(where.mask(current.items))
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            yield current.items.take(pa.array(part)), current.vectors[part] if vectors else None

    def column(self, name: str) -> pa.ChunkedArray:
        """One column of all items, as it is held."""
        return self._current.items.column(name)

    def optimize(self) -> dict[str, Any]:
        """Remove what interrupted changes left; there is nothing else to do."""
        self._clean()
        return {"items": self.count()}

    def quicken(self) -> None:
        """Nothing: this store is the plain one."""

    def publish(self) -> None:
        """Nothing: who reads its files finds it by its folder."""

    def refresh(self) -> bool:
        """Read the current generation when it is another one."""
        if _number(self._context) == self._current.number:
            return False
        self._current = _read(self._context)
        return True

    @property
    def version(self) -> str:
        """The number of the generation."""
        return str(self._current.number)

    def keeps(self, column: str) -> bool:
        """Always."""
        return True

    def stats(self) -> dict[str, Any]:
        """Kind and structure."""
        return {"kind": self.kind, "structure": "exact"}

    def snapshot(self, target: Path) -> None:
        """Write this version to a new folder."""
        write_pair(target, self._current.items, self._current.vectors)

    def close(self) -> None:
        """Nothing is held open."""

    def _matching(self, which: Sequence[str] | Filter) -> NDArray[np.bool_]:
        items = self._current.items
        if isinstance(which, BaseFilter):
            return which.mask(items)
        return _truth(pc.is_in(items.column("id"), value_set=pa.array(list(which), pa.string())))

    def _commit(self, items: pa.Table, vectors: NDArray[np.float32]) -> None:
        order = pc.sort_indices(items, sort_keys=[("id", "ascending")])
        items, vectors = items.take(order).combine_chunks(), vectors[order.to_numpy()]
        number = self._current.number + 1
        target = _folder(self._context, number)
        # A generation that was never made current is left over from a killed process.
        remove(target)
        write_pair(target, items, vectors)
        write_json(_pointer(self._context), {"generation": number, "items": items.num_rows})
        self._current = _Generation(number, items, vectors)
        self._clean()

    def _clean(self) -> None:
        """Remove generations that no reader needs: all but the current one and the one before."""
        kept = {_folder(self._context, self._current.number - back).name for back in (0, 1)}
        for old in (self._context.folder / FOLDER).iterdir():
            if old.is_dir() and old.name not in kept:
                remove(old)


def _pointer(context: StoreContext) -> Path:
    return context.folder / FOLDER / "current.json"


def _folder(context: StoreContext, number: int) -> Path:
    return context.folder / FOLDER / f"{number:06d}"


def _empty(context: StoreContext) -> _Generation:
    return _Generation(0, ITEM_SCHEMA.empty_table(), np.empty((0, context.dim), np.float32))


def _number(context: StoreContext) -> int:
    try:
        return int(read_json(_pointer(context), StoreError)["generation"])
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(_pointer(context), f"no {error}") from error


def _read(context: StoreContext) -> _Generation:
    number = _number(context)
    while number:
        try:
            return _Generation(number, *read_pair(_folder(context, number), context.dim))
        except FileNotFoundError as error:
            # Two changes may have passed since the pointer was read; then it points elsewhere now.
            newer = _number(context)
            if newer == number:
                raise damaged(_folder(context, number), f"{error.filename} is missing") from error
            number = newer
    return _empty(context)


def _truth(values: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.array(values.to_numpy(), dtype=bool)
