"""Alpha query expansion: Radenovic, Tolias and Chum, "Fine-tuning CNN Image Retrieval" (2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosslens.search.rerank.base import Reranker

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

EXPANSION = 10
"""Hits that take part in an expanded query."""


class QueryExpansion(Reranker):
    """Searches anew with the query among its best hits."""

    name = "aqe"
    expands = EXPANSION

    def expand(self, query: Array, vectors: Array, scores: Array) -> Array:
        """``expand_query`` at its defaults; the query itself without hits."""
        return expand_query(query, vectors, scores) if len(vectors) else query


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
