"""Which re-ranker does what to one query's list, with the graph of the whole gallery or of the list alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from crosslens.nn.similarity import Similarity
from crosslens.search.rerank.rerank import (
    GRAPH_NEIGHBOURS,
    RERANKERS,
    Neighbours,
    augment,
    diffuse,
    k_reciprocal,
    neighbour_graph,
    restrict,
    with_neighbours,
)
from crosslens.support.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Rows = NDArray[np.int64]

RERANK_TOP = 200
"""Length of the list that is put in a new order."""
EXPANSION = 10
"""Hits that take part in an expanded query."""
_REACH = {"dba": 5, "k-reciprocal": 20, "diffusion": 0}


class Gallery(NamedTuple):
    """All vectors ``(N, d)`` of an index with their graph, and where the list's items stand in it ``(n,)``."""

    places: Rows
    vectors: Array
    graph: Neighbours


class Candidates(NamedTuple):
    """A query's list: vectors ``(n, d)`` and scores ``(n,)``, best first; ``gallery`` where the graph is known."""

    vectors: Array
    scores: Array
    gallery: Gallery | tuple[Rows, Array, Neighbours] | None = None


def rerank(method: str, query: Array, candidates: Candidates, similarity: Similarity | None = None) -> Rows:
    """The new order ``(n,)`` of a list, as positions in it; equal ones keep their order, and copies stay together.

    Args:
        method: ``dba``, ``k-reciprocal`` or ``diffusion``. Alpha query expansion asks the index anew instead of
            changing the order of a list; see ``rerank.expand_query``.
        query: ``(d,)``, unit length.
        candidates: the list.
        similarity: how vectors are compared; the cosine by default.

    Raises:
        ConfigError: for another method.
    """
    if method not in _REACH:
        raise ConfigError(f"there is no re-ranker {method!r}; known: {', '.join(RERANKERS)}")
    compare = similarity or Similarity()
    count = len(candidates.scores)
    asking = compare.as_queries(query[None])[0]
    if candidates.gallery is None:
        vectors, scores = candidates.vectors, candidates.scores
        graph = neighbour_graph(vectors, GRAPH_NEIGHBOURS, compare)
    else:
        places, everything, whole = candidates.gallery
        rows = with_neighbours(whole, places, _REACH[method]) if _REACH[method] else places
        vectors, graph = everything[rows], restrict(whole, rows)
        scores = np.concatenate([candidates.scores, vectors[count:] @ asking])
    if method == "dba":
        better = augment(vectors, graph)[:count] @ asking
    elif method == "k-reciprocal":
        better = -k_reciprocal(scores, vectors, graph, compare)[:count]
    else:
        better = diffuse(scores, graph)[:count]
    return np.argsort(-_alike(better, candidates.vectors), kind="stable")


def _alike(better: NDArray[np.floating[Any]], vectors: Array) -> NDArray[np.floating[Any]]:
    """Values ``(n,)`` of which copies, equal rows of ``vectors (n, d)``, have the best of theirs.

    Sums are rounded differently from row to row, and of many copies not all are among each other's neighbours.
    """
    _, copies = np.unique(vectors, axis=0, return_inverse=True)
    best = np.full(copies.max(initial=-1) + 1, -np.inf)
    np.maximum.at(best, copies.ravel(), better)
    return best[copies.ravel()]
