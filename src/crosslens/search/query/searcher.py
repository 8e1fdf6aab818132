"""The way from a query to its answer, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosslens.data.catalog import Catalog
from crosslens.encoder.querying import QueryEncoder
from crosslens.images.decode import ImageSource
from crosslens.search.filters.conditions import Filter
from crosslens.search.index.index import Index
from crosslens.search.index.items import count_domains
from crosslens.search.index.kept_queries import SAMPLE
from crosslens.search.query.bound_options import bind_options
from crosslens.search.query.choose_goal import choose_goal
from crosslens.search.query.domain_detection import DomainDetector
from crosslens.search.query.embedding import QueryEmbedding
from crosslens.search.query.feedback import move_query
from crosslens.search.query.folding import Folding, keep_all
from crosslens.search.query.listing import Listing, Search, cut
from crosslens.search.query.match_estimator import MatchEstimator
from crosslens.search.query.paging import sort_hits, take_page
from crosslens.search.query.query import Answer, EmbeddedImage, FoldedHit, QueryPart, SearchOptions
from crosslens.search.query.question import Course, Question
from crosslens.search.query.reranking import Reranking
from crosslens.search.query.resolve_domain import resolve_domain
from crosslens.search.query.search_request import SearchRequest
from crosslens.search.rerank.graph_cache import GRAPH_LIMIT, GraphCache
from crosslens.support.errors import StoreError, unless_error
from crosslens.support.near_names import did_you_mean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

_SHOWN = 10
"""Names of domains that a sentence lists."""


class Searcher:
    """Answers queries on one index; the command line and the server both use it.

    What is learned of an index (calibration, neighbour graph) is kept for its present version and made anew, when
    it is needed, for the next. Several threads may ask at once.

    Args:
        index: to search in.
        unlabelled: images like the queries that probabilities of a match are calibrated on; by default those that
            the index keeps. See ``MatchEstimator``.
        unlabelled_domain: of these images where they name none of the encoder's.
        device: where to embed; None chooses.
        sample: items that a calibration looks at.
        graph_limit: items up to which re-ranking uses a graph of the whole index, which is then held in memory
            with all vectors; beyond it, and under a filter, the graph of the query's list alone.
    """

    def __init__(
        self,
        index: Index,
        *,
        unlabelled: Catalog | str | Path | None = None,
        unlabelled_domain: str | None = None,
        device: str | None = None,
        sample: int = SAMPLE,
        graph_limit: int = GRAPH_LIMIT,
    ) -> None:
        self.index = index
        self.detector = DomainDetector(index)
        self.graphs = GraphCache(index, graph_limit)
        self.match_estimator = MatchEstimator(index, unlabelled, unlabelled_domain, sample=sample, device=device)
        self.search = Search(index)
        self._embedding = QueryEmbedding(index, self.detector, self.match_estimator.has_queries, device)
        self._rerank = Reranking(index, self.graphs)
        self._fold = Folding(index)

    def __repr__(self) -> str:
        return f"<Searcher on {self.index!r}>"

    def _repr_html_(self) -> str:
        return self.index._repr_html_()

    @property
    def encoder(self) -> QueryEncoder:
        """The index's encoder, loaded once."""
        return self._embedding.encoder

    @property
    def calibrated(self) -> bool:
        """Whether probabilities of a match are ready for the index as it is now; answers then have them."""
        return self.match_estimator.ready

    def embed(
        self, images: Sequence[ImageSource], domains: Sequence[str | None] | str | None = None
    ) -> list[EmbeddedImage]:
        """Query pictures through the network, those of one domain in one batch.

        Args:
            images: of any number of queries.
            domains: of all, or one each: a name, ``auto`` to detect it, or None where it is unknown.

        Raises:
            ConfigError: for another number of domains, or a name that is none.
            ImageError: naming the first picture that cannot be decoded.
        """
        return self._embedding.images(images, domains)

    def embed_texts(self, texts: Sequence[str]) -> Array:
        """Words to unit vectors ``(T, d)``.

        Raises:
            ConfigError: for a text that is empty or too long, or in which the encoder knows no word.
            BackboneError: where the encoder knows no text.
        """
        return self._embedding.texts(texts)

    def answer(
        self, parts: Sequence[QueryPart], options: SearchOptions | None = None, domain: str | None = None
    ) -> Answer:
        """Answer a query.

        Args:
            parts: what it is made of: the weighted sum of their unit vectors is looked for.
            options: how to answer.
            domain: of its pictures: a name, ``auto`` to detect it, or None. Embedded pictures keep their own.

        Raises:
            ConfigError: without parts, for weights that cancel, or options that do not fit the index's columns.
            ImageError: naming a picture that cannot be decoded.
            BackboneError: for text where the encoder knows none.
            UnknownItemError: for an unknown id.
            StoreError: for a vector of the wrong length.
        """
        return self.answer_request(
            SearchRequest(parts=tuple(parts), options=options or SearchOptions(), domain=domain)
        )

    def answer_request(self, asked: SearchRequest) -> Answer:
        """Answer a query that stands as one value; see ``answer``."""
        return unless_error(self.answer_all([asked])[0])

    def answer_all(self, asked: Sequence[SearchRequest]) -> list[Answer | Exception]:
        """Answer several queries, which share their passes over the vectors.

        Returns:
            For each its answer, or what ``answer`` raises for it.
        """
        return self._on_one_version([self._embed(one) for one in asked])

    def answer_vector(
        self,
        vector: Array,
        options: SearchOptions | None = None,
        *,
        exclude: Sequence[str] = (),
        features: Array | None = None,
        domain: str | None = None,
    ) -> Answer:
        """Answer a query that is embedded already.

        Args:
            vector: ``(d,)``, unit length.
            options: how to answer.
            exclude: ids that are not to be found.
            features: of the frozen backbone ``(n, D)``, of the pictures that the query is made of alone.
            domain: goes into the answer.

        Raises:
            StoreError: for a vector of the wrong length.
        """
        asked, course = self._embedding.checked_vector(vector), Course()
        bound = bind_options(options or SearchOptions(), self.index.columns)
        question = Question(asked, bound, frozenset(exclude), features, domain)
        return unless_error(self._on_one_version([_Way(course, lambda: question)])[0])

    def _embed(self, asked: SearchRequest) -> _Way:
        course = Course()
        try:
            bound = bind_options(asked.options, self.index.columns)
            domain, notes = resolve_domain(asked.domain, self.encoder.domains, self.index)
            course.notes += notes
            embedded = self._embedding.embed(asked.parts, domain, course)
        except Exception as error:
            return _Way(course, ended=error)
        return _Way(course, lambda: self._embedding.mix(asked.parts, embedded, bound, course))

    def _on_one_version(self, ways: Sequence[_Way]) -> list[Answer | Exception]:
        """Answers, made once more where the index changed meanwhile and lost what had been found."""
        version = self.index.version
        ended = self._answer([replace(way) for way in ways])
        if self.index.version != version:
            lost = [row for row, one in enumerate(ended) if isinstance(one, StoreError)]
            for row, one in zip(lost, self._answer([ways[row] for row in lost]), strict=True):
                ended[row] = one
        return ended

    def _answer(self, ways: Sequence[_Way]) -> list[Answer | Exception]:
        """Move, match, search, re-rank, cut, fold, page and sort; what the options do not ask for is left out.

        The queries go side by side, and what a step of theirs looks for in all vectors is looked for at once.
        """
        _each(ways, self._begin)
        begun = [way.listing for way in ways if way.ended is None]
        with suppress(Exception):
            # What fails for all fails again below for the one whose it is.
            self.search.ahead([listing for listing in begun if listing.question.options.rerank is None])
        _each(ways, self._find)
        matching = [way for way in ways if way.ended is None and self._is_to_match(way)]
        with suppress(Exception):
            asked = [(way.listing.question, way.course, way.listing.nearest) for way in matching]
            for way, probability in zip(matching, self.match_estimator.several(asked), strict=True):
                way.probability = probability
        _each(ways, self._finish)
        return [way.ended for way in ways if way.ended is not None]

    def _begin(self, way: _Way) -> None:
        assert way.put is not None
        course, match = way.course, self.match_estimator
        question = choose_goal(move_query(way.put(), self.index, course), self.index, course)
        least = question.options.min_match
        if least is not None:
            way.probability = match(question, course)
            if way.probability < least:
                way.end((), question.domain, match.is_rough(question), no_match=True)
        way.listing = self.search(question, course)

    def _find(self, way: _Way) -> None:
        listing, options = way.listing, way.listing.question.options
        if options.rerank is None:
            batches = listing.batches(listing.question.vector)
        else:
            batches = self._rerank(options.rerank, listing, way.course)
        best = cut(batches, options.min_score)
        folded = keep_all(best) if options.fold is None else self._fold(best, options.fold, way.course)
        way.page = take_page(folded, options.top)

    def _is_to_match(self, way: _Way) -> bool:
        return way.probability is None and self.match_estimator.is_ready(way.listing.question)

    def _finish(self, way: _Way) -> None:
        question, match = way.listing.question, self.match_estimator
        if self._is_to_match(way):
            way.probability = match(question, way.course, way.listing.nearest)
        with way.course.stage("sort"):
            hits = tuple(sort_hits(way.page, question.options.sort))
        if not hits and question.options.where is not None:
            way.course.notes += self._without_match(question.options.where)
        way.end(hits, question.domain, way.probability is not None and match.is_rough(question))

    def _without_match(self, where: Filter) -> tuple[str, ...]:
        """What to say of a filter that no item matches; nothing of one that some match."""
        if self.index.count(where):
            return ()
        domains = list(count_domains(self.index.store))
        asked = [name for name in _domains_in(where.model_dump()) if name not in domains]
        near = "".join(dict.fromkeys(did_you_mean(name, domains) for name in asked))
        known = ", ".join(domains[:_SHOWN]) + (", ..." if len(domains) > _SHOWN else "")
        return (f"none of the {len(self.index)} items matches the filter; the domains are {known}{near}",)


