"""Reading request bodies: JSON of bounded size and depth, and uploaded images that really are images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request
from PIL import Image
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from crosslens.images.decode import decode, open_picture
from crosslens.images.formats import Format
from crosslens.images.picture import Picture
from crosslens.server.problems import Problem, wrong_values
from crosslens.support.errors import ImageError

Model = TypeVar("Model", bound=BaseModel)

_MOST_JSON = 1 << 20
"""Bytes of one JSON document."""
DEEPEST = 80
"""Brackets that may stand inside one another: a filter takes two a level, and may have 32 levels."""
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


@dataclass(frozen=True)
class ImageFile:
    """An uploaded image that was decoded whole.

    Attributes:
        content: its bytes as they came.
        format: told from its content.
    """

    content: bytes
    format: Format


def parse_json(content: bytes, model: type[Model]) -> Model:
    """A JSON document as ``model``.

    Raises:
        Problem: 413 when it is too large, 400 when it is no JSON or too deep, 422 when a value is not allowed.
    """
    if len(content) > _MOST_JSON:
        raise Problem(413, f"JSON of {len(content):,} bytes is above the limit of {_MOST_JSON:,}")
    depth = 0
    for token in _TOKENS.finditer(content):
        first = token.group()[:1]
        depth += (first in b"[{") - (first in b"]}")
        if depth > DEEPEST:
            raise Problem(400, f"the JSON is more than {DEEPEST} levels deep")
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False, include_context=False)
        if any(entry["type"] == "json_invalid" for entry in faults):
            raise Problem(400, f"the body is no JSON: {faults[0]['msg']}") from None
        raise wrong_values(faults) from None
    except RecursionError:
        raise Problem(400, "the JSON is too deep") from None


async def read_json(request: Request, model: type[Model]) -> Model:
    """The body of a request as ``model``; see ``parse_json``.

    Raises:
        Problem: 415 when it is not said to be JSON.
    """
    if media_type(request) != "application/json":
        raise Problem(415, "send application/json")
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > _MOST_JSON:
            raise Problem(413, f"the JSON is above the limit of {_MOST_JSON:,} bytes")
    return parse_json(bytes(content), model)


@dataclass(frozen=True)
class Form:
    """A multipart body that was read.

    Attributes:
        data: holds the files open until it is closed.
        fields: the other fields as text.
        images: the files sent as ``images``, in order.
    """

    data: FormData
    fields: dict[str, str]
    images: list[UploadFile]


async def read_form(request: Request, *, files: int, fields: Sequence[str]) -> Form:
    """A multipart body. Its fields may come as text or, as generated clients send JSON, as files.

    Args:
        request: whose body it is.
        files: most files sent as ``images``.
        fields: names of the other fields that may occur, once each.

    Raises:
        Problem: 400 when it cannot be read, 413 for too many files, 415 for no form, 422 for unknown fields.
    """
    if media_type(request) != "multipart/form-data":
        raise Problem(415, "send multipart/form-data")
    try:
        form = await request.form(
            max_files=files + len(fields), max_fields=len(fields) + 4, max_part_size=_MOST_JSON
        )
    except HTTPException as error:
        detail = str(error.detail)
        raise Problem(413 if "Too many" in detail or "exceeded" in detail else 400, detail) from None
    except Problem:
        raise
    except (ValueError, KeyError, AssertionError) as error:
        raise Problem(400, "the multipart body is malformed") from error
    form_values = Form(form, {}, [])
    for name, value in form.multi_items():
        if name == "images" and isinstance(value, UploadFile):
            form_values.images.append(value)
        elif name in fields and name not in form_values.fields:
            form_values.fields[name] = value if isinstance(value, str) else await _text_of(name, value)
        else:
            wanted = ", ".join(fields)
            detail = f"the form takes files named 'images' and one each of: {wanted}"
            raise Problem(422, detail, errors=[{"where": name[:100], "what": "not expected, or not like this"}])
    if len(form_values.images) > files:
        raise Problem(413, f"too many files: {len(form_values.images)} images, and the most are {files}")
    return form_values


async def _text_of(name: str, file: UploadFile) -> str:
    content = await file.read(_MOST_JSON + 1)
    if len(content) > _MOST_JSON:
        raise Problem(413, f"the field {name!r} is above the limit of {_MOST_JSON:,} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Problem(400, f"the field {name!r} is no UTF-8 text") from None


def media_type(request: Request) -> str:
    """The body's media type without parameters, in small letters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def open_upload(content: bytes, position: int, max_pixels: int) -> tuple[ImageFile, Image.Image]:
    """Decode an uploaded image whole.

    Args:
        content: its bytes.
        position: among the request's images, for messages.
        max_pixels: limit on width x height, read from the header before anything is decoded.

    Returns:
        The file, and its pixels as an upright RGB image.

    Raises:
        Problem: 413 when it is too large, 415 when it is no image that is taken, 422 when it is damaged.
    """
    picture = checked_picture(content, position, max_pixels)
    assert picture.format is not None
    try:
        return ImageFile(content, picture.format), decode(picture, max_pixels=max_pixels)
    except ImageError as error:
        raise Problem(422, f"image {position}: {error}") from None


def checked_picture(content: bytes, position: int, max_pixels: int) -> Picture:
    """An upload whose header was read, and none of its pixels.

    Raises:
        Problem: 413 when it has too many pixels, 415 when it is no image that is taken.
    """
    try:
        picture = open_picture(content)
    except Image.DecompressionBombError:
        raise _too_many_pixels(position, max_pixels) from None
    except ImageError as error:
        raise Problem(415, f"image {position} cannot be read: {error}") from None
    width, height = picture.size
    if width * height > max_pixels:
        raise _too_many_pixels(position, max_pixels)
    return picture


def _too_many_pixels(position: int, max_pixels: int) -> Problem:
    return Problem(413, f"image {position} has more than {max_pixels:,} pixels, which is this server's limit")
