"""Search and cut: the items that a question finds, best first, as many as somebody asks for."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crosslens.nn.similarity import reaches
from crosslens.ops.hubs import DEFAULT_GOAL, Goal
from crosslens.search.filters.conditions import Filter
from crosslens.search.index.index import Index
from crosslens.search.index.items import Hit
from crosslens.search.query.combining import Combiner, answer_in_groups
from crosslens.search.query.folding import MOST_FOLDED
from crosslens.search.query.question import Course, Question

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]


class Batch(NamedTuple):
    """The next hits of a list.

    Attributes:
        hits: best first.
        ceiling: no later hit has a higher score.
    """

    hits: list[Hit]
    ceiling: float


class Search:
    """Searches one index. Threads that ask at the same time share a pass over its vectors."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._together = Combiner(self.search_all)

    def __call__(self, question: Question, course: Course) -> Listing:
        """What a question finds, of which nothing is searched for yet."""
        return Listing(self, question, course)

    def nearest(self, vector: Array, count: int, where: Filter | None, goal: Goal = DEFAULT_GOAL) -> list[Hit]:
        """The ``count`` best items of a vector ``(d,)`` for a goal among those that match, best first."""
        return self._together((vector, count, where, goal))

    def ahead(self, listings: Sequence[Listing]) -> None:
        """Search for the first hits of several listings in one pass, so that none of them need search for them."""
        if not listings:
            return
        started = time.perf_counter()
        found = self._together.several([listing.first_asked for listing in listings])
        seconds = time.perf_counter() - started
        for listing, hits in zip(listings, found, strict=True):
            listing.take(hits, seconds)

    def search_all(self, queries: Sequence[tuple[Array, int, Filter | None, Goal]]) -> list[list[Hit]]:
        """The hits of each of several vectors ``(d,)``, with a number of hits, a filter and a goal of its own."""
        return answer_in_groups(
            [((count, where, goal), vector) for vector, count, where, goal in queries],
            lambda group, vectors: self.index.search(vectors, group[0], group[1], goal=group[2]),
        )


class Listing:
    """The hits of one question, searched for while they are asked for.

    Attributes:
        nearest: what the question's own vector found, best first; what is to be left out is still among it.
    """

    def __init__(self, search: Search, question: Question, course: Course) -> None:
        self.question, self.course, self._search = question, course, search
        self.nearest: list[Hit] = []
        self._taken: list[Hit] | None = None

    @property
    def first_asked(self) -> tuple[Array, int, Filter | None, Goal]:
        """What the first hits of the question's own vector are searched for with; see ``Search.nearest``."""
        question = self.question
        return question.vector, question.options.top + len(question.exclude), question.options.where, question.goal

    def take(self, hits: list[Hit], seconds: float) -> None:
        """Take what a search with ``first_asked`` found, and the seconds that it took."""
        self._taken, self.nearest = hits, hits
        self.course.took("search", seconds)

    def first(self, count: int) -> list[Hit]:
        """The best ``count`` hits."""
        hits = self._find(self.question.vector, count + len(self.question.exclude))
        return [hit for hit in hits if hit.id not in self.question.exclude][:count]

    def batches(self, vector: Array, least: int = 0) -> Iterator[Batch]:
        """All hits of a vector ``(d,)``, each batch about as long as all before it.

        Folding looks at no more than ``MOST_FOLDED`` of them.

        Args:
            vector: the question's own, or one to search with in its place.
            least: hits of the first batch, where there are as many.
        """
        options, seen = self.question.options, set(self.question.exclude)
        count = max(options.top, least) + len(seen)
        most = None if options.fold is None else MOST_FOLDED + len(seen)
        while True:
            nearest = self._find(vector, count)
            hits = [hit for hit in nearest if hit.id not in seen]
            seen |= {hit.id for hit in hits}
            yield Batch(hits, min((hit.score for hit in hits), default=-np.inf))
            if len(nearest) < count:
                return
            if count == most:
                self.course.note(f"folding looked at the best {MOST_FOLDED} items alone; there may be more hits")
                return
            count = count * 2 if most is None else min(count * 2, most)

    def _find(self, vector: Array, count: int) -> list[Hit]:
        if self._taken is not None and vector is self.question.vector and count == self.first_asked[1]:
            return self._taken
        with self.course.stage("search"):
            hits = self._search.nearest(vector, count, self.question.options.where, self.question.goal)
        if vector is self.question.vector:
            self.nearest = hits
        return hits


def cut(batches: Iterable[Batch], min_score: float) -> Iterator[list[Hit]]:
    """The hits of each batch whose score reaches ``min_score``, until no later one can."""
    for hits, ceiling in batches:
        yield [hit for hit in hits if reaches(hit.score, min_score)]
        if not reaches(ceiling, min_score):
            return
