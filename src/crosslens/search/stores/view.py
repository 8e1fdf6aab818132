"""One version of an index as it is searched: what the serving structure holds, and what is newer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crosslens.search.filters.conditions import Filter
from crosslens.search.stores.base import Found, missing_item
from crosslens.search.stores.faiss_structure import Structure
from crosslens.search.stores.inverted_lists import Allowed
from crosslens.search.stores.scoring import best, exact_top
from crosslens.support.errors import StoreError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Positions = NDArray[np.int64]

_MOST_FILTERS = 32
_FEW = 16


class UnfitError(StoreError):
    """A structure that does not belong to the table."""


class Matching(NamedTuple):
    """What a filter leaves.

    Attributes:
        rows: rising rows of the view.
        base: those in the structure, as its positions; None for all of its rows.
        tail: those newer than it, as rows of the tail; None for all.
    """

    rows: Positions
    base: Allowed | None
    tail: Positions | None


class View:
    """N items in the order of their seqs: B rows of a structure, then a tail of newer ones. Never changed.

    Attributes:
        version: of the table.
        seqs: ``(N,)``, rising.
        items: N rows of ``ITEM_SCHEMA``.
        structure: holds the first B of them, and maybe others that are gone.
        tail: vectors of the others ``(N - B, d)``.
        folder: of the index, for messages.
    """

    def __init__(
        self,
        version: int,
        seqs: NDArray[np.int64],
        items: pa.Table,
        structure: Structure | None,
        tail: Array,
        folder: Path,
    ) -> None:
        self.version = version
        self.seqs = seqs
        self.items = items
        # One batch is taken from several times faster than a table.
        self._batch = items.combine_chunks().to_batches()[0] if len(seqs) else items
        self.structure = structure
        self.tail = tail
        self._folder = folder
        self._base = len(seqs) - len(tail)
        self._places, self._row_of = self._joined()
        self._masks: dict[Filter, Matching] = {}
        self._everything = self._matching(np.ones(len(seqs), dtype=bool))

    def __len__(self) -> int:
        return len(self.seqs)

    @property
    def gone(self) -> int:
        """Rows of the structure that are no longer in the table."""
        return 0 if self.structure is None else self.structure.manifest.rows - self._base

    def search(self, queries: Array, k: int, where: Filter | None, exact: bool) -> list[Found]:
        """The k best items of each query ``(Q, d)`` among those that match; all k when as many match."""
        matching = self._everything if where is None else self.matching(where)
        parts = []
        if self.structure is not None and (matching.base is None or len(matching.base.positions)):
            found = self.structure.search(queries, k, matching.base, exact, self._names_of_places)
            row_of = self._row_of
            parts.append(found if row_of is None else [(row_of[places], scores) for places, scores in found])
        if len(self.tail) and (matching.tail is None or len(matching.tail)):
            found = exact_top(queries, self.tail, k, matching.tail, self._names_of_tail)
            parts.append([(rows + self._base, scores) for rows, scores in found])
        if not parts:
            parts.append([(np.empty(0, np.int64), np.empty(0, np.float32))] * len(queries))
        if len(parts) == 1:
            return [Found(self._batch, rows, scores) for rows, scores in parts[0]]
        answers = []
        for both in zip(*parts, strict=True):
            rows = np.concatenate([rows for rows, _ in both])
            scores = np.concatenate([scores for _, scores in both])
            answers.append(Found(self._batch, *best(rows, scores, k, self.names)))
        return answers

    def matching(self, where: Filter) -> Matching:
        """What a filter leaves; remembered for the filters asked last."""
        found = self._masks.get(where)
        if found is None:
            found = self._matching(where.mask(self.items))
            if len(self._masks) >= _MOST_FILTERS:
                self._masks.clear()
            self._masks[where] = found
        return found

    def count(self, where: Filter | None) -> int:
        """How many items there are, or match."""
        return len(self) if where is None else len(self.matching(where).rows)

    def rows_of_ids(self, ids: Sequence[str]) -> Positions:
        """Rows of these ids ``(n,)``, -1 for one that is not there."""
        column = self.items.column("id")
        if len(ids) <= _FEW:
            return np.array([pc.index(column, image).as_py() for image in ids], np.int64)
        found = pc.index_in(pa.array(ids, pa.string()), value_set=column)
        return np.asarray(found.fill_null(-1).to_numpy(), np.int64)

    def get(self, ids: Sequence[str]) -> tuple[pa.Table, Array]:
        """Items and vectors ``(n, d)`` in the order asked.

        Raises:
            StoreError: naming the first id that is not there.
        """
        rows = self.rows_of_ids(ids)
        if (rows < 0).any():
            raise missing_item(ids[int(np.argmax(rows < 0))], self._folder)
        return self.items.take(pa.array(rows)), self.vectors(rows)

    def vectors(self, rows: Positions) -> Array:
        """Vectors ``(n, d)`` of rows of this view."""
        found = np.empty((len(rows), self.tail.shape[1]), np.float32)
        old = rows < self._base
        if self.structure is not None and old.any():
            found[old] = self.structure.vectors[self._places[rows[old]]]
        found[~old] = self.tail[rows[~old] - self._base]
        return found

    def names(self, rows: Positions) -> list[str]:
        """Ids of rows."""
        called: list[str] = self.items.column("id").take(pa.array(rows)).to_pylist()
        return called

    def _joined(self) -> tuple[Positions, Positions | None]:
        """The structure's position of each of the first B rows, and the row of each position, -1 for one gone.

        Raises:
            UnfitError: when a row that the structure should hold is not there: it was made from another table.
        """
        if self.structure is None:
            return np.empty(0, np.int64), None
        held, own = self.structure.seqs, self.seqs[: self._base]
        places = np.searchsorted(held, own)
        if len(own) and (places[-1] >= len(held) or not np.array_equal(held[places], own)):
            raise UnfitError(f"{self.structure.folder} was made from another table")
        if len(held) == len(own):
            return places, None
        row_of = np.full(len(held), -1, np.int64)
        row_of[places] = np.arange(len(own))
        return places, row_of

    def _matching(self, mask: NDArray[np.bool_]) -> Matching:
        rows = np.flatnonzero(mask)
        split = int(np.searchsorted(rows, self._base))
        base, tail = rows[:split], rows[split:] - self._base
        total = 0 if self.structure is None else self.structure.manifest.rows
        allowed = None if split == total else Allowed(self._places[base], total)
        return Matching(rows, allowed, None if len(tail) == len(self.tail) else tail)

    def _rows_of(self, places: Positions) -> Positions:
        return places if self._row_of is None else self._row_of[places]

    def _names_of_places(self, places: Positions) -> list[str]:
        return self.names(self._rows_of(places))

    def _names_of_tail(self, rows: Positions) -> list[str]:
        return self.names(rows + self._base)
