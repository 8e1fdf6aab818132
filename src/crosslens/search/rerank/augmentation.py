"""Database-side augmentation: Arandjelovic and Zisserman (2012); with such weights Gordo et al. (2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosslens.nn.similarity import Similarity
from crosslens.search.rerank.base import RERANK_TOP, Reranker
from crosslens.search.rerank.graph import NONE, Neighbours

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]


class Augmentation(Reranker):
    """Compares the query with each item among its neighbours."""

    name = "dba"
    reorders = RERANK_TOP
    reach = 5

    def values(
        self, asked: Array, scores: Array, vectors: Array, graph: Neighbours, similarity: Similarity
    ) -> Array:
        """Scores ``(n,)`` of the augmented items ``(N, d)``; those of the list come first."""
        return augment(vectors, graph) @ asked


def augment(vectors: Array, graph: Neighbours, k: int = 5, alpha: float = 3.0) -> Array:
    """``normalise(x_i + sum_j max(s_ij, 0)^alpha x_j)`` over the k nearest of each item: ``(N, d)``.

    Args:
        vectors: ``(N, d)``, unit rows.
        graph: of these N items.
        k: neighbours that take part.
        alpha: 0 weighs all neighbours alike; larger values trust the nearest ones more.
    """
    near, scores = graph.rows[:, :k], graph.scores[:, :k]
    weights = np.where(near == NONE, 0, np.maximum(scores, 0) ** alpha).astype(np.float32)
    mixed = vectors.copy()
    for column in range(near.shape[1]):
        mixed += weights[:, column, None] * vectors[np.maximum(near[:, column], 0)]
    return np.asarray(mixed / np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-12), np.float32)
