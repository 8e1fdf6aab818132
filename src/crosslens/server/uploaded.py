"""What comes with uploaded images: ids, classes and columns of people's own, checked, and kept with the job."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from crosslens.data.columns import ColumnType, tidy_columns
from crosslens.search.filters.conditions import In
from crosslens.search.index.index import Index
from crosslens.search.index.making import UPLOADS, upload_of
from crosslens.search.index.own_columns import read_given
from crosslens.server.problems import Problem, wrong_values
from crosslens.server.schemas import ItemId, Own
from crosslens.support.errors import CatalogError

_FILE_NAME = "filename"
"""The column that keeps what an uploaded file was called."""
_LONGEST = 255


class ItemAsked(BaseModel):
    """What is given with one uploaded image."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: ItemId | None = Field(None, max_length=1000)
    label: str | None = Field(None, max_length=1000)
    columns: dict[str, Own | None] = Field(default_factory=dict, max_length=200)


class Uploaded(BaseModel):
    """One uploaded image on its way into the index.

    Attributes:
        id: of its item.
        file: its path from the index folder.
        label: its class, where known.
        columns: of its own, as plain values.
    """

    id: str
    file: str
    label: str | None = None
    columns: dict[str, Any] = Field(default_factory=dict)


class Addition(BaseModel):
    """The work of a job that adds images.

    Attributes:
        domain: of all of them.
        images: none twice.
        types: of their columns.
    """

    domain: str
    images: list[Uploaded]
    types: dict[str, ColumnType] = Field(default_factory=dict)

    @classmethod
    def of(cls, work: dict[str, Any]) -> Addition:
        """The work of a job as its table holds it; older servers wrote ids alone, which are files."""
        if "ids" not in work:
            return cls.model_validate(work)
        images = [Uploaded(id=image, file=image, label=work["label"]) for image in work["ids"]]
        return cls(domain=work["domain"], images=images)

    @property
    def files(self) -> list[str]:
        """The files of its images."""
        return [image.file for image in self.images]


_ITEMS = TypeAdapter(list[ItemAsked])


def read_items(text: str | None, count: int) -> list[ItemAsked]:
    """The field ``items`` of a form: what is given with each of ``count`` images, in their order.

    Raises:
        Problem: 422 when it is no list of as many, or a value is not allowed.
    """
    if text is None:
        return [ItemAsked()] * count
    try:
        items = _ITEMS.validate_json(text)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False, include_context=False)
        raise wrong_values([{**fault, "loc": ("items", *fault["loc"])} for fault in faults]) from None
    if len(items) != count:
        raise _wrong(f"{len(items)} entries for {count} images; give one each, in their order")
    ids = [item.id for item in items if item.id is not None]
    if len(set(ids)) < len(ids):
        raise _wrong("an id is given twice")
    if any(image.startswith(f"{UPLOADS}/") for image in ids):
        raise _wrong(f"ids that start with {UPLOADS}/ are those of images without one")
    return items


def plan_addition(
    index: Index,
    domain: str,
    files: Sequence[str],
    names: Sequence[str | None],
    labels: Sequence[str | None],
    items: Sequence[ItemAsked],
) -> Addition:
    """What a job is to add, of N images.

    Args:
        index: to add to.
        domain: of all of them.
        files: their paths from the index folder.
        names: what the files were called.
        labels: their classes.
        items: what is given with them.

    Raises:
        Problem: 422 for a column that cannot be kept, a value of another type than the index has, or the id of an
            image that lies in a folder.
    """
    types, values = _columns(index, names, items)
    images: dict[str, Uploaded] = {}
    for file, label, item, own in zip(files, labels, items, values, strict=True):
        image = item.id or file
        images[image] = Uploaded(id=image, file=file, label=label, columns=own)
    if taken := ids_of_folders(index, list(images)):
        raise _wrong(f"the id {taken[0]!r} is that of an image that was indexed where it lies")
    return Addition(domain=domain, images=list(images.values()), types=types)


def ids_of_folders(index: Index, ids: Sequence[str]) -> list[str]:
    """Those of ``ids`` that are of items which nobody uploaded."""
    return [
        row["id"]
        for table, _ in index.scan(In(field="id", values=tuple(ids)))
        for row in table.select(["id", "path"]).to_pylist()
        if upload_of(row["path"]) is None
    ]


def _columns(
    index: Index, names: Sequence[str | None], items: Sequence[ItemAsked]
) -> tuple[dict[str, ColumnType], list[dict[str, Any]]]:
    if not index.store.keeps("own"):
        if any(item.columns for item in items):
            raise _wrong("this collection was made before items had columns of their own, and keeps none")
        return {}, [{} for _ in items]
    rows = [{_FILE_NAME: _plain(name), **item.columns} for name, item in zip(names, items, strict=True)]
    asked = dict.fromkeys(name for row in rows for name in row)
    try:
        table = pa.table({name: pa.array([row.get(name) for row in rows]) for name in asked})
    except (pa.ArrowException, TypeError, OverflowError):
        raise _wrong("the values of one column are not all of one type") from None
    own, faults = tidy_columns(table, cells=False)
    if faults:
        raise _wrong(faults[0])
    try:
        types, values = read_given(own, index.contents.description)
    except CatalogError as error:
        raise _wrong(str(error)) from None
    for row in values:
        if len(json.dumps(row)) > 30_000:
            raise _wrong("the columns of one image are above 30,000 letters")
    return types, values


def _plain(name: str | None) -> str | None:
    """A file's name without folders and what no terminal shows."""
    kept = "".join(letter for letter in (name or "").replace("\\", "/").rpartition("/")[2] if letter.isprintable())
    return kept[:_LONGEST] or None


def _wrong(what: str) -> Problem:
    return Problem(422, f"items: {what}", errors=[{"where": "items", "what": what}])
