"""The way from a query to its answer: embed, detect the domain, mix, match, search, re-rank, fold, sort."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from crosslens.backbones.reading import unread
from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder, ImageSource
from crosslens.nn.similarity import reaches
from crosslens.search.filters.conditions import Filter
from crosslens.search.index.index import Index
from crosslens.search.index.items import Hit
from crosslens.search.query.combining import Combiner
from crosslens.search.query.domain_detection import DomainDetector
from crosslens.search.query.folding import LISTED, LOOKED, Folding, sort_hits
from crosslens.search.query.matching import SAMPLE, Matching
from crosslens.search.query.query import (
    AUTO,
    MOST_LETTERS,
    Answer,
    EmbeddedImage,
    FoundHit,
    QueryPart,
    SearchOptions,
    mix,
)
from crosslens.search.query.told_domain import told_domain
from crosslens.search.rerank.graph_cache import GRAPH_LIMIT, GraphCache
from crosslens.search.rerank.rerank import expand_query
from crosslens.search.rerank.reranking import EXPANSION, RERANK_TOP, Candidates, rerank
from crosslens.support.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]


@dataclass
class _Course:
    """What is noted while one query is answered.

    Attributes:
        seconds: by stage.
        nearest: what its own vector found, best first.
        notes: for the answer.
    """

    seconds: dict[str, float]
    nearest: list[Hit] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, sentence: str) -> None:
        """Keep a sentence for the answer, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)


