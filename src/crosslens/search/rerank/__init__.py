"""Re-rankers, one file each, and the neighbour graphs that they stand on."""

from __future__ import annotations

from crosslens.search.rerank.augmentation import Augmentation
from crosslens.search.rerank.base import Rerank, Reranker
from crosslens.search.rerank.diffusion import Diffusion
from crosslens.search.rerank.k_reciprocal import KReciprocal
from crosslens.search.rerank.mmr import MaximalMarginalRelevance
from crosslens.search.rerank.query_expansion import QueryExpansion

RERANKERS: dict[Rerank, Reranker] = {
    reranker.name: reranker
    for reranker in (QueryExpansion(), Augmentation(), KReciprocal(), Diffusion(), MaximalMarginalRelevance())
}
"""All re-rankers by name."""
