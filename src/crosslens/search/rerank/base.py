"""What a re-ranker is: one way to better the answer to a query by the hits that were found first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np

from crosslens.nn.similarity import Similarity
from crosslens.search.rerank.graph import (
    GRAPH_NEIGHBOURS,
    Neighbours,
    add_neighbours,
    neighbour_graph,
    restrict,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Rows = NDArray[np.int64]

Rerank = Literal["aqe", "dba", "k-reciprocal", "diffusion", "mmr"]
RERANK_TOP = 200
"""Length of the list that is put in a new order."""


class Gallery(NamedTuple):
    """All vectors ``(N, d)`` of an index with their graph, and the list's positions in it ``(n,)``."""

    positions: Rows
    vectors: Array
    graph: Neighbours


class Candidates(NamedTuple):
    """A query's list: vectors ``(n, d)`` and scores ``(n,)``, best first; ``gallery`` where the graph is known."""

    vectors: Array
    scores: Array
    gallery: Gallery | None = None


class Reranker:
    """Gives a better query to search with, a better order of the first hits, or both; holds nothing of its own.

    A new one is a file in this folder, a name in ``Rerank`` and an entry in ``RERANKERS``.

    Attributes:
        expands: best hits that ``expand`` is shown; 0 leaves the query as it is.
        reorders: best hits that ``order`` is shown; 0 leaves them as they are.
        reach: neighbours of each of them that take part as well, where the graph of the whole index is known.
        needs_graph: whether ``order`` looks at neighbours; without them no graph is made.
    """

    name: ClassVar[Rerank]
    expands: ClassVar[int] = 0
    reorders: ClassVar[int] = 0
    reach: ClassVar[int] = 0
    needs_graph: ClassVar[bool] = True

    def expand(self, query: Array, vectors: Array, scores: Array) -> Array:
        """The query ``(d,)`` to search with instead.

        Args:
            query: ``(d,)``, unit length.
            vectors: of its best hits ``(n, d)``, unit rows.
            scores: of these hits ``(n,)``.
        """
        return query

    def values(
        self, asked: Array, scores: Array, vectors: Array, graph: Neighbours, similarity: Similarity
    ) -> NDArray[np.floating[Any]]:
        """What the new order follows, the highest first.

        Args:
            asked: the query ``(d,)`` in the form in which it is compared; see ``Similarity.as_queries``.
            scores: of N items with the query ``(N,)``.
            vectors: of the items ``(N, d)``, unit rows.
            graph: of the items.
            similarity: how vectors are compared.
        """
        return scores

    def order(self, query: Array, candidates: Candidates, similarity: Similarity | None = None) -> Rows:
        """The new order ``(n,)`` of a list, as positions in it; equal hits keep theirs, and copies stay together.

        Args:
            query: ``(d,)``, unit length.
            candidates: the list.
            similarity: how vectors are compared; the cosine by default.
        """
        compare = similarity or Similarity()
        count = len(candidates.scores)
        asked = compare.as_queries(query[None])[0]
        if candidates.gallery is None:
            vectors, scores = candidates.vectors, candidates.scores
            graph = neighbour_graph(vectors, GRAPH_NEIGHBOURS, compare)
        else:
            positions, everything, whole = candidates.gallery
            rows = add_neighbours(whole, positions, self.reach) if self.reach else positions
            vectors, graph = everything[rows], restrict(whole, rows)
            scores = np.concatenate([candidates.scores, vectors[count:] @ asked])
        values = self.values(asked, scores, vectors, graph, compare)[:count]
        return np.argsort(-_best_of_copies(values, candidates.vectors), kind="stable")


def _best_of_copies(values: NDArray[np.floating[Any]], vectors: Array) -> NDArray[np.floating[Any]]:
    """Values ``(n,)`` of which copies, equal rows of ``vectors (n, d)``, have the best of theirs.

    Sums are rounded differently from row to row, and of many copies not all are among each other's neighbours.
    """
    _, copies = np.unique(vectors, axis=0, return_inverse=True)
    best = np.full(copies.max(initial=-1) + 1, -np.inf)
    np.maximum.at(best, copies.ravel(), values)
    return best[copies.ravel()]
