"""Diffusion: Iscen, Tolias, Avrithis, Furon and Chum, "Efficient Diffusion on Region Manifolds" (2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosslens.nn.similarity import Similarity
from crosslens.ops.rounding import NOISE
from crosslens.search.rerank.base import RERANK_TOP, Reranker
from crosslens.search.rerank.graph import NONE, Neighbours

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]


class Diffusion(Reranker):
    """Prefers items that random walks from the query arrive at."""

    name = "diffusion"
    reorders = RERANK_TOP

    def values(
        self, asked: Array, scores: Array, vectors: Array, graph: Neighbours, similarity: Similarity
    ) -> NDArray[np.float64]:
        """What of the query arrives at each item ``(N,)``; see ``diffuse``."""
        return diffuse(scores, graph)


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
    arrived, _ = cg(system, start, rtol=tolerance, maxiter=iterations)
    return np.asarray(arrived, np.float64)