class Searcher:
    """Answers queries on one index; the command line and the server both use it.

    What is learned of an index (calibration, neighbour graph) is kept for its present version and made anew, when
    it is needed, for the next. Several threads may ask at once.

    Args:
        index: to search in.
        unlabelled: images like the queries that probabilities of a match are calibrated on; see ``Matching``.
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
        self.device = device
        self.matching = Matching(index, unlabelled, unlabelled_domain, sample=sample, device=device)
        self.graphs = GraphCache(index, graph_limit)
        self.detector = DomainDetector(index)
        # The tokenizers of text towers keep settings of the last call, so one text is read at a time.
        self._reading = Lock()
        self._loading = Lock()
        self._searching = Combiner(self._search_all)

    @property
    def encoder(self) -> Encoder:
        """The index's encoder, loaded once."""
        with self._loading:
            return self.index.encoder

    @property
    def calibrated(self) -> bool:
        """Whether probabilities of a match are ready for the index as it is now; answers then have them."""
        return self.matching.ready

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
        encoder = self.encoder
        names = [domains] * len(images) if domains is None or isinstance(domains, str) else list(domains)
        if len(names) != len(images):
            raise ConfigError(f"{len(images)} pictures need {len(images)} domains, not {len(names)}")
        names = [told_domain(name, encoder.domains)[0] for name in names]
        if not images:
            return []
        plain: Array | None = None
        if not encoder.embeds_by_domain or AUTO in names or self.matching.unlabelled is not None:
            plain = encoder.image_features(images, frozen=True, device=self.device)
            detected = self.detector(plain) if AUTO in names else names
            names = [found if name == AUTO else name for name, found in zip(names, detected, strict=True)]
        vectors = np.empty((len(images), encoder.dim), np.float32)
        for name in dict.fromkeys(names):
            rows = [row for row, own in enumerate(names) if own == name]
            if not encoder.embeds_by_domain and plain is not None:
                features = plain[rows]
            else:
                features = encoder.image_features([images[row] for row in rows], name, device=self.device)
            vectors[rows] = encoder.encode_features(features, name)
        return [
            EmbeddedImage(vectors[row], name, None if plain is None else plain[row])
            for row, name in enumerate(names)
        ]

    def embed_texts(self, texts: Sequence[str]) -> Array:
        """Words to unit vectors ``(T, d)``.

        Raises:
            ConfigError: for a text that is empty or too long, or in which the encoder knows no word.
            BackboneError: where the encoder knows no text.
        """
        for text in texts:
            if not text.strip():
                raise ConfigError("a text to search for is empty")
            if len(text) > MOST_LETTERS:
                raise ConfigError(f"a text to search for has {len(text):,} letters, more than {MOST_LETTERS:,}")
        with self._reading:
            return self.encoder.encode_texts(list(texts))

    def text_notes(self, texts: Sequence[str]) -> tuple[str, ...]:
        """What the encoder leaves unread of texts that it encodes, one sentence each."""
        with self._reading:
            return tuple(dict.fromkeys(note for text in texts for note in unread(self.encoder.backbone, text)))

    def answer(
        self, parts: Sequence[QueryPart], options: SearchOptions | None = None, domain: str | None = None
    ) -> Answer:
        """Answer a query.

        Args:
            parts: what it is made of: the weighted sum of their unit vectors is looked for.
            options: how to answer.
            domain: of its pictures: a name, ``auto`` to detect it, or None. Embedded pictures keep their own.

        Raises:
            ConfigError: without parts, or for weights that cancel.
            ImageError: naming a picture that cannot be decoded.
            BackboneError: for text where the encoder knows none.
            StoreError: for an unknown id or a vector of the wrong length.
        """
        options = options or SearchOptions()
        seconds: dict[str, float] = {}
        domain, notes = told_domain(domain, self.encoder.domains, self.index)
        with _stage(seconds, "embed"):
            pictures = self._pictures(parts, domain)
            rows = {n: picture.vector for n, picture in pictures.items()}
            texts = [n for n, part in enumerate(parts) if part.kind == "text"]
            if texts:
                words = [str(parts[n].value) for n in texts]
                rows |= dict(zip(texts, self.embed_texts(words), strict=True))
                notes += self.text_notes(words)
            liked = self.index.ids_of([str(part.value) for part in parts if part.kind == "like"])
            if liked:
                places = [n for n, part in enumerate(parts) if part.kind == "like"]
                rows |= dict(zip(places, self.index.store.get(liked)[1], strict=True))
            rows |= {n: self._checked(part.value) for n, part in enumerate(parts) if part.kind == "vector"}
            ordered = np.array([rows[n] for n in range(len(parts))], np.float32)
            vector = mix(ordered, [part.weight for part in parts], self.index.similarity)
        domains = {picture.domain for picture in pictures.values()}
        features = [p.features for n, p in pictures.items() if p.features is not None and parts[n].weight > 0]
        plain = len(features) == len(parts)
        answer = self.answer_vector(
            vector,
            options,
            exclude=[] if options.include_self else liked,
            features=np.stack(features) if plain else None,
            domain=domains.pop() if len(domains) == 1 else None,
            seconds=seconds,
        )
        if domain == AUTO and pictures:
            notes += self.detector.notes()
        return replace(answer, notes=(*notes, *answer.notes))

    def answer_vector(
        self,
        vector: Array,
        options: SearchOptions | None = None,
        *,
        exclude: Sequence[str] = (),
        features: Array | None = None,
        domain: str | None = None,
        seconds: dict[str, float] | None = None,
    ) -> Answer:
        """Answer a query that is embedded already.

        Args:
            vector: ``(d,)``, unit length.
            options: how to answer.
            exclude: ids that are not to be found.
            features: of the frozen backbone ``(n, D)``, of the pictures that the query is made of alone.
            domain: goes into the answer.
            seconds: stages before this one, which go into the answer too.

        Raises:
            StoreError: for a vector of the wrong length.
        """
        options = options or SearchOptions()
        seconds = {} if seconds is None else seconds
        vector = self._checked(vector)
        course = _Course(seconds)
        probability = None
        if options.min_match is not None:
            with _stage(seconds, "match"):
                probability = self.matching.probability(vector, features, where=options.where, exclude=exclude)
            if probability < options.min_match:
                return Answer((), probability, True, domain, seconds)
        version = self.index.version
        try:
            hits = self._listed(vector, options, set(exclude), course)
        except StoreError:
            if self.index.version == version:
                raise
            # A hit was deleted between finding it and reading its vector.
            hits = self._listed(vector, options, set(exclude), course)
        if probability is None and self.calibrated:
            with _stage(seconds, "match"):
                probability = self.matching.probability(
                    vector, features, course.nearest, where=options.where, exclude=exclude
                )
        with _stage(seconds, "sort"):
            ordered = tuple(sort_hits(hits, options.sort))
        return Answer(ordered, probability, False, domain, seconds, tuple(course.notes))

    def _pictures(self, parts: Sequence[QueryPart], domain: str | None) -> dict[int, EmbeddedImage]:
        """The embedded pictures by their place among the parts."""
        made = {n: p.value for n, p in enumerate(parts) if isinstance(p.value, EmbeddedImage)}
        fresh = [n for n, part in enumerate(parts) if part.kind == "image" and n not in made]
        embedded = self.embed([_image(parts[n]) for n in fresh], domain)
        return made | dict(zip(fresh, embedded, strict=True))

    def _listed(self, vector: Array, options: SearchOptions, exclude: set[str], course: _Course) -> list[FoundHit]:
        """The best ``top`` hits, best first, with what is folded under them."""
        folding = None if options.fold is None else Folding(options.fold, self.index.similarity)
        kept: list[FoundHit] = []
        count = options.top + len(exclude)
        batches = self._batches(vector, options, count, exclude, course)
        for hits in batches:
            if folding is None:
                kept += [FoundHit(hit) for hit in hits]
            elif hits:
                with _stage(course.seconds, "fold"):
                    vectors = self.index.store.get([hit.id for hit in hits])[1]
                    for hit, place in zip(hits, folding.add(vectors), strict=True):
                        if place == len(kept):
                            kept.append(FoundHit(hit))
                        elif len(kept[place].duplicates) == LISTED:
                            course.note(f"at most {LISTED} near-duplicates are listed under a hit; there are more")
                        else:
                            kept[place] = replace(kept[place], duplicates=(*kept[place].duplicates, hit.id))
            if len(kept) >= options.top:
                break
        return kept[: options.top]

    def _batches(
        self,
        vector: Array,
        options: SearchOptions,
        count: int,
        exclude: set[str],
        course: _Course,
    ) -> Iterator[list[Hit]]:
        """Hits in their final order, more and more of them until none is left or they fall below the cut."""
        asked, seen = vector, set(exclude)
        most = None if options.fold is None else LOOKED + len(exclude)
        reranking = options.rerank is not None
        if options.rerank == "aqe":
            first = self._found(vector, max(EXPANSION + len(exclude), 1), options, course)
            course.nearest = first
            with _stage(course.seconds, "rerank"):
                asked = self._expanded(vector, [hit for hit in first if hit.id not in exclude][:EXPANSION])
        elif reranking:
            count = max(count, RERANK_TOP + len(exclude))
        while True:
            found = self._found(asked, count, options, course)
            if asked is vector:
                course.nearest = found
            hits = [hit for hit in found if hit.id not in seen]
            seen |= {hit.id for hit in hits}
            if asked is not vector and hits:
                hits = self._rescored(vector, hits)
            if reranking and options.rerank != "aqe" and len(hits) > 1:
                with _stage(course.seconds, "rerank"):
                    hits = self._reranked(str(options.rerank), vector, hits, options)
                reranking = False
            last = min((hit.score for hit in hits), default=-np.inf)
            yield [hit for hit in hits if reaches(hit.score, options.min_score)]
            # An expanded query does not list hits by their similarity with the query itself.
            if len(found) < count or (not reaches(last, options.min_score) and asked is vector):
                return
            if count == most:
                course.note(f"folding looked at the best {LOOKED} items alone; there may be more hits")
                return
            count = count * 2 if most is None else min(count * 2, most)

    def _found(self, vector: Array, count: int, options: SearchOptions, course: _Course) -> list[Hit]:
        with _stage(course.seconds, "search"):
            return self._searching((vector, count, options.where))

    def _search_all(self, asked: Sequence[tuple[Array, int, Filter | None]]) -> list[list[Hit]]:
        """Vectors ``(d,)``, how many hits and a filter each; those alike in both in one search."""
        found: list[list[Hit]] = [[] for _ in asked]
        for count, where in dict.fromkeys((count, where) for _, count, where in asked):
            places = [place for place, (_, *rest) in enumerate(asked) if rest == [count, where]]
            vectors = np.stack([asked[place][0] for place in places])
            for place, hits in zip(places, self.index.search(vectors, count, where), strict=True):
                found[place] = hits
        return found

    def _expanded(self, vector: Array, hits: list[Hit]) -> Array:
        if not hits:
            return vector
        vectors = self.index.store.get([hit.id for hit in hits])[1]
        return expand_query(vector, vectors, np.array([hit.score for hit in hits], np.float32))

    def _rescored(self, vector: Array, hits: list[Hit]) -> list[Hit]:
        """The same hits with their similarity to the query as it was before it was expanded."""
        vectors = self.index.store.get([hit.id for hit in hits])[1]
        scores = vectors @ self.index.similarity.as_queries(vector[None])[0]
        return [replace(hit, score=min(float(score), 1.0)) for hit, score in zip(hits, scores, strict=True)]

    def _reranked(self, method: str, vector: Array, hits: list[Hit], options: SearchOptions) -> list[Hit]:
        """The first hits in a new order, the rest behind them."""
        head, rest = hits[:RERANK_TOP], hits[RERANK_TOP:]
        ids = [hit.id for hit in head]
        gallery = None if options.where is not None else self.graphs.of(ids)
        vectors = self.index.store.get(ids)[1]
        scores = np.array([hit.score for hit in head], np.float32)
        order = rerank(method, vector, Candidates(vectors, scores, gallery), self.index.similarity)
        return [head[place] for place in order] + rest

    def _checked(self, value: object) -> Array:
        vector = np.asarray(value, np.float32)
        if vector.shape != (self.index.fingerprint.dim,) or not np.isfinite(vector).all():
            raise StoreError(f"a query vector must be {self.index.fingerprint.dim} finite numbers")
        length = float(np.linalg.norm(vector))
        if abs(length - 1) > 1e-3:
            raise StoreError(f"a query vector must have length 1, not {length:.4g}")
        return vector


def _image(part: QueryPart) -> ImageSource:
    value = part.value
    if isinstance(value, EmbeddedImage | np.ndarray):
        raise ConfigError("the value of a part of kind 'image' is a picture")
    return value


@contextmanager
def _stage(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started
