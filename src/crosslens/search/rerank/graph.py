"""The sparse graph of each item's k nearest others; it takes memory of the order of N x k, never N x N."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from crosslens.nn.similarity import Similarity
from crosslens.ops.ranking import top_k_chunks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Rows = NDArray[np.int64]

NONE = -1
"""Fills the positions of a graph's row that hold no neighbour."""
GRAPH_NEIGHBOURS = 50
"""Neighbours an item that serve every re-ranker at its default settings."""


class Neighbours(NamedTuple):
    """The nearest neighbours of N items among themselves, best first, never an item itself.

    Attributes:
        rows: ``(N, k)`` positions; -1 where there is none.
        scores: ``(N, k)`` similarities; ``-inf`` where there is none. A neighbour that ``restrict`` left out has
            the position -1 and keeps its score, since it still has its rank.
    """

    rows: Rows
    scores: Array


def neighbour_graph(
    vectors: Array,
    k: int = GRAPH_NEIGHBOURS,
    similarity: Similarity | None = None,
    advance: Callable[[int], Any] | None = None,
) -> Neighbours:
    """The exact graph of ``vectors (N, d)``, unit rows, in chunks of bounded memory.

    Args:
        vectors: of the items.
        k: neighbours of each; at most N - 1 are found.
        similarity: how they are compared; the cosine by default.
        advance: called with the number of items done since the last call.
    """
    count = len(vectors)
    rows = np.full((count, k), NONE, np.int64)
    scores = np.full((count, k), -np.inf, np.float32)
    queries = (similarity or Similarity()).as_queries(vectors)
    width = min(k, count - 1)
    if width > 0:
        for chunk in top_k_chunks(queries, vectors, width, exclude=np.arange(count)):
            rows[chunk.queries, :width] = chunk.order
            scores[chunk.queries, :width] = chunk.scores
            if advance is not None:
                advance(len(chunk.order))
    return Neighbours(rows, scores)


def add_neighbours(graph: Neighbours, rows: Rows, k: int) -> Rows:
    """``rows (n,)`` first, then whatever is among the k nearest of one of them; no row twice."""
    near = graph.rows[rows, :k].ravel()
    return np.concatenate([rows, np.setdiff1d(near[near != NONE], rows)])


def restrict(graph: Neighbours, rows: Rows) -> Neighbours:
    """The graph on ``rows (n,)`` alone, renumbered; neighbours outside leave their positions empty."""
    renumbered = np.full(len(graph.rows) + 1, NONE, np.int64)
    renumbered[rows] = np.arange(len(rows))
    inside = renumbered[graph.rows[rows]]
    return Neighbours(inside, graph.scores[rows])
