"""What is asked and what is answered: parts of a query, options, and the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from crosslens.images.region import Region
from crosslens.nn.similarity import Similarity
from crosslens.ops.hubs import Goal
from crosslens.search.filters.conditions import Filter
from crosslens.search.filters.text import parse_filter
from crosslens.search.index.items import Hit
from crosslens.search.rerank.base import Rerank
from crosslens.support.errors import ConfigError
from crosslens.support.request import Request
from crosslens.support.tables import Table, Tabled
from crosslens.support.terminal import visible

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosslens.images.decode import ImageSource

    Array = NDArray[np.float32]

Kind = Literal["image", "text", "like", "vector"]
SORTS = ("score", "id", "path", "domain", "label", "size", "modified")
"""What hits are sorted by in every index; an index may have columns of its own."""
Sort = Annotated[str, Field(min_length=1, max_length=1000)]
"""One of ``SORTS``, or the name of a column; ``-`` in front turns the order round."""
AUTO = "auto"
"""In place of a domain's name: detect it."""
MOST = 1000
"""Most hits of one answer."""
SHOWN = 24
"""Hits that an answer shows of itself."""
MOST_LETTERS = 2000
"""Most letters of one text of a query; encoders read far fewer."""


@dataclass(frozen=True)
class EmbeddedImage:
    """A query picture after the network; as the value of a query's part it is not embedded again.

    Attributes:
        vector: ``(d,)``, unit length, in the encoder's space.
        domain: told or detected; None where unknown.
        features: of the frozen backbone ``(D,)``; None where an encoder with prompts had no need of them.
    """

    vector: Array
    domain: str | None = None
    features: Array | None = None


@dataclass(frozen=True)
class QueryPart:
    """One of the things a query is made of.

    Attributes:
        kind: ``image``, ``text``, ``like`` (an indexed item) or ``vector``.
        value: a picture (see ``ImageSource``; transparency counts as white) or an `EmbeddedImage`; words; an id; a
            unit vector ``(d,)``.
        weight: finite; a negative one pushes away.
        region: the part of a picture that is meant; None is all of it. An `EmbeddedImage` has been cut already.
    """

    kind: Kind
    value: ImageSource | EmbeddedImage | Array
    weight: float = 1.0
    region: Region | None = None

    def __post_init__(self) -> None:
        if self.region is not None and (self.kind != "image" or isinstance(self.value, EmbeddedImage)):
            raise ConfigError("a region is a part of a picture; only a query's pictures have one")


class SearchOptions(Request):
    """How to answer."""

    top: int = Field(20, ge=1, le=MOST)
    """At most this many hits."""

    goal: Goal | None = None
    """``thing``: this very thing in another look, so what is near every query counts less. ``kind``: more of its
    kind. None takes the index's own."""

    min_score: float = Field(-1.0, ge=-1, le=1, allow_inf_nan=False)
    """Leave out what has a lower score. For ``kind`` that is the similarity, and a copy of the query reaches 1;
    for ``thing`` it is less or more by how near the item is to every query."""

    min_match: float | None = Field(None, ge=0, le=1)
    """Answer "no match" below this probability of a counterpart."""

    where: Filter | None = None
    """Look at these items alone."""

    sort: Sort = "score"
    """Order of the hits that are shown, among them best first where equal; ``-`` in front turns it round. Missing
    values come last."""

    fold: float | None = Field(None, gt=0, le=1)
    """Cosine from which a hit is shown under a better one it nearly equals; None folds nothing. The best 5,000
    items are looked at, and 100 near-duplicates listed under a hit; the answer says what was cut."""

    rerank: Rerank | None = None
    """How the list is put in a new order (``mmr`` shows different ones); scores stay similarities with the
    query."""

    include_self: bool = False
    """Whether an indexed item finds itself."""

    liked: tuple[str, ...] = ()
    """Ids of items that the query is moved towards; see ``feedback.rocchio``. They may be found."""

    disliked: tuple[str, ...] = ()
    """Ids of items that it is moved away from, and that are not found."""


