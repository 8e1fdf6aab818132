"""k-reciprocal encoding: Zhong, Zheng, Cao and Li, "Re-ranking Person Re-identification" (2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosslens.nn.similarity import Similarity
from crosslens.search.rerank.base import RERANK_TOP, Reranker
from crosslens.search.rerank.graph import NONE, Neighbours

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    Array = NDArray[np.float32]
    Rows = NDArray[np.int64]


class KReciprocal(Reranker):
    """Prefers items that have the query and its neighbours among their own neighbours."""

    name = "k-reciprocal"
    reorders = RERANK_TOP
    reach = 20

    def values(
        self, asked: Array, scores: Array, vectors: Array, graph: Neighbours, similarity: Similarity
    ) -> NDArray[np.float64]:
        """Distances of ``k_reciprocal`` with their sign turned ``(N,)``."""
        return -k_reciprocal(scores, vectors, graph, similarity)


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


def _with_query(scores: Array, graph: Neighbours, k: int) -> Rows:
    """Lists of N items and, last, the query ``(N + 1, k + 1)``: first itself, then the k nearest of all N + 1."""
    count, width = len(scores), min(k, graph.rows.shape[1])
    near = np.full((count + 1, k + 1), NONE, np.int64)
    near[:, 0] = np.arange(count + 1)
    near[:count, 1 : width + 1] = graph.rows[:, :width]
    of_query = np.argsort(-scores, kind="stable")[:k]
    near[count, 1 : len(of_query) + 1] = of_query
    rank = 1 + (graph.scores[:, :width] >= scores[:, None]).sum(1)
    for item in np.flatnonzero(rank <= k):
        at = rank[item]
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
    values = np.empty(len(target))
    for start in range(0, len(target), chunk):
        a, b = source[start : start + chunk], target[start : start + chunk]
        inner = np.einsum("nd,nd->n", asking[np.minimum(a, count - 1)], vectors[np.minimum(b, count - 1)])
        of_query = np.where(a == count, scores[np.minimum(b, count - 1)], scores[np.minimum(a, count - 1)])
        values[start : start + chunk] = np.where((a == count) | (b == count), of_query, inner)
    values[source == target] = 1
    return values


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
