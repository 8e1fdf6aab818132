"""One version of an index as it is searched: what the serving structure holds, and what is newer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crosslens.ops.screen import Screen, make_screen
from crosslens.search.filters.conditions import Filter
from crosslens.search.stores.base import Nearest, missing_item
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


class Filtered(NamedTuple):
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
        # One batch is taken from several times faster than a table; texts of more than 2 GiB do not fit into one.
        batches = items.combine_chunks().to_batches() if len(seqs) else []
        self._batch = batches[0] if len(batches) == 1 else items
        self.structure = structure
        self.tail = tail
        self._folder = folder
        self._base = len(seqs) - len(tail)
        self._positions, self._row_of = self._joined()
        self._masks: dict[Filter, Filtered] = {}
        self._everything = self._split(np.ones(len(seqs), dtype=bool))
        self._screen: Screen | None = None

    def __len__(self) -> int:
        return len(self.seqs)

    @property
    def gone(self) -> int:
        """Rows of the structure that are no longer in the table."""
        return 0 if self.structure is None else self.structure.manifest.rows - self._base

    def search(self, queries: Array, k: int, where: Filter | None, exact: bool) -> list[Nearest]:
        """The k best items of each query ``(Q, d)`` among those that match; all k when as many match."""
        left = self._everything if where is None else self.filtered(where)
        parts = []
        if self.structure is not None and (left.base is None or len(left.base.positions)):
            nearest = self.structure.search(queries, k, left.base, exact, self._names_of_positions)
            row_of = self._row_of
            parts.append(
                nearest if row_of is None else [(row_of[positions], scores) for positions, scores in nearest]
            )
        if len(self.tail) and (left.tail is None or len(left.tail)):
            nearest = exact_top(queries, self.tail, k, left.tail, self._names_of_tail, self._screen)
            parts.append([(rows + self._base, scores) for rows, scores in nearest])
        if not parts:
            parts.append([(np.empty(0, np.int64), np.empty(0, np.float32))] * len(queries))
        if len(parts) == 1:
            return [Nearest(self._batch, rows, scores) for rows, scores in parts[0]]
        answers = []
        for both in zip(*parts, strict=True):
            rows = np.concatenate([rows for rows, _ in both])
            scores = np.concatenate([scores for _, scores in both])
            answers.append(Nearest(self._batch, *best(rows, scores, k, self.names)))
        return answers

    def quicken(self) -> None:
        """Hold codes of the vectors in memory; see ``ops/screen.py``."""
        if self.structure is not None:
            self.structure.quicken()
        if self._screen is None:
            self._screen = make_screen(self.tail)

    def filtered(self, where: Filter) -> Filtered:
        """What a filter leaves; remembered for the filters asked last."""
        left = self._masks.get(where)
        if left is None:
            left = self._split(where.mask(self.items))
            if len(self._masks) >= _MOST_FILTERS:
                self._masks.clear()
            self._masks[where] = left
        return left

    def count(self, where: Filter | None) -> int:
        """How many items there are, or match."""
        return len(self) if where is None else len(self.filtered(where).rows)

    def rows_of_ids(self, ids: Sequence[str]) -> Positions:
        """Rows of these ids ``(n,)``, -1 for one that is not there."""
        column = self.items.column("id")
        if len(ids) <= _FEW:
            return np.array([pc.index(column, image).as_py() for image in ids], np.int64)
        rows = pc.index_in(pa.array(ids, pa.string()), value_set=column)
        return np.asarray(rows.fill_null(-1).to_numpy(), np.int64)

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
        vectors = np.empty((len(rows), self.tail.shape[1]), np.float32)
        old = rows < self._base
        if self.structure is not None and old.any():
            vectors[old] = self.structure.vectors[self._positions[rows[old]]]
        vectors[~old] = self.tail[rows[~old] - self._base]
        return vectors

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
        held, wanted = self.structure.seqs, self.seqs[: self._base]
        if np.array_equal(held, wanted):
            return np.arange(len(held)), None
        positions = np.searchsorted(held, wanted)
        if len(wanted) and (positions[-1] >= len(held) or not np.array_equal(held[positions], wanted)):
            raise UnfitError(f"{self.structure.folder} was made from another table")
        row_of = np.full(len(held), -1, np.int64)
        row_of[positions] = np.arange(len(wanted))
        return positions, row_of

    def _split(self, mask: NDArray[np.bool_]) -> Filtered:
        rows = np.flatnonzero(mask)
        split = int(np.searchsorted(rows, self._base))
        base, tail = rows[:split], rows[split:] - self._base
        total = 0 if self.structure is None else self.structure.manifest.rows
        allowed = None if split == total else Allowed(self._positions[base], total)
        return Filtered(rows, allowed, None if len(tail) == len(self.tail) else tail)

    def _rows_of(self, positions: Positions) -> Positions:
        return positions if self._row_of is None else self._row_of[positions]

    def _names_of_positions(self, positions: Positions) -> list[str]:
        return self.names(self._rows_of(positions))

    def _names_of_tail(self, rows: Positions) -> list[str]:
        return self.names(rows + self._base)