@dataclass(frozen=True)
class FoldedHit:
    """A hit, and the ids of the near-duplicates that were folded under it, best first, at most 100 of them."""

    hit: Hit
    duplicates: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Answer(Tabled):
    """What was found.

    Attributes:
        hits: at most ``top``; none where there is no match.
        match_probability: that there is a counterpart of the query among the items that were searched; None where
            it was not asked for.
        no_match: whether it lies below ``min_match``.
        domain: of the query's pictures, told or detected; None where unknown or where they differ.
        seconds: taken by each stage.
        notes: one sentence for each thing about the answer that one should know.
        match_is_rough: whether the probability is no more than a guess, because it was calibrated on the indexed
            images alone and the query is of another look, or of one that nobody told.
    """

    hits: tuple[FoldedHit, ...]
    match_probability: float | None = None
    no_match: bool = False
    domain: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    match_is_rough: bool = False

    def table(self) -> Table:
        """The hits, best first: id, score, domain, label, path and the columns that are their own."""
        own = list(dict.fromkeys(name for shown in self.hits for name in shown.hit.columns))
        rows = tuple(
            (hit.id, hit.score, hit.domain, hit.label, hit.path, *(hit.columns.get(name) for name in own))
            for hit in (shown.hit for shown in self.hits)
        )
        return Table(("id", "score", "domain", "label", "path", *own), rows)

    def __repr__(self) -> str:
        match = (
            ""
            if self.match_probability is None
            else f", probability of a counterpart {self.match_probability:.2f}"
        )
        lines = (f"  {one.hit.score:.3f}  {visible(one.hit.id)}" for one in self.hits[:SHOWN])
        more = [f"  and {len(self.hits) - SHOWN} more"] if len(self.hits) > SHOWN else []
        return "\n".join([f"{len(self.hits)} hits{match}{'; no match' if self.no_match else ''}", *lines, *more])

    def _repr_html_(self) -> str:
        from crosslens.search.grid import make_tile, tiles_as_html

        first, *_ = repr(self).split("\n", 1)
        shown = f"{first}, the best {SHOWN} of them shown" if len(self.hits) > SHOWN else first
        return tiles_as_html([make_tile(one) for one in self.hits[:SHOWN]], ". ".join([shown, *self.notes]))

    def to_json(self) -> dict[str, Any]:
        """The answer as plain values."""
        return {
            "hits": [vars(shown.hit) | {"duplicates": list(shown.duplicates)} for shown in self.hits],
            "match_probability": self.match_probability,
            "match_is_rough": self.match_is_rough,
            "no_match": self.no_match,
            "domain": self.domain,
            "seconds": self.seconds,
            "notes": list(self.notes),
        }


def make_options(**settings: Any) -> SearchOptions:
    """Options from plain values; a filter may be given as text.

    Raises:
        ConfigError: naming the option that is wrong.
    """
    if isinstance(settings.get("where"), str):
        settings["where"] = parse_filter(settings["where"])
    return SearchOptions.of(**settings)


def weighted_parts(
    *,
    images: Sequence[ImageSource] = (),
    texts: Sequence[str] = (),
    like: Sequence[str] = (),
    weights: Sequence[float] = (),
    regions: Sequence[Sequence[float] | None] = (),
) -> list[QueryPart]:
    """Pictures, then texts, then ids as the parts of one query, with one weight each; 1 each without weights.

    Args:
        images, texts, like: what the query is made of.
        weights: of all of these.
        regions: of the pictures, one each: ``(x, y, width, height)`` as shares of the picture's, or None.

    Raises:
        ConfigError: for another number of weights or regions, or a region that lies outside its picture.
    """
    kinds: list[tuple[Kind, Sequence[Any]]] = [("image", images), ("text", texts), ("like", like)]
    values = [(kind, value) for kind, several in kinds for value in several]
    if weights and len(weights) != len(values):
        raise ConfigError(f"{len(values)} queries need {len(values)} weights, not {len(weights)}")
    if regions and len(regions) != len(images):
        raise ConfigError(f"{len(images)} pictures need {len(images)} regions, not {len(regions)}")
    factors = list(weights) or [1.0] * len(values)
    cuts = [None if region is None else Region.of(region) for region in regions]
    cuts += [None] * (len(values) - len(cuts))
    return [
        QueryPart(kind, value, weight, region)
        for (kind, value), weight, region in zip(values, factors, cuts, strict=True)
    ]


def mix(vectors: Array, weights: Sequence[float], similarity: Similarity | None = None) -> Array:
    """The weighted sum of unit vectors ``(n, d)``, as one unit vector ``(d,)`` to look for.

    ``similarity`` says how vectors are compared, by the cosine if it is None; see ``Similarity.mixed``.

    Raises:
        ConfigError: without vectors, for one of length 0 or not finite, with another number of weights or one that
            is not finite, or when they cancel each other out.
    """
    if not len(vectors):
        raise ConfigError("give at least one query: a picture, a text or an indexed item")
    if len(weights) != len(vectors):
        raise ConfigError(f"{len(vectors)} queries need {len(vectors)} weights, not {len(weights)}")
    factors = np.asarray(weights, np.float64)
    if not np.isfinite(factors).all():
        raise ConfigError("weights must be finite numbers")
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    empty = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 1e-6)))
    if len(empty):
        raise ConfigError(
            f"query {empty[0] + 1} of {len(vectors)} has no direction to search in: the encoder sees nothing in it"
        )
    mixed = factors @ vectors.astype(np.float64)
    length, most = float(np.linalg.norm(mixed)), float(np.abs(factors).sum())
    # What is left of two nearly equal vectors is rounding, not a direction.
    if length <= 1e-3 * most:
        raise ConfigError("these queries and weights cancel each other out")
    return (similarity or Similarity()).mixed(mixed, most)