@dataclass
class _Way:
    """One query on its way to the answer.

    Attributes:
        course: what is noted.
        put: gives the question, of the index as it is then; None where the way has ended before it.
        ended: the answer, or why there is none.
        listing: what the question finds.
        page: the hits that are shown, best first.
        probability: of a match, where it was asked for.
    """

    course: Course
    put: Callable[[], Question] | None = None
    ended: Answer | Exception | None = None
    listing: Listing = field(init=False)
    page: list[FoldedHit] = field(init=False)
    probability: float | None = None

    def end(self, hits: tuple[FoldedHit, ...], domain: str | None, rough: bool, no_match: bool = False) -> None:
        """The answer is there."""
        notes, seconds = tuple(self.course.notes), self.course.seconds
        self.ended = Answer(hits, self.probability, no_match, domain, seconds, notes, rough)


def _each(ways: Sequence[_Way], step: Callable[[_Way], None]) -> None:
    """Take a step of every way that has not ended; one that raises ends its own way alone."""
    for way in ways:
        if way.ended is None:
            try:
                step(way)
            except Exception as error:
                way.ended = error


def _domains_in(where: Any) -> list[str]:
    """The names that a filter, as plain values, compares domains with."""
    if isinstance(where, dict):
        if where.get("field") == "domain":
            return [name for name in (where.get("value"), *where.get("values", ())) if isinstance(name, str)]
        where = list(where.values())
    return [name for part in where for name in _domains_in(part)] if isinstance(where, list | tuple) else []
