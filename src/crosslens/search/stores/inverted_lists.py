"""FAISS inverted lists of 8-bit codes: candidates for a query, filtered before the cut.

Jegou, Douze, Schmid, "Product quantization for nearest neighbor search" (TPAMI 2011), section IV, describes the
lists; the codes are those of a scalar quantizer.
"""

from __future__ import annotations

import errno
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Positions = NDArray[np.int64]

_TRAINED_PER_LIST = 64
_ADDED_AT_ONCE = 65_536


@cache
def _faiss() -> Any:
    """FAISS, imported where there are lists; its type stubs do not know the Python forms of its calls."""
    import faiss

    return faiss


class Allowed:
    """Some of M rows: those that match a filter and are still in the table.

    Attributes:
        positions: ``(m,)``, rising.
        share: m / M.
    """

    def __init__(self, positions: Positions, rows: int) -> None:
        self.positions = positions
        self.share = len(positions) / max(rows, 1)
        self._rows = rows
        self._filled: tuple[int, Any] | None = None

    @cached_property
    def selector(self) -> Any:
        """For FAISS."""
        return _selector(self.positions, self._rows)

    def filled(self, list_of: NDArray[np.int32], count: int) -> tuple[int, Any]:
        """How many of ``count`` lists hold an allowed row, and what tells FAISS to look at their centres alone.

        Args:
            list_of: ``(M,)``, the list of each row.
            count: of all lists.
        """
        if self._filled is None:
            lists = np.unique(list_of[self.positions])
            only = None if len(lists) == count else _faiss().SearchParameters(sel=_selector(lists, count))
            self._filled = len(lists), only
        return self._filled


def _selector(positions: NDArray[np.integer[Any]], total: int) -> Any:
    mask = np.zeros(total, dtype=bool)
    mask[positions] = True
    return _faiss().IDSelectorBitmap(np.packbits(mask, bitorder="little"))


class InvertedLists:
    """M rows in lists.

    Attributes:
        index: FAISS's.
        list_of: the list of each row ``(M,)``.
    """

    def __init__(self, index: Any, list_of: NDArray[np.int32]) -> None:
        self.index = index
        self.list_of = list_of
        self._made: dict[int, Any] = {}

    @classmethod
    def make(cls, vectors: Array, count: int) -> InvertedLists:
        """Put rows ``(M, d)`` into ``count`` lists, around centres found by k-means on a sample; repeatable."""
        rows, dim = vectors.shape
        index = _faiss().IndexIVFScalarQuantizer(
            _faiss().IndexFlatIP(dim), dim, count, _faiss().ScalarQuantizer.QT_8bit, _faiss().METRIC_INNER_PRODUCT
        )
        drawn = np.random.default_rng(0).permutation(rows)[: count * _TRAINED_PER_LIST]
        index.train(np.ascontiguousarray(vectors[np.sort(drawn)]))
        list_of = np.empty(rows, np.int32)
        for start in range(0, rows, _ADDED_AT_ONCE):
            part = np.ascontiguousarray(vectors[start : start + _ADDED_AT_ONCE])
            nearest = np.ascontiguousarray(index.quantizer.search(part, 1)[1])
            list_of[start : start + len(part)] = nearest[:, 0]
            numbers = np.arange(start, start + len(part), dtype=np.int64)
            index.add_core(len(part), *map(_faiss().swig_ptr, (part, numbers, nearest)))
        return cls(index, list_of)

    @classmethod
    def read(cls, file: Path, list_of: NDArray[np.int32]) -> InvertedLists:
        """Read the lists that ``write`` wrote, mapped into memory where this version of FAISS can.

        Raises:
            RuntimeError: when the file is missing or damaged.
            ValueError: when it holds something else.
        """
        index = _faiss().read_index(str(file), getattr(_faiss(), "IO_FLAG_MMAP_IFC", 0))
        if not isinstance(index, _faiss().IndexIVF) or index.ntotal != len(list_of):
            raise ValueError(f"{file} does not hold {len(list_of)} rows in lists")
        return cls(index, list_of)

    def write(self, file: Path) -> None:
        """Write the lists; ``list_of`` is kept elsewhere.

        Raises:
            OSError: when the disk is full.
        """
        try:
            _faiss().write_index(self.index, str(file))
        except RuntimeError as error:
            raise OSError(errno.EIO, f"FAISS could not write it: {error}") from error

    def touch(self) -> None:
        """Look into every list once, so that no later query waits for pages of the mapped file."""
        query = np.zeros((1, self.index.d), np.float32)
        self.index.search(query, 1, params=_faiss().SearchParametersIVF(nprobe=self.index.nlist))

    def candidates(self, queries: Array, count: int, probes: int, allowed: Allowed | None = None) -> Positions:
        """Rows ``(Q, count)`` that a query's best lists hold, best first by their codes; -1 where there are fewer.

        With ``allowed``, only lists that hold an allowed row are looked into, so a filter that leaves out whole
        regions costs no recall.

        Args:
            queries: ``(Q, d)``.
            count: candidates a query.
            probes: lists looked into.
            allowed: the rows that may be found.
        """
        if allowed is None:
            rows: Positions = self.index.search(queries, count, params=self._parameters(probes))[1]
            return rows
        filled, only = allowed.filled(self.list_of, self.index.nlist)
        if not filled:
            return np.full((len(queries), count), -1, np.int64)
        probes = min(probes, filled)
        scores, lists = self.index.quantizer.search(queries, probes, params=only)
        parameters = _faiss().SearchParametersIVF(nprobe=probes, sel=allowed.selector)
        rows = np.empty((len(queries), count), np.int64)
        codes = np.empty((len(queries), count), np.float32)
        # The Python form of this call takes no parameters, so this is the form below it.
        pointers = [_faiss().swig_ptr(array) for array in (lists, scores, codes, rows)]
        self.index.search_preassigned_c(
            len(queries), _faiss().swig_ptr(queries), count, *pointers, False, parameters
        )
        return rows

    def _parameters(self, probes: int) -> Any:
        """FAISS's, which are dear to make beside a search that takes a tenth of a millisecond."""
        if probes not in self._made:
            self._made[probes] = _faiss().SearchParametersIVF(nprobe=min(probes, self.index.nlist))
        return self._made[probes]


def list_count(rows: int) -> int:
    """Lists for so many rows: four times the square root, at most 16,384, and 39 rows or more in each."""
    return max(1, min(round(4 * rows**0.5), 16_384, rows // 39))
