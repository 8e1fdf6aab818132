"""From a search request to its answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from pydantic_core import to_json

from crosslens.images.region import Region
from crosslens.ops.calibration import LEAST
from crosslens.search.filters.conditions import Eq
from crosslens.search.query import search_request
from crosslens.search.query.bound_options import bind_options
from crosslens.search.query.query import Answer, EmbeddedImage, QueryPart
from crosslens.search.query.resolve_domain import resolve_domain
from crosslens.search.query.searcher import Searcher
from crosslens.server.collection import Collection, version_of
from crosslens.server.problems import Problem
from crosslens.server.schemas import ImagePart, LikePart, SearchRequest, TextPart
from crosslens.server.service import Service
from crosslens.support.errors import ConfigError, StoreError

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
    pictures: list[EmbeddedImage] = []
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
    return await service.thread(_answered, service, collection, searcher, asked, pictures, seconds)


def _answered(
    service: Service,
    collection: Collection,
    searcher: Searcher,
    asked: SearchRequest,
    pictures: Sequence[EmbeddedImage],
    seconds: dict[str, float],
) -> bytes:
    index, encoder = searcher.index, searcher.encoder
    items, version = len(index), version_of(index)
    if asked.min_match is not None and items < LEAST:
        raise Problem(422, f"min_match: {items} items are too few to tell what is missing; {LEAST} are needed")
    if any(isinstance(part, TextPart) for part in asked.parts) and not encoder.has_text:
        raise Problem(422, f"{collection.name} does not understand text: its encoder is {encoder.name}")
    request = asked.put([_part(part, pictures) for part in asked.parts])
    try:
        bind_options(request.options, index.columns)
    except ConfigError as error:
        place = "sort" if str(error).startswith("sort") else "where"
        raise Problem(422, str(error), errors=[{"where": place, "what": str(error)}]) from None
    result = _result(collection.name, searcher, request)
    for stage, name in _MEASURED.items():
        if stage in result.seconds:
            service.meter.took(name, result.seconds[stage])
    for stage, duration in result.seconds.items():
        seconds[stage] = seconds.get(stage, 0.0) + duration
    shown = [
        collection.shown(one.hit) | {"score": one.hit.score, "duplicates": one.duplicates} for one in result.hits
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
            "seconds": seconds,
            "notes": result.notes,
        }
    )


def _result(name: str, searcher: Searcher, request: search_request.SearchRequest) -> Answer:
    try:
        return request.put_to(searcher)
    except StoreError:
        named = [str(part.value) for part in request.parts if part.kind == "like"]
        for item in (*named, *request.options.liked, *request.options.disliked):
            if not searcher.index.count(Eq(field="id", value=item)):
                raise Problem(422, f"there is no item {item[:200]!r} in {name}") from None
        raise


def _part(part: ImagePart | TextPart | LikePart, pictures: Sequence[EmbeddedImage]) -> QueryPart:
    if isinstance(part, ImagePart):
        return QueryPart("image", pictures[part.image], part.weight)
    if isinstance(part, TextPart):
        return QueryPart("text", part.text, part.weight)
    return QueryPart("like", part.like, part.weight)
