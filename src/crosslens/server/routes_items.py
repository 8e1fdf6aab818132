"""Items: one item, its pictures, adding and deleting."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response

from crosslens.data.names import read_name
from crosslens.images.formats import HEAD, format_of
from crosslens.server.access import looking, writing
from crosslens.server.bodies import ImageFile, open_upload, read_form, read_json
from crosslens.server.held import is_held
from crosslens.server.jobs import TooManyJobsError
from crosslens.server.problems import Problem, busy, responses
from crosslens.server.routes_search import CollectionName
from crosslens.server.schemas import AcceptedImage, DeleteRequest, Item, Job, JobAccepted
from crosslens.server.service import Service, service_of
from crosslens.server.uploaded import plan_addition, read_items
from crosslens.support.errors import ImageError
from crosslens.support.file_stamp import stamp_of
from crosslens.support.members import read_bytes, read_head

router = APIRouter(prefix="/api/v1/collections/{name}", tags=["items"])
Id = Annotated[
    str,
    Query(alias="id", min_length=1, description="Id of an item.", examples=["photo/dog/1.jpg"]),
]
IfNoneMatch = Annotated[str | None, Header(description="The `ETag` that is held already.")]
_PICTURE_CACHE = "private, max-age=3600, must-revalidate"
_MOST_NAME = 100
"""Letters of a domain or label that comes with uploads."""
_ADDED: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["images", "domain"],
                    "properties": {
                        "images": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                        },
                        "domain": {"type": "string", "minLength": 1, "maxLength": _MOST_NAME},
                        "label": {"type": "string", "minLength": 1, "maxLength": _MOST_NAME},
                        "items": {
                            "type": "string",
                            "contentMediaType": "application/json",
                            "description": "A JSON list with an object for each image: id, label, columns.",
                        },
                    },
                },
                "example": {
                    "domain": "photo",
                    "label": "dog",
                    "items": '[{"id":"sku-9","columns":{"price":19.5,"keywords":["red","small"]}}]',
                },
            }
        },
    }
}
_DELETED: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/DeleteRequest"}}},
    }
}


@router.get(
    "/item", summary="One item", dependencies=[Depends(looking)], responses=responses(401, 404, 422, 429, 503)
)
async def item(request: Request, name: CollectionName, image: Id) -> Item:
    """What is known about one item."""
    service = service_of(request)
    collection = service.collection(name)
    return Item(**collection.shown(await service.thread(collection.item, image)))


@router.get(
    "/thumbnail",
    summary="A small picture of an item",
    dependencies=[Depends(looking)],
    response_class=Response,
    responses={
        200: {"description": "The picture.", "content": {"image/webp": {}}},
        304: {"description": "The picture held already is still right."},
        **responses(401, 404, 422, 429, 503),
    },
)
async def thumbnail(
    request: Request,
    name: CollectionName,
    image: Id,
    size: Annotated[int, Query(ge=64, le=1024, description="Longer side in pixels.")] = 256,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """A WebP picture whose longer side is at most `size` pixels, upright."""
    service = service_of(request)
    return await service.picture_thread(_thumbnail, service, name, image, size, if_none_match)


def _thumbnail(service: Service, name: str, image: str, size: int, held: str | None) -> Response:
    original = service.collection(name).original(image)
    with service.meter.stage("thumbnail"):
        try:
            known = service.thumbnails.tag(original, size)
            tag = f'"{known}"'
            headers = {"ETag": tag, "Cache-Control": _PICTURE_CACHE}
            if is_held(tag, held):
                return Response(status_code=304, headers=headers)
            return Response(
                service.thumbnails.get(original, size, known), media_type="image/webp", headers=headers
            )
        except (ImageError, OSError):
            raise Problem(404, f"the image of {image[:200]!r} is gone or can no longer be read") from None


@router.get(
    "/image",
    summary="The original file of an item",
    dependencies=[Depends(looking)],
    response_class=Response,
    responses={
        200: {"description": "The file as it is.", "content": {"image/*": {}}},
        304: {"description": "The file held already is still right."},
        **responses(401, 404, 422, 429, 503),
    },
)
async def original(
    request: Request, name: CollectionName, image: Id, if_none_match: IfNoneMatch = None
) -> Response:
    """The bytes of the image, as long as it lies in a folder that was indexed."""
    service = service_of(request)
    return await service.picture_thread(_original, service, name, image, if_none_match)


def _original(service: Service, name: str, image: str, held: str | None) -> Response:
    path = service.collection(name).original(image)
    try:
        is_file = isinstance(path, Path) and path.is_file()
        content = None if is_file else read_bytes(path)
        kind = format_of(read_head(path, HEAD) if content is None else content[:HEAD])
        stamp = stamp_of(path)
    except OSError:
        kind = None
    if kind is None:
        # Whatever lies there now is no image, or gone.
        raise Problem(404, f"the image of {image[:200]!r} is gone or can no longer be read")
    tag = f'"{hashlib.sha256(str(stamp).encode()).hexdigest()[:16]}"'
    headers = {
        "ETag": tag,
        "Cache-Control": _PICTURE_CACHE,
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
    if is_held(tag, held):
        return Response(status_code=304, headers=headers)
    if isinstance(path, Path) and content is None:
        return FileResponse(path, media_type=kind.media_type, headers=headers, stat_result=path.stat())
    return Response(content, media_type=kind.media_type, headers=headers)


@router.post(
    "/items",
    summary="Add images",
    status_code=202,
    response_model=JobAccepted,
    dependencies=[Depends(writing)],
    responses=responses(400, 401, 403, 404, 408, 413, 415, 422, 429, 503),
    openapi_extra=_ADDED,
)
async def add(request: Request, name: CollectionName) -> Response:
    """Upload images of one look, and of one class where it is known. They are added by a job.

    Beside each image there may be an entry of `items`, a JSON list in the order of the images: its `id`, `label`
    and own `columns`. Without an id, one is made from the image's content, so that the same image twice is one
    item. The name of each file is kept as its column `filename`.
    """
    service = service_of(request)
    collection = service.collection(name)
    collection.require_writable()
    form = await read_form(request, files=service.settings.max_added, fields=("domain", "label", "items"))
    try:
        domain, label = (_name(form.fields.get(field), field) for field in ("domain", "label"))
        assert domain is not None
        if not form.images:
            raise Problem(
                422, "the form holds no file named 'images'", errors=[{"where": "images", "what": "missing"}]
            )
        items = read_items(form.fields.get("items"), len(form.images))
        labels = [label if item.label is None else _name(item.label, "label") for item in items]
        names = [file.filename for file in form.images]
        checked: list[ImageFile] = []
        for number, file in enumerate(form.images):
            content = await file.read()
            opened = await service.picture_thread(open_upload, content, number, service.settings.max_pixels)
            checked.append(opened[0])
    finally:
        await form.data.close()
    table = service.tables[collection.name]

    def queue(files: list[str]) -> tuple[Job, list[AcceptedImage]]:
        work = plan_addition(collection.index, domain, files, names, labels, items)
        job = table.put("add", work.model_dump(mode="json"), len(work.images))
        asked = zip(files, names, items, strict=True)
        return job, [AcceptedImage(id=item.id or file, filename=name or None) for file, name, item in asked]

    try:
        job, images = await service.thread(service.uploads[collection.name].keep, checked, queue)
    except TooManyJobsError as error:
        raise busy(str(error), 10) from None
    return _accepted(service, job, images)


@router.delete(
    "/items",
    summary="Delete items",
    status_code=202,
    response_model=JobAccepted,
    dependencies=[Depends(writing)],
    responses=responses(400, 401, 403, 404, 408, 413, 415, 422, 429, 503),
    openapi_extra=_DELETED,
)
async def delete(request: Request, name: CollectionName) -> Response:
    """Delete items by id, unknown ones passed over, or all that match a filter, in one step.

    Images that were uploaded are deleted too; those that were indexed where they lie stay.
    """
    service = service_of(request)
    collection = service.collection(name)
    collection.require_writable()
    asked = await read_json(request, DeleteRequest)
    # A job could only fail of a field that is none.
    collection.index.contents.bound(asked.where)
    work = asked.model_dump(mode="json")
    try:
        job = await service.thread(service.tables[collection.name].put, "delete", work, len(asked.ids or ()))
    except TooManyJobsError as error:
        raise busy(str(error), 10) from None
    return _accepted(service, job)


def _name(value: str | None, field: str) -> str | None:
    """A field of the form as a name; None for a label that is not given.

    Raises:
        Problem: 422 for a domain that is not given, and for what can be no name.
    """
    if value is None and field == "label":
        return None
    what = f"1 to {_MOST_NAME:,} letters are needed"
    try:
        name = "" if value is None else read_name(value)
    except ValueError as error:
        name, what = "", f"the name {error}; {what}"
    if not 1 <= len(name) <= _MOST_NAME:
        raise Problem(422, f"{field}: {what}", errors=[{"where": field, "what": what}])
    return name


def _accepted(service: Service, job: Job, images: list[AcceptedImage] | None = None) -> Response:
    service.worker.wake()
    content = JobAccepted(job=job, images=images).model_dump(mode="json")
    return JSONResponse(content, 202, {"Location": f"{service.settings.root_path}/api/v1/jobs/{job.id}"})
