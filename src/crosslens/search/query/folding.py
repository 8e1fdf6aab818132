"""Near-duplicates under the best of them, and the second sort key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from crosslens.nn.similarity import Similarity, reaches
from crosslens.search.query.query import FoundHit, Sort

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]


LOOKED = 5000
"""Best items that folding looks at: a low threshold must not read a whole index."""
LISTED = 100
"""Near-duplicates listed under one hit."""


class Folding:
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
        """Where each of the next hits ``(n, d)``, unit rows, belongs: the number of a kept hit, counted from 0.

        A hit that is kept gets the next number.
        """
        places: list[int] = []
        asked = self.similarity.as_queries(vectors)
        for vector, asking in zip(vectors, asked, strict=True):
            if self._count:
                near = np.flatnonzero(reaches(self._kept[: self._count] @ asking, self.threshold))
                if len(near):
                    places.append(int(near[0]))
                    continue
            places.append(self._count)
            self._keep(vector)
        return places

    def _keep(self, vector: Array) -> None:
        if self._count == len(self._kept):
            # Twice the room each time: rows are not copied again for every hit.
            grown = np.empty((max(16, 2 * self._count), len(vector)), np.float32)
            if self._count:
                grown[: self._count] = self._kept
            self._kept = grown
        self._kept[self._count] = vector
        self._count += 1


def sort_hits(hits: Sequence[FoundHit], key: Sort) -> list[FoundHit]:
    """Hits that come best first, by another key; equal ones stay best first, missing values come last."""
    if key == "score":
        return list(hits)
    name = key.removeprefix("-")
    known = [found for found in hits if getattr(found.hit, name) is not None]
    missing = [found for found in hits if getattr(found.hit, name) is None]
    return [*sorted(known, key=lambda found: getattr(found.hit, name), reverse=key.startswith("-")), *missing]
