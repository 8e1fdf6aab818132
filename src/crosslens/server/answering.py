"""From a search request to its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

from pydantic_core import to_json

from crosslens.images.region import Region
from crosslens.ops.calibration import LEAST
from crosslens.search.query import search_request
from crosslens.search.query.bound_options import bind_options
from crosslens.search.query.embedding import PictureFeatures, encode_pictures
from crosslens.search.query.query import Answer, EmbeddedImage, QueryPart
from crosslens.search.query.resolve_domain import resolve_domain
from crosslens.search.query.searcher import Searcher
from crosslens.server.collection import Collection, version_of
from crosslens.server.metrics import Meter
from crosslens.server.problems import Problem, unknown_item
from crosslens.server.schemas import ImagePart, LikePart, SearchRequest, TextPart
from crosslens.server.service import Service
from crosslens.support.errors import ConfigError, UnknownItemError, unless_error

_MEASURED = {"search": "search", "match": "calibrate", "rerank": "rerank", "fold": "fold"}
"""Stages of the searcher, and the names they are measured under."""


async def answer(
    service: Service,
    collection: Collection,
    asked: SearchRequest,
    images: Sequence[BinaryIO],
    seconds: dict[str, float],
) -> bytes:
    """Answer a search.

    Args:
        service: what the process holds.
        collection: to search.
        asked: the request.
        images: the uploaded files, in order.
        seconds: gets the time of each stage.

    Returns:
        A ``SearchAnswer`` as JSON, written without making one: that would take longer than finding the hits.

    Raises:
        Problem: for images that no part names, values that are not allowed, and when the server is busy.
    """
    used = sorted(part.image for part in asked.parts if isinstance(part, ImagePart))
    if used != list(range(len(images))):
        raise Problem(422, f"the parts name the images {used}, but {len(images)} were uploaded; name each once")
    if collection.due:
        await service.thread(collection.refresh)
    # Taken once: another index may stand here when the images are embedded, with another encoder.
    searcher = collection.searcher
    pictures: list[PictureFeatures] = []
    if images:
        # What there is to say of the name, the searcher says in its answer.
        domain, _ = resolve_domain(asked.domain, searcher.encoder.domains)
        cuts = {part.image: part.region for part in asked.parts if isinstance(part, ImagePart)}
        pictures = await service.embedding.embed_pictures(
            searcher.encoder,
            images,
            domain,
            seconds,
            searcher.detector,
            [None if cut is None else Region(*cut) for _, cut in sorted(cuts.items())],
        )
    due = _Due(service.meter, collection, searcher, asked, pictures, seconds)
    if _may_take_long(asked):
        return unless_error((await service.thread(_answer_all, [due]))[0])
    return await service.together(_answer_all, due)


@dataclass(eq=False)
class _Due:
    """A search whose images went through the network."""

    meter: Meter
    collection: Collection
    searcher: Searcher
    asked: SearchRequest
    pictures: Sequence[PictureFeatures]
    seconds: dict[str, float]


def _may_take_long(asked: SearchRequest) -> bool:
    """Whether others should not wait for this one: it has words to read, or a list to look through."""
    is_plain = asked.rerank is None and asked.fold is None
    return not is_plain or any(isinstance(part, TextPart) for part in asked.parts)


def _answer_all(round_: Sequence[_Due]) -> list[bytes | Exception]:
    """Answers as JSON, or why there is none; the searches of one collection share their passes over it."""
    made: dict[int, bytes | Exception] = {}
    for searcher in dict.fromkeys(due.searcher for due in round_):
        index = searcher.index
        # Taken before the search: what is found may be newer, and never older than it is said to be.
        items, version = len(index), version_of(index)
        mine = {row: due for row, due in enumerate(round_) if due.searcher is searcher}
        pictures = [picture for due in mine.values() for picture in due.pictures]
        try:
            embedded = iter(encode_pictures(searcher.encoder, pictures))
        except Exception as error:
            # It ends the searches of this encoder, and none of other collections.
            made |= dict.fromkeys(mine, error)
            continue
        asked: dict[int, search_request.SearchRequest] = {}
        for row, due in mine.items():
            try:
                asked[row] = _checked(due, list(islice(embedded, len(due.pictures))), items)
            except Problem as problem:
                made[row] = problem
        for row, answer in zip(asked, searcher.answer_all(list(asked.values())), strict=True):
            try:
                made[row] = _json(round_[row], unless_error(answer), items, version)
            except UnknownItemError as error:
                made[row] = unknown_item(422, error.image, round_[row].collection.name, error.near)
            except Exception as error:
                made[row] = error
    return [made[row] for row in range(len(round_))]


def _checked(due: _Due, pictures: Sequence[EmbeddedImage], items: int) -> search_request.SearchRequest:
    """What the searcher is asked.

    Raises:
        Problem: for what the collection cannot answer.
    """
    index, encoder, asked = due.searcher.index, due.searcher.encoder, due.asked
    if asked.min_match is not None and items < LEAST:
        raise Problem(422, f"min_match: {items} items are too few to tell what is missing; {LEAST} are needed")
    if any(isinstance(part, TextPart) for part in asked.parts) and not encoder.has_text:
        raise Problem(422, f"{due.collection.name} does not understand text: its encoder is {encoder.name}")
    request = asked.put([_part(part, pictures) for part in asked.parts])
    try:
        bind_options(request.options, index.columns)
    except ConfigError as error:
        place = "sort" if str(error).startswith("sort") else "where"
        raise Problem(422, str(error), errors=[{"where": place, "what": str(error)}]) from None
    return request


def _json(due: _Due, result: Answer, items: int, version: str) -> bytes:
    for stage, name in _MEASURED.items():
        if stage in result.seconds:
            due.meter.took(name, result.seconds[stage])
    for stage, duration in result.seconds.items():
        due.seconds[stage] = due.seconds.get(stage, 0.0) + duration
    shown = [
        due.collection.shown(one.hit) | {"score": one.hit.score, "duplicates": one.duplicates}
        for one in result.hits
    ]
    return to_json(
        {
            "hits": shown,
            "match_probability": result.match_probability,
            "match_is_rough": result.match_is_rough,
            "no_match": result.no_match,
            "domain": result.domain,
            "items": items,
            "version": version,
            "seconds": due.seconds,
            "notes": result.notes,
        }
    )


def _part(part: ImagePart | TextPart | LikePart, pictures: Sequence[EmbeddedImage]) -> QueryPart:
    if isinstance(part, ImagePart):
        return QueryPart("image", pictures[part.image], part.weight)
    if isinstance(part, TextPart):
        return QueryPart("text", part.text, part.weight)
    return QueryPart("like", part.like, part.weight)
