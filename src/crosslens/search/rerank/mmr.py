"""Maximal marginal relevance: Carbonell and Goldstein, "The Use of MMR, Diversity-Based Reranking" (1998)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosslens.nn.similarity import Similarity
from crosslens.search.rerank.base import RERANK_TOP, Candidates, Reranker

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Rows = NDArray[np.int64]

_RELEVANCE = 0.5
"""Share of the likeness with the query; the rest goes to the difference from the hits before."""


class MaximalMarginalRelevance(Reranker):
    """Shows different ones: each next hit is like the query and unlike the hits before it."""

    name = "mmr"
    reorders = RERANK_TOP
    needs_graph = False

    def order(self, query: Array, candidates: Candidates, similarity: Similarity | None = None) -> Rows:
        """``marginal_order`` of the list, at its defaults; unlike elsewhere copies are kept apart."""
        compare = similarity or Similarity()
        alike = compare.as_queries(candidates.vectors) @ candidates.vectors.T
        return marginal_order(_spread(candidates.scores), _spread(alike))


def marginal_order(scores: Array, alike: Array, relevance: float = _RELEVANCE) -> Rows:
    """The order ``(n,)`` in which items are chosen, as positions in the list; of equal ones the first.

    Each time the item is chosen that has the largest ``l s_i - (1 - l) max_j s_ij``, over the items j chosen
    before; first of all the one with the largest score.

    Args:
        scores: of n items with the query, ``(n,)``.
        alike: of the items with each other, ``(n, n)``.
        relevance: l, in [0, 1]; 1 keeps the order of the scores.
    """
    worth, values = relevance * scores.astype(np.float64), scores.astype(np.float64)
    nearest = np.full(len(scores), -np.inf)
    order = np.empty(len(scores), np.int64)
    for place in range(len(scores)):
        chosen = order[place] = int(values.argmax())
        worth[chosen] = -np.inf
        nearest = np.maximum(nearest, alike[:, chosen])
        values = worth - (1 - relevance) * nearest
    return order


def _spread(similarities: Array) -> Array:
    """Similarities stretched over [0, 1].

    The likeness of pictures of one look lies far above that of a query of another: as they are, the difference
    would decide alone.
    """
    low, high = float(similarities.min(initial=1)), float(similarities.max(initial=-1))
    return (similarities - low) / max(high - low, 1e-12)
