"""Re-rank: a question's list in a better order, by one of the re-rankers in ``crosslens.search.rerank``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from crosslens.search.index.index import Index
from crosslens.search.index.items import Hit
from crosslens.search.query.listing import Batch, Listing
from crosslens.search.query.question import Course
from crosslens.search.rerank import RERANKERS
from crosslens.search.rerank.base import Candidates, Rerank, Reranker
from crosslens.search.rerank.graph_cache import GraphCache

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]


class Reranking:
    """Lets a re-ranker better a list. Scores stay similarities with the query as it was asked.

    Args:
        index: which is searched.
        graphs: of its items.
    """

    def __init__(self, index: Index, graphs: GraphCache) -> None:
        self._index, self._graphs = index, graphs

    def __call__(self, name: Rerank, listing: Listing, course: Course) -> Iterator[Batch]:
        """The hits of a listing in the order that a re-ranker gives them."""
        reranker, query = RERANKERS[name], listing.question.vector
        if reranker.expands:
            batches = self._expand(reranker, listing, course)
        else:
            batches = listing.batches(query, reranker.reorders)
        return self._reorder(reranker, listing, batches, course) if reranker.reorders else batches

    def _expand(self, reranker: Reranker, listing: Listing, course: Course) -> Iterator[Batch]:
        query = listing.question.vector
        first = listing.first(reranker.expands)
        with course.stage("rerank"):
            expanded = reranker.expand(query, self._vectors(first), _scores(first)) if first else query
        batches = listing.batches(expanded, reranker.reorders)
        if expanded is query:
            yield from batches
            return
        asked = self._index.similarity.as_queries(query[None])[0]
        for hits, _ in batches:
            scores = self._vectors(hits) @ asked if hits else ()
            # They come in the order of another query, so a later one may have any score.
            yield Batch(
                [replace(hit, score=min(float(score), 1.0)) for hit, score in zip(hits, scores, strict=True)],
                np.inf,
            )

    def _reorder(
        self, reranker: Reranker, listing: Listing, batches: Iterable[Batch], course: Course
    ) -> Iterator[Batch]:
        """The first batch that holds several hits with its head in a new order; all others as they are."""
        is_done = False
        for hits, ceiling in batches:
            ordered = hits
            if not is_done and len(hits) > 1:
                is_done = True
                with course.stage("rerank"):
                    ordered = self._ordered(reranker, listing, hits)
            yield Batch(ordered, ceiling)

    def _ordered(self, reranker: Reranker, listing: Listing, hits: list[Hit]) -> list[Hit]:
        head, rest = hits[: reranker.reorders], hits[reranker.reorders :]
        question = listing.question
        has_gallery = reranker.needs_graph and question.options.where is None
        gallery = self._graphs.of([hit.id for hit in head]) if has_gallery else None
        candidates = Candidates(self._vectors(head), _scores(head), gallery)
        order = reranker.order(question.vector, candidates, self._index.similarity)
        return [head[row] for row in order] + rest

    def _vectors(self, hits: list[Hit]) -> Array:
        return self._index.store.get([hit.id for hit in hits])[1]


def _scores(hits: list[Hit]) -> Array:
    return np.array([hit.score for hit in hits], np.float32)
