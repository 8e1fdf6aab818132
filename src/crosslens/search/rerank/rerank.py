"""Re-ranking of one query's list: pure functions on a sparse graph of nearest neighbours, never N x N.

A graph lists each item's k nearest. ``restrict`` cuts it down to the few items that matter to one query, so that
every function here takes memory of the order of (list x k), whatever the size of the gallery.

- alpha query expansion: Radenovic, Tolias and Chum, "Fine-tuning CNN Image Retrieval" (2018)
- database-side augmentation: Arandjelovic and Zisserman (2012); with such weights Gordo et al. (2017)
- k-reciprocal encoding: Zhong, Zheng, Cao and Li, "Re-ranking Person Re-identification" (2017)
- diffusion: Iscen, Tolias, Avrithis, Furon and Chum, "Efficient Diffusion on Region Manifolds" (2017)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

from crosslens.nn.similarity import Similarity
from crosslens.ops.ranking import top_k_chunks
from crosslens.ops.rounding import NOISE

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    Array = NDArray[np.float32]
    Rows = NDArray[np.int64]

Rerank = Literal["aqe", "dba", "k-reciprocal", "diffusion"]
RERANKERS: tuple[Rerank, ...] = get_args(Rerank)
NONE = -1
"""Fills the places of a graph's row that hold no neighbour."""
GRAPH_NEIGHBOURS = 50
"""Neighbours an item that serve every function here at its default settings."""


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


def with_neighbours(graph: Neighbours, rows: Rows, k: int) -> Rows:
    """``rows (n,)`` first, then whatever is among the k nearest of one of them; no row twice."""
    near = graph.rows[rows, :k].ravel()
    return np.concatenate([rows, np.setdiff1d(near[near != NONE], rows)])


def restrict(graph: Neighbours, rows: Rows) -> Neighbours:
    """The graph on ``rows (n,)`` alone, renumbered; neighbours outside leave their places empty."""
    place = np.full(len(graph.rows) + 1, NONE, np.int64)
    place[rows] = np.arange(len(rows))
    inside = place[graph.rows[rows]]
    return Neighbours(inside, graph.scores[rows])


def expand_query(query: Array, vectors: Array, scores: Array, alpha: float = 3.0) -> Array:
    """``normalise(q + sum_i max(s_i, 0)^alpha x_i)``: the query among its best hits.

    Args:
        query: ``(d,)``, unit length.
        vectors: of the hits ``(n, d)``, unit rows.
        scores: of the hits ``(n,)``.
        alpha: 0 weighs all hits alike; larger values trust the first ones more.
    """
    mixed = query + (np.maximum(scores, 0) ** alpha).astype(np.float32) @ vectors
    return np.asarray(mixed / max(float(np.linalg.norm(mixed)), 1e-12), np.float32)


def augment(vectors: Array, graph: Neighbours, k: int = 5, alpha: float = 3.0) -> Array:
    """``normalise(x_i + sum_j max(s_ij, 0)^alpha x_j)`` over the k nearest of each item: ``(N, d)``.

    Args:
        vectors: ``(N, d)``, unit rows.
        graph: of these N items.
        k: neighbours that take part.
        alpha: see ``expand_query``.
    """
    near, scores = graph.rows[:, :k], graph.scores[:, :k]
    weights = np.where(near == NONE, 0, np.maximum(scores, 0) ** alpha).astype(np.float32)
    mixed = vectors.copy()
    for column in range(near.shape[1]):
        mixed += weights[:, column, None] * vectors[np.maximum(near[:, column], 0)]
    return np.asarray(mixed / np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-12), np.float32)


def k_reciprocal(
    scores: Array,
    vectors: Array,
    graph: Neighbours,
    similarity: Similarity | None = None,
    k1: int = 20,
    k2: int = 6,
    share: float = 0.3,
) -> NDArray[np.float64]:
    """Distances ``(N,)`` of N items to one query: Jaccard distance of k-reciprocal sets beside the plain one.

    ``(1 - share) d_J + share (1 - s)``. An item is among the k nearest of another when at most k - 1 others are
    nearer; the query itself takes part as one more item. R(i, k) are i's k nearest that have i among their own k
    nearest; R* adds R(j, k1/2) of each j in R(i, k1) where more than two thirds of it lie in R(i, k1). An item is
    then described by ``exp(s - 1)`` over its R*, divided by the sum, and averaged with its k2 - 1 nearest.

    Args:
        scores: of the N items with the query.
        vectors: of the N items ``(N, d)``, unit rows.
        graph: of the N items, with at least k1 neighbours each where there are as many.
        similarity: how vectors are compared; the cosine by default.
        k1: size of the reciprocal sets.
        k2: how many descriptions are averaged, an item's own with them.
        share: of the plain distance, in [0, 1].
    """
    count = len(scores)
    near = _with_query(scores, graph, k1)
    wide, half = _reciprocal(near, k1), _reciprocal(near, max(1, round(k1 / 2)))
    # Where j is in R(i, k1): how much of R(j, k1/2) lies in R(i, k1).
    common = (wide @ half.T).multiply(wide).tocsr()
    common.data = (3 * common.data > 2 * np.diff(half.indptr)[common.indices]).astype(np.float64)
    common.eliminate_zeros()
    described = (wide + common @ half).tocsr()
    described.data = np.exp(_pair_scores(described, scores, vectors, similarity or Similarity()) - 1)
    described = _shares(described)
    if k2 > 1:
        described = _shares(_lists(near[:, :k2])) @ described
    overlap = _overlap(described, described[[count]])[:count]
    return np.asarray((1 - share) * (1 - overlap / (2 - overlap)) + share * (1 - scores.astype(np.float64)))


