"""The neighbour graph of a collection after a small change, from the graph before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosslens.nn.similarity import Similarity
from crosslens.ops.ranking import top_k_chunks
from crosslens.search.rerank.graph import NONE, Neighbours, neighbour_graph

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Rows = NDArray[np.int64]

_MOST_ANEW = 0.1
"""Share of the items beyond which a graph is made whole: looking up the rest would save little."""


def update_graph(
    before: Neighbours,
    origins: Rows,
    vectors: Array,
    similarity: Similarity | None = None,
    advance: Callable[[int], Any] | None = None,
) -> Neighbours:
    """The exact graph of ``vectors (N, d)``, up to rounding what ``neighbour_graph`` makes.

    Neighbours are looked for anew for items that are new, or had one that is gone. All others compare those they
    have with the new items alone.

    Args:
        before: graph of M items.
        origins: ``(N,)`` where each item stood among these M with the same vector; -1 for a new or changed one.
        vectors: of the N items, unit rows.
        similarity: how they are compared; the cosine by default.
        advance: called with the number of items done since the last call.
    """
    count, k = len(vectors), before.rows.shape[1]
    new, old = np.flatnonzero(origins == NONE), np.flatnonzero(origins != NONE)
    moved_to = np.full(len(before.rows) + 1, NONE, np.int64)
    moved_to[origins[old]] = old
    listed, scores_listed = before.rows[origins[old]], before.scores[origins[old]]
    # The entry behind the last one answers for positions that hold no neighbour.
    near = moved_to[listed]
    lost = ((listed != NONE) & (near == NONE)).any(1)
    anew = np.concatenate([old[lost], new])
    if len(anew) > _MOST_ANEW * count:
        return neighbour_graph(vectors, k, similarity, advance)
    rows = np.full((count, k), NONE, np.int64)
    scores = np.full((count, k), -np.inf, np.float32)
    queries = (similarity or Similarity()).as_queries(vectors)
    kept = old[~lost]
    rows[kept], scores[kept] = _with_new(near[~lost], scores_listed[~lost], new, queries[kept] @ vectors[new].T)
    width = min(k, count - 1)
    if len(anew) and width > 0:
        for chunk in top_k_chunks(queries[anew], vectors, width, exclude=anew):
            rows[anew[chunk.queries], :width] = chunk.order
            scores[anew[chunk.queries], :width] = chunk.scores
    if advance is not None:
        advance(count)
    return Neighbours(rows, scores)


def _with_new(near: Rows, scores: Array, new: Rows, new_scores: Array) -> tuple[Rows, Array]:
    """The k best ``(n, k)`` of the neighbours ``near (n, k)`` and m new items, ``new_scores (n, m)``."""
    rows = np.concatenate([near, np.broadcast_to(new, new_scores.shape)], axis=1)
    together = np.concatenate([scores, new_scores], axis=1)
    # Ties stand in the order of positions, as in the whole graph.
    order = np.lexsort((rows, -together), axis=1)[:, : near.shape[1]]
    return np.take_along_axis(rows, order, 1), np.take_along_axis(together, order, 1)
