"""Embed, tell the domain, mix: from the parts of a query, each picture as of its domain, to one vector.

The network runs here one call after the other, and in a server in batches shared by many requests; which calls a
query needs, and what is made of their results, is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from crosslens.encoder.querying import QueryEncoder
from crosslens.images.decode import ImageSource, decode
from crosslens.search.index.index import Index
from crosslens.search.query.domain_detection import DomainDetector
from crosslens.search.query.query import AUTO, MOST_LETTERS, EmbeddedImage, QueryPart, SearchOptions, mix
from crosslens.search.query.question import Course, Question
from crosslens.search.query.resolve_domain import resolve_domain
from crosslens.support.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]


def needs_frozen(encoder: QueryEncoder, domains: Sequence[str | None]) -> bool:
    """Whether pictures of these domains, ``auto`` among them, need features of the frozen backbone."""
    return not encoder.embeds_by_domain or AUTO in domains


def assign_domains(
    domains: Sequence[str | None], frozen: Array, detect: Callable[[Array], list[str | None]]
) -> list[str | None]:
    """The domain of each picture: as it was names, or detected where that is ``auto``.

    Args:
        domains: N names.
        frozen: features of the frozen backbone ``(N, D)``.
        detect: tells domains from such features.
    """
    if AUTO not in domains:
        return list(domains)
    return [made if name == AUTO else name for name, made in zip(domains, detect(frozen), strict=True)]


def group_by_domain(domains: Sequence[str | None]) -> dict[str | None, list[int]]:
    """Which pictures are of each domain, as rows of one call of that domain's network."""
    return {name: [row for row, other in enumerate(domains) if other == name] for name in dict.fromkeys(domains)}


@dataclass(frozen=True)
class PictureFeatures:
    """A picture after the network.

    Attributes:
        domain: told or detected; None where unknown.
        features: of the network that the encoder has for its domain, ``(D,)``.
        frozen: of the frozen backbone ``(D,)``; None where nobody needed them.
    """

    domain: str | None
    features: Array
    frozen: Array | None


def encode_pictures(encoder: QueryEncoder, pictures: Sequence[PictureFeatures]) -> list[EmbeddedImage]:
    """Pictures with their vectors, all made in one step."""
    if not pictures:
        return []
    features, domains = np.stack([one.features for one in pictures]), [one.domain for one in pictures]
    vectors = encoder.encode_features(features, domains)
    return [EmbeddedImage(row, one.domain, one.frozen) for row, one in zip(vectors, pictures, strict=True)]


@dataclass(frozen=True)
class EmbeddedParts:
    """What of a query went through the network, by its positions among the parts.

    Attributes:
        pictures: with their vectors.
        texts: vectors ``(d,)``.
    """

    pictures: dict[int, EmbeddedImage]
    texts: dict[int, Array]