def diffuse(
    scores: Array,
    graph: Neighbours,
    k: int = 20,
    query_neighbours: int = 10,
    alpha: float = 0.99,
    gamma: float = 3.0,
    iterations: int = 30,
    tolerance: float = 1e-6,
) -> NDArray[np.float64]:
    """How much of the query arrives at each of N items ``(N,)`` by random walks between mutual neighbours.

    ``f = (I - alpha S)^-1 y`` by conjugate gradients, with ``S = D^-1/2 A D^-1/2``, ``a_ij = max(s_ij, 0)^gamma``
    where i and j are among each other's k nearest, and y the query's own affinities to its nearest items.

    Args:
        scores: of the N items with the query.
        graph: of the N items.
        k: neighbours of an item that count.
        query_neighbours: items that the query is joined to.
        alpha: in (0, 1), how far the walks lead.
        gamma: sharpens the affinities.
        iterations: at most.
        tolerance: of the residual, relative to y.
    """
    from scipy.sparse import coo_array, diags_array, eye_array
    from scipy.sparse.linalg import cg

    count = len(scores)
    near = graph.rows[:, :k]
    there = near != NONE
    source = np.broadcast_to(np.arange(count)[:, None], near.shape)[there]
    weights = np.maximum(graph.scores[:, :k][there].astype(np.float64), 0)
    # Divided by the degrees, even a 0 that was not rounded to 0 would count in full.
    weights = np.where(weights > NOISE, weights, 0) ** gamma
    directed = coo_array((weights, (source, near[there])), shape=(count, count)).tocsr()
    # Both directions hold the same similarity up to rounding; one that is missing counts as 0.
    mutual = directed.minimum(directed.T).tocsr()
    degrees = np.asarray(mutual.sum(axis=1)).ravel()
    scale = diags_array(1 / np.sqrt(np.where(degrees > 0, degrees, 1)))
    system = eye_array(count) - alpha * (scale @ mutual @ scale)
    start = np.zeros(count)
    first = np.argsort(-scores, kind="stable")[:query_neighbours]
    start[first] = np.maximum(scores[first], 0) ** gamma
    if not start.any():
        return start
    found, _ = cg(system, start, rtol=tolerance, maxiter=iterations)
    return np.asarray(found, np.float64)


def _with_query(scores: Array, graph: Neighbours, k: int) -> Rows:
    """Lists of N items and, last, the query ``(N + 1, k + 1)``: first itself, then the k nearest of all N + 1."""
    count, width = len(scores), min(k, graph.rows.shape[1])
    near = np.full((count + 1, k + 1), NONE, np.int64)
    near[:, 0] = np.arange(count + 1)
    near[:count, 1 : width + 1] = graph.rows[:, :width]
    own = np.argsort(-scores, kind="stable")[:k]
    near[count, 1 : len(own) + 1] = own
    place = 1 + (graph.scores[:, :width] >= scores[:, None]).sum(1)
    for item in np.flatnonzero(place <= k):
        at = place[item]
        near[item, at + 1 :] = near[item, at:-1].copy()
        near[item, at] = count
    return near


def _lists(near: Rows) -> csr_array:
    """The lists ``(M, k)`` as a sparse matrix ``(M, M)`` of ones."""
    from scipy.sparse import coo_array

    there = near != NONE
    source = np.broadcast_to(np.arange(len(near))[:, None], near.shape)[there]
    shape = (len(near), len(near))
    return coo_array((np.ones(len(source)), (source, near[there])), shape=shape).tocsr()


def _reciprocal(near: Rows, k: int) -> csr_array:
    """R(i, k) of every item ``(M, M)``, itself among them."""
    lists = _lists(near[:, : k + 1])
    return lists.multiply(lists.T).tocsr()


def _pair_scores(
    pairs: csr_array, scores: Array, vectors: Array, similarity: Similarity, chunk: int = 4096
) -> NDArray[np.float64]:
    """Similarities of the pairs that a matrix ``(N + 1, N + 1)`` holds, the query last, in its order."""
    count = len(scores)
    source = np.repeat(np.arange(count + 1), np.diff(pairs.indptr))
    target = pairs.indices
    asking = similarity.as_queries(vectors)
    found = np.empty(len(target))
    for start in range(0, len(target), chunk):
        a, b = source[start : start + chunk], target[start : start + chunk]
        inner = np.einsum("nd,nd->n", asking[np.minimum(a, count - 1)], vectors[np.minimum(b, count - 1)])
        known = np.where(a == count, scores[np.minimum(b, count - 1)], scores[np.minimum(a, count - 1)])
        found[start : start + chunk] = np.where((a == count) | (b == count), known, inner)
    found[source == target] = 1
    return found


def _shares(matrix: csr_array) -> csr_array:
    """Every row divided by its sum."""
    from scipy.sparse import diags_array

    sums = np.asarray(matrix.sum(axis=1)).ravel()
    return (diags_array(1 / np.maximum(sums, 1e-300)) @ matrix).tocsr()


def _overlap(matrix: csr_array, row: csr_array) -> NDArray[np.float64]:
    """``sum_j min(m_ij, r_j)`` for every row i ``(M,)``."""
    dense = row.toarray().ravel()
    smaller = matrix.copy()
    smaller.data = np.minimum(matrix.data, dense[matrix.indices])
    return np.asarray(smaller.sum(axis=1)).ravel()
