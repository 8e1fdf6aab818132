"""What goes over the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from crosslens.data.columns import ColumnType
from crosslens.images.region import Region
from crosslens.ops.hubs import Goal
from crosslens.search.filters.conditions import Filter
from crosslens.search.query import search_request
from crosslens.search.query.query import MOST, MOST_LETTERS, QueryPart, SearchOptions, Sort
from crosslens.search.rerank.base import Rerank
from crosslens.support.errors import ConfigError

Own = str | int | float | bool | list[str]
"""A value of an item's own column; dates are `2026-01-31` or `2026-01-31T12:00:00`."""
Weight = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
# Ids are paths or names of a manifest, of any length; the JSON's own limit bounds them.
ItemId = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Cosine = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
Fold = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
_MOST_JUDGED = 200
"""Most items that one search may say were liked, or disliked."""


def _inside(numbers: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    try:
        return Region.of(numbers)
    except ConfigError as error:
        raise ValueError(str(error)) from None


CutOut = Annotated[tuple[Share, Share, Share, Share], AfterValidator(_inside)]


def _without_paths(where: Filter) -> Filter:
    """Refuse filters on folders of this machine: what matches would tell their names letter by letter."""
    waiting: list[Any] = [where]
    while waiting:
        part = waiting.pop()
        if getattr(part, "field", None) in ("path", "root"):
            raise ValueError("the server takes no filters on path and root; use the prefix of an id")
        waiting.extend(getattr(part, "filters", ()))
        waiting.extend([part.filter] if hasattr(part, "filter") else [])
    return where


Where = Annotated[Filter, AfterValidator(_without_paths)]


class _Asked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ImagePart(_Asked):
    """An uploaded image as part of a query."""

    image: int = Field(ge=0, le=63, description="Position of the file among the uploaded `images`, from 0.")
    weight: Weight = Field(1.0, description="Its share; a negative one pushes away.")
    region: CutOut | None = Field(
        None,
        description="The part of the image that is meant: x, y, width and height as shares of it, 0 to 1.",
        examples=[[0.25, 0.25, 0.5, 0.5]],
    )


class TextPart(_Asked):
    """Words as part of a query; only where the collection understands text."""

    text: str = Field(min_length=1, max_length=MOST_LETTERS)
    weight: Weight = 1.0


class LikePart(_Asked):
    """An item of the collection as part of a query."""

    like: ItemId = Field(description="The id of an item.")
    weight: Weight = 1.0


PARTS: dict[str, type[BaseModel]] = {"image": ImagePart, "text": TextPart, "like": LikePart}
"""What a part of a query may be, by the key that tells."""


def _kind(part: Any) -> str | None:
    """The tag of a part; None where it is none, or could be two."""
    if not isinstance(part, dict):
        return type(part).__name__
    named = [model.__name__ for key, model in PARTS.items() if key in part]
    return named[0] if len(named) == 1 else None


Part = Annotated[
    Annotated[ImagePart, Tag("ImagePart")]
    | Annotated[TextPart, Tag("TextPart")]
    | Annotated[LikePart, Tag("LikePart")],
    Discriminator(
        _kind,
        custom_error_type="part",
        custom_error_message="a part names exactly one of image, text and like",
    ),
]


class SearchRequest(_Asked):
    """A query made of images, words and items, with weights, and what to do with what is found."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"parts": [{"text": "a dog"}], "top": 10},
                {"parts": [{"like": "photo/dog/1.jpg"}, {"text": "snow", "weight": 0.5}], "sort": "label"},
            ]
        },
    )

    parts: tuple[Part, ...] = Field(min_length=1, max_length=32)
    domain: str | None = Field(None, description="The look of the uploaded images; `auto` lets the server tell.")
    top: int = Field(20, ge=1, le=MOST, description="At most this many hits.")
    goal: Goal | None = Field(
        None,
        description="`thing`: this very thing in another look, so what is near every query counts less. `kind`:"
        " more of its kind. By default that of the collection.",
    )
    min_score: Cosine = Field(-1.0, description="Leave out what has a lower score.")
    min_match: Share | None = Field(
        None, description="Answer `no_match` where the probability of a counterpart is lower."
    )
    where: Where | None = Field(None, description="Only items that match.")
    sort: Sort = Field("score", description="Order of the hits; `-` in front turns it round.")
    fold: Fold | None = Field(None, description="Fold hits whose cosine is at least this into one.")
    rerank: Rerank | None = Field(
        None, description="Order the best hits again: by their neighbourhoods, or with `mmr` different ones first."
    )

    include_self: bool = Field(False, description="Whether an item that is part of the query may be found.")
    liked: tuple[ItemId, ...] = Field(
        (), max_length=_MOST_JUDGED, description="Items that the query is moved towards; they may be found."
    )
    disliked: tuple[ItemId, ...] = Field(
        (), max_length=_MOST_JUDGED, description="Items that it is moved away from, and that are not found."
    )

    def put(self, parts: Sequence[QueryPart]) -> search_request.SearchRequest:
        """What is asked, with the uploaded images in the parts."""
        options = SearchOptions(**{name: getattr(self, name) for name in SearchOptions.model_fields})
        return search_request.SearchRequest(parts=tuple(parts), options=options, domain=self.domain)

    @model_validator(mode="after")
    def _one_use_an_image(self) -> SearchRequest:
        used = [part.image for part in self.parts if isinstance(part, ImagePart)]
        if len(set(used)) != len(used):
            raise ValueError("two parts name the same image")
        return self


class FoundItem(BaseModel):
    """One hit."""

    id: str
    score: float = Field(
        description="Similarity with the query, at most 1; for the goal `thing` corrected by how near the item is"
        " to every query."
    )
    domain: str
    label: str | None
    folder: str = Field(description="The id up to its last slash.")
    size: int | None = Field(description="Bytes of the file when it was indexed.")
    modified: int | None = Field(description="Time of the file's last change, seconds since 1970.")
    columns: dict[str, Own] = Field(description="Its own columns that have a value.")
    duplicates: list[str] = Field(description="Ids of near-duplicates folded into this hit.")
    thumbnail: str = Field(description="Address of a small picture.")
    image: str = Field(description="Address of the original file.")


class SearchAnswer(BaseModel):
    """What was found."""

    hits: list[FoundItem]
    match_probability: float | None = Field(description="Probability that the query has a counterpart here.")
    match_is_rough: bool = Field(
        default=False,
        description="Whether it is no more than a guess: calibrated on the indexed images alone, and asked with"
        " another look.",
    )
    no_match: bool = Field(description="Whether that probability is below `min_match`; there are no hits then.")
    domain: str | None = Field(description="The look of the query's images, as told or found out.")
    items: int = Field(description="Items in the collection.")
    version: str = Field(description="State of the collection that was searched.")
    seconds: dict[str, float] = Field(description="Where the time went.")
    notes: list[str] = Field(description="What one should know of this answer, such as what was cut off.")


class CollectionInfo(BaseModel):
    """A collection: one index."""

    name: str
    items: int
    version: str = Field(description="Changes with every change of the items.")
    dim: int = Field(description="Length of a vector.")
    encoder: str
    fingerprint: str = Field(description="Two collections with the same one are searched with the same vectors.")
    text: bool = Field(description="Whether words can be searched for.")
    domains: dict[str, int] = Field(description="Items by look.")
    encoder_domains: list[str] = Field(
        description="Looks that the encoder treats apart; as `domain` of a query each makes a difference."
    )
    labels: int = Field(description="How many class names occur.")
    folders: list[str] = Field(description="The first two levels of the ids, at most 500.")
    columns: dict[str, ColumnType] = Field(description="The items' own columns, to filter and sort by.")
    goal: Goal = Field(description="What a search is for where it does not say.")
    goals: list[Goal] = Field(description="What it can be searched for.")
    calibrated: bool = Field(description="Whether answers carry the probability of a match.")
    writable: bool = Field(description="Whether items can be added and deleted.")
    store: str


class Item(BaseModel):
    """One item of a collection."""

    id: str
    domain: str
    label: str | None
    folder: str
    size: int | None
    modified: int | None
    columns: dict[str, Own]
    thumbnail: str
    image: str


class FacetsRequest(_Asked):
    """Of which items to count the values of their own columns."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"where": None}]})

    where: Where | None = Field(None, description="Only items that match; all by default.")


class ColumnFacet(BaseModel):
    """What the items have in one of their own columns."""

    type: ColumnType
    items: int = Field(description="How many have a value.")
    values: list[tuple[str | bool, int]] = Field(
        description="Of texts, truth values and lists: the most frequent ones, and how many items have each."
    )
    more: int = Field(description="How many other values there are.")
    min: float | str | None = Field(description="Of numbers and dates.")
    max: float | str | None = Field(description="Of numbers and dates.")


class Facets(BaseModel):
    """Facets of a collection."""

    items: int = Field(description="How many items were counted.")
    version: str = Field(description="State of the collection that was counted.")
    columns: dict[str, ColumnFacet]


class DeleteRequest(_Asked):
    """Which items to delete: by id, or all that match a filter."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"ids": ["photo/dog/1.jpg"]}]})

    ids: tuple[ItemId, ...] | None = Field(None, min_length=1, max_length=10_000)
    where: Where | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> DeleteRequest:
        if (self.ids is None) == (self.where is None):
            raise ValueError("give either ids or where")
        return self


class Job(BaseModel):
    """Work that goes on after its request was answered."""

    id: str
    collection: str
    kind: Literal["add", "delete"]
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    done: int = Field(description="Items finished.")
    total: int
    message: str = Field(description="What it does, or why it failed.")
    result: dict[str, Any] | None = Field(description="With `done`: what came out.")
    created: float = Field(description="Seconds since 1970.")


class AcceptedImage(BaseModel):
    """An uploaded image that a job is going to add."""

    id: str = Field(description="What its item will be called.")
    filename: str | None = Field(description="What the uploaded file was called.")


class JobAccepted(BaseModel):
    """Answer to a change that was queued."""

    job: Job
    images: list[AcceptedImage] | None = Field(None, description="The uploaded images, in their order.")


class Health(BaseModel):
    """Whether the server lives, or can answer."""

    status: Literal["ok"]


OWN_MODELS: tuple[type[BaseModel], ...] = (SearchRequest, FacetsRequest, DeleteRequest)
"""Bodies that are read by hand, so that their limits hold; OpenAPI learns of them separately."""