class QueryEmbedding:
    """Turns pictures, words and items into vectors of one index; several threads may ask at once.

    Args:
        index: whose encoder makes them.
        detect: tells the domains of pictures.
        keeps_features: whether the frozen backbone's features of pictures are wanted in any case.
        device: where to embed; None chooses.
    """

    def __init__(
        self, index: Index, detect: DomainDetector, keeps_features: bool = False, device: str | None = None
    ) -> None:
        self._index, self._detect, self._keeps_features = index, detect, keeps_features
        self._device = device
        self._loading = Lock()
        # The tokenizers of text towers keep settings of the last call, so one text is read at a time.
        self._reading = Lock()

    @property
    def encoder(self) -> QueryEncoder:
        """The index's encoder, loaded once."""
        with self._loading:
            return self._index.query_encoder

    def images(
        self, images: Sequence[ImageSource], domains: Sequence[str | None] | str | None = None
    ) -> list[EmbeddedImage]:
        """Query pictures through the network, those of one domain in one batch; see ``Searcher.embed``."""
        encoder = self.encoder
        names = [domains] * len(images) if domains is None or isinstance(domains, str) else list(domains)
        if len(names) != len(images):
            raise ConfigError(f"{len(images)} pictures need {len(images)} domains, not {len(names)}")
        names = [resolve_domain(name, encoder.domains)[0] for name in names]
        if not images:
            return []
        frozen: Sequence[Array | None] = [None] * len(images)
        if self._keeps_features or needs_frozen(encoder, names):
            everything = encoder.image_features(images, frozen=True, device=self._device)
            names = assign_domains(names, everything, self._detect)
            frozen = features = list(everything)
        if encoder.embeds_by_domain:
            features = [np.empty(0, np.float32)] * len(images)
            for name, rows in group_by_domain(names).items():
                made = encoder.image_features([images[row] for row in rows], name, device=self._device)
                for row, one in zip(rows, made, strict=True):
                    features[row] = one
        return encode_pictures(
            encoder, [PictureFeatures(*one) for one in zip(names, features, frozen, strict=True)]
        )

    def texts(self, texts: Sequence[str]) -> Array:
        """Words to unit vectors ``(T, d)``; see ``Searcher.embed_texts``."""
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
            return tuple(dict.fromkeys(note for text in texts for note in self.encoder.unread(text)))

    def embed(self, parts: Sequence[QueryPart], domain: str | None, course: Course) -> EmbeddedParts:
        """The pictures and texts of a query; the course is told what to say of them.

        Args:
            parts: of the query.
            domain: of its pictures as the encoder spells it, ``auto`` or None. Embedded pictures keep their own.
            course: of the query.
        """
        with course.stage("embed"):
            pictures = {n: part.value for n, part in enumerate(parts) if isinstance(part.value, EmbeddedImage)}
            fresh = [n for n, part in enumerate(parts) if part.kind == "image" and n not in pictures]
            pictures |= zip(fresh, self.images([_image(parts[n]) for n in fresh], domain), strict=True)
            words = {n: str(part.value) for n, part in enumerate(parts) if part.kind == "text"}
            texts: dict[int, Array] = {}
            if words:
                texts = dict(zip(words, self.texts(list(words.values())), strict=True))
                course.notes += self.text_notes(list(words.values()))
        if domain == AUTO and pictures:
            course.notes += self._detect.notes()
        return EmbeddedParts(pictures, texts)

    def mix(
        self, parts: Sequence[QueryPart], embedded: EmbeddedParts, options: SearchOptions, course: Course
    ) -> Question:
        """One vector of all parts, indexed items among them, and what else is known of the question.

        Raises:
            ConfigError: without parts, or for weights that cancel.
            UnknownItemError: for an unknown id.
            StoreError: for a vector of the wrong length.
        """
        pictures = embedded.pictures
        with course.stage("embed"):
            rows = {n: picture.vector for n, picture in pictures.items()} | embedded.texts
            likes = [n for n, part in enumerate(parts) if part.kind == "like"]
            ids = self._index.ids_of([str(parts[n].value) for n in likes])
            if ids:
                rows |= zip(likes, self._index.vectors_of(ids), strict=True)
            rows |= {n: self.checked_vector(part.value) for n, part in enumerate(parts) if part.kind == "vector"}
            ordered = np.array([rows[n] for n in range(len(parts))], np.float32)
            vector = mix(ordered, [part.weight for part in parts], self._index.similarity)
        domains = {picture.domain for picture in pictures.values()}
        features = [p.features for n, p in pictures.items() if p.features is not None and parts[n].weight > 0]
        return Question(
            vector,
            options,
            exclude=frozenset() if options.include_self else frozenset(ids),
            features=np.stack(features) if features and len(features) == len(parts) else None,
            domain=domains.pop() if len(domains) == 1 else None,
            of_items=len(likes) == len(parts),
            of_words=len(embedded.texts) == len(parts),
        )

    def checked_vector(self, value: object) -> Array:
        """A query's vector ``(d,)``.

        Raises:
            StoreError: for one of another size or length, or with numbers that are not finite.
        """
        vector = np.asarray(value, np.float32)
        if vector.shape != (self._index.fingerprint.dim,) or not np.isfinite(vector).all():
            raise StoreError(f"a query vector must be {self._index.fingerprint.dim} finite numbers")
        length = float(np.linalg.norm(vector))
        if abs(length - 1) > 1e-3:
            raise StoreError(f"a query vector must have length 1, not {length:.4g}")
        return vector


def _image(part: QueryPart) -> ImageSource:
    value = part.value
    if isinstance(value, EmbeddedImage):
        raise ConfigError("the value of a part of kind 'image' is a picture")
    return value if part.region is None else part.region.cut(decode(value))
