"""Fold: near-duplicates under the best of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from crosslens.nn.similarity import Similarity, reaches
from crosslens.search.index.index import Index
from crosslens.search.index.items import Hit
from crosslens.search.query.query import FoldedHit
from crosslens.search.query.question import Course

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]


MOST_FOLDED = 5000
"""Best items that folding looks at: a low threshold must not read a whole index."""
_LISTED = 100
"""Near-duplicates listed under one hit."""


class Folds:
    """Takes hits best first; each is kept, or folded under the best kept one that it nearly equals.

    Args:
        threshold: similarity from which two hits count as equal.
        similarity: how vectors are compared; the cosine by default.
    """

    def __init__(self, threshold: float, similarity: Similarity | None = None) -> None:
        self.threshold = threshold
        self.similarity = similarity or Similarity()
        self._kept = np.empty((0, 0), np.float32)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, vectors: Array) -> list[int]:
        """To which kept hit each of the next hits ``(n, d)``, unit rows, belongs: its number, counted from 0.

        A hit that is kept gets the next number.
        """
        numbers: list[int] = []
        asked = self.similarity.as_queries(vectors)
        for vector, asking in zip(vectors, asked, strict=True):
            if self._count:
                near = np.flatnonzero(reaches(self._kept[: self._count] @ asking, self.threshold))
                if len(near):
                    numbers.append(int(near[0]))
                    continue
            numbers.append(self._count)
            self._keep(vector)
        return numbers

    def _keep(self, vector: Array) -> None:
        if self._count == len(self._kept):
            # Twice the room each time: rows are not copied again for every hit.
            grown = np.empty((max(16, 2 * self._count), len(vector)), np.float32)
            if self._count:
                grown[: self._count] = self._kept
            self._kept = grown
        self._kept[self._count] = vector
        self._count += 1


class Folding:
    """Folds the hits of one index."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def __call__(
        self, batches: Iterable[list[Hit]], threshold: float, course: Course
    ) -> Iterator[list[FoldedHit]]:
        """The hits that are kept of all batches so far, best first, after each batch.

        Args:
            batches: hits, best first.
            threshold: similarity from which two hits count as equal.
            course: gets a sentence where not all near-duplicates are listed.
        """
        folds = Folds(threshold, self._index.similarity)
        kept: list[FoldedHit] = []
        for hits in batches:
            if hits:
                with course.stage("fold"):
                    vectors = self._index.store.get([hit.id for hit in hits])[1]
                    for hit, number in zip(hits, folds.add(vectors), strict=True):
                        if number == len(kept):
                            kept.append(FoldedHit(hit))
                        elif len(kept[number].duplicates) == _LISTED:
                            course.note(
                                f"at most {_LISTED} near-duplicates are listed under a hit; there are more"
                            )
                        else:
                            kept[number] = replace(kept[number], duplicates=(*kept[number].duplicates, hit.id))
            yield kept


def keep_all(batches: Iterable[list[Hit]]) -> Iterator[list[FoldedHit]]:
    """In place of folding: all hits so far, after each batch."""
    kept: list[FoldedHit] = []
    for hits in batches:
        kept += [FoldedHit(hit) for hit in hits]
        yield kept
