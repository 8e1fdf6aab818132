"""Collections and searching them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from typing import Annotated, Any, BinaryIO, TypeVar

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response

from crosslens.server.access import looking, reading
from crosslens.server.answering import answer
from crosslens.server.bodies import media_type, parse_json, read_form, read_json
from crosslens.server.collection import Collection, version_of
from crosslens.server.problems import Problem, responses
from crosslens.server.schemas import (
    CollectionInfo,
    ColumnFacet,
    Facets,
    FacetsRequest,
    SearchAnswer,
    SearchRequest,
)
from crosslens.server.service import service_of

router = APIRouter(prefix="/api/v1", tags=["search"])
Made = TypeVar("Made")
CollectionName = Annotated[
    str, Path(description="Name of a collection.", min_length=1, max_length=255, examples=["photos.index"])
]
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["query"],
                    "properties": {
                        "query": {
                            "type": "string",
                            "contentMediaType": "application/json",
                            "contentSchema": {"$ref": "#/components/schemas/SearchRequest"},
                            "description": "A SearchRequest as JSON.",
                        },
                        "images": {
                            "type": "array",
                            "maxItems": 8,
                            "items": {"type": "string", "format": "binary"},
                        },
                    },
                },
                "example": {"query": '{"parts":[{"image":0},{"text":"at night","weight":0.5}],"top":10}'},
            },
            "application/json": {"schema": {"$ref": "#/components/schemas/SearchRequest"}},
        },
    }
}

_FACETS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/FacetsRequest"}}},
    }
}


@router.get(
    "/collections",
    summary="What can be searched",
    dependencies=[Depends(looking)],
    responses=responses(401, 429, 503),
)
async def collections(request: Request) -> list[CollectionInfo]:
    """Every collection of this server: how many items it holds, of which looks, and what its encoder can do."""
    service = service_of(request)
    return [await service.thread(one.info) for one in service.collections.values()]


@router.post(
    "/collections/{name}/search",
    summary="Find what looks like images, words or items",
    response_model=SearchAnswer,
    dependencies=[Depends(reading)],
    responses=responses(400, 401, 403, 404, 408, 413, 415, 422, 429, 503),
    openapi_extra=_BODY,
)
async def search(request: Request, name: CollectionName) -> Response:
    """Search with uploaded images, words, items of the collection, or a weighted mix of them.

    Images come as files `images` of a multipart form beside the field `query`. Without images the same JSON may be
    the whole body.
    """
    service = service_of(request)
    collection = service.collection(name)
    seconds: dict[str, float] = {}
    async with AsyncExitStack() as form:
        images: list[BinaryIO] = []
        with service.meter.stage("read", seconds):
            if media_type(request) == "multipart/form-data":
                asked, images = await _from_form(request, service.settings.max_images, form)
            elif media_type(request) == "application/json":
                asked = await read_json(request, SearchRequest)
            else:
                raise Problem(415, "send multipart/form-data, or application/json when there is no image")
        content = await _unless_gone(request, answer(service, collection, asked, images, seconds))
    return Response(content, media_type="application/json")


@router.post(
    "/collections/{name}/facets",
    summary="Count the values of the items' own columns",
    response_model=Facets,
    dependencies=[Depends(reading)],
    responses=responses(400, 401, 403, 404, 408, 413, 415, 422, 429, 503),
    openapi_extra=_FACETS,
)
async def facets(request: Request, name: CollectionName) -> Facets:
    """How many items have which values of their own columns: of all items, or of those that match a filter."""
    service = service_of(request)
    collection = service.collection(name)
    asked = await read_json(request, FacetsRequest)
    return await service.thread(_facets, collection, asked)


def _facets(collection: Collection, asked: FacetsRequest) -> Facets:
    collection.refresh()
    index = collection.index
    found = {name: ColumnFacet(**vars(facet)) for name, facet in index.facets(asked.where).items()}
    return Facets(items=index.count(asked.where), version=version_of(index), columns=found)


async def _unless_gone(request: Request, work: Awaitable[Made]) -> Made:
    """Wait for ``work``, or cancel it when the client closes the connection: nobody would read the answer."""
    task = asyncio.current_task()
    assert task is not None
    leaving = asyncio.ensure_future(_left(request))
    leaving.add_done_callback(lambda left: None if left.cancelled() else task.cancel())
    try:
        return await work
    except asyncio.CancelledError:
        if leaving.done() and not leaving.cancelled() and not task.uncancel():
            raise Problem(400, "the client closed the connection") from None
        raise
    finally:
        leaving.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _from_form(request: Request, most: int, until: AsyncExitStack) -> tuple[SearchRequest, list[BinaryIO]]:
    form = await read_form(request, files=most, fields=("query",))
    until.push_async_callback(form.data.close)
    query = form.fields.get("query")
    if query is None:
        raise Problem(422, "the form lacks the field 'query'", errors=[{"where": "query", "what": "missing"}])
    # Large files lie on disk; they are read one by one when they are decoded.
    return parse_json(query.encode("utf-8", "surrogatepass"), SearchRequest), [file.file for file in form.images]
