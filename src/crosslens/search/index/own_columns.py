"""What an index knows of its items' own columns: which there are, of what type, and whence their values come.

    "columns": {"price": {"type": "number", "given": true}, "taken": {"type": "date", "given": false}}

A column is given by people, in a manifest, a table or an upload, or read from the picture itself. Where both know
a value, what was given counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from crosslens.data.columns import ColumnType, plain_values, tidy_columns, type_of
from crosslens.images.facts import Facts
from crosslens.search.filters.own import write_own
from crosslens.search.index.pictures import Looked
from crosslens.search.stores.base import ITEM_SCHEMA
from crosslens.support.errors import CatalogError, StoreError

_OF_PICTURES: dict[str, ColumnType] = {
    "taken": "date",
    "camera": "text",
    "orientation": "text",
    "title": "text",
    "keywords": "list",
    "latitude": "number",
    "longitude": "number",
}
"""Columns that pictures fill themselves; see ``crosslens.images.facts``."""
MOST_BYTES = 60_000
"""Of one item's columns together, so that every store takes them."""


def columns_of(description: Mapping[str, Any]) -> dict[str, ColumnType]:
    """The columns of an index by name, and their types."""
    return {name: entry["type"] for name, entry in description.get("columns", {}).items()}


def given_columns(description: Mapping[str, Any]) -> frozenset[str]:
    """Those of its columns that people gave."""
    return frozenset(name for name, entry in description.get("columns", {}).items() if entry["given"])


def declare(description: dict[str, Any], types: Mapping[str, ColumnType], *, given: bool) -> dict[str, Any]:
    """A description that lists these columns too; what it says of one already stays, but that it is given now."""
    columns = dict(description.get("columns", {}))
    for name, kind in types.items():
        before = columns.get(name, {"type": kind, "given": False})
        columns[name] = {"type": before["type"], "given": before["given"] or given}
    return {**description, "columns": columns}


def read_given(
    own: pa.Table, description: Mapping[str, Any]
) -> tuple[dict[str, ColumnType], list[dict[str, Any]]]:
    """Columns that people give, of the types that the index has them in, and the plain values of each row.

    Args:
        own: N rows, as ``tidy_columns`` gives them.
        description: of the index.

    Returns:
        The type of each column that has a value or is known, and N dictionaries with all of them; None where a
        row has no value.

    Raises:
        CatalogError: when one holds another type than the index does.
    """
    known = _OF_PICTURES | columns_of(description)
    types, values = {}, {}
    for name, column in zip(own.column_names, own.columns, strict=True):
        if name not in known and column.null_count == len(column):
            # Nobody can tell yet of what type it will be.
            continue
        types[name] = known.get(name, type_of(column))
        values[name] = plain_values(name, column, types[name])
    return types, [{name: values[name][row] for name in values} for row in range(own.num_rows)]


def merge(
    before: str | None, facts: Facts | None, given: Mapping[str, Any], given_names: Iterable[str], image: str = ""
) -> str | None:
    """What an item's columns are now.

    Args:
        before: what they were, as ``write_own`` writes them; None for a new item.
        facts: what its picture says of itself; None where nobody looks now.
        given: what people give now; None takes a value away, but where all are None nothing is given: a table
            that is joined need not name every image.
        given_names: every column of the index that people ever gave.
        image: the item's id, for messages.

    Returns:
        As ``write_own``; None where nothing is known and nobody ever looked at the picture.

    Raises:
        CatalogError: when it is more than ``MOST_BYTES``.
    """
    if before is None and facts is None and not given:
        return None
    own: dict[str, Any] = json.loads(before) if before else {}
    if facts is not None:
        told = facts.columns
        for name in _OF_PICTURES:
            if name not in given_names or own.get(name) is None:
                own[name] = told.get(name)
    if any(value is not None for value in given.values()):
        own |= {name: value for name, value in given.items() if value is not None or name not in _OF_PICTURES}
    text = write_own(own)
    if len(text.encode()) > MOST_BYTES:
        raise CatalogError(
            f"the columns of {image} take {len(text.encode()):,} bytes; the most are {MOST_BYTES:,}"
        )
    return text


def merge_all(
    ids: Sequence[str],
    looked: Looked,
    given: Sequence[Mapping[str, Any]],
    given_names: Iterable[str],
    before: Sequence[str | None] | None = None,
) -> list[str | None]:
    """What the columns of several items are now; see ``merge``."""
    known = frozenset(given_names)
    texts = before or [None] * len(ids)
    rows = zip(ids, texts, given, strict=True)
    return [merge(text, looked.facts.get(image), row, known, image) for image, text, row in rows]


def types_of_facts(facts: Iterable[Facts]) -> dict[str, ColumnType]:
    """The columns that pictures fill themselves, of those that some of these do."""
    there = {name for found in facts for name in found.columns}
    return {name: kind for name, kind in _OF_PICTURES.items() if name in there}


def fold_own(items: pa.Table, description: Mapping[str, Any]) -> tuple[pa.Table, dict[str, ColumnType]]:
    """Items whose columns beside those of ``ITEM_SCHEMA`` are folded into ``own``, and the types of these.

    Raises:
        StoreError: for a column that cannot be kept, or whose type is not that of the index.
    """
    others = [name for name in items.column_names if name not in ITEM_SCHEMA.names]
    if not others:
        return items, {}
    own, faults = tidy_columns(items.select(others), cells=False)
    if faults:
        raise StoreError(f"{faults[0]}; nothing was added")
    try:
        types, given = read_given(own, description)
        names = {*given_columns(description), *types}
        has = "own" in items.column_names
        before: Sequence[str | None] = items.column("own").to_pylist() if has else [None] * len(given)
        merged = [merge(text, None, row, names) for text, row in zip(before, given, strict=True)]
    except CatalogError as error:
        raise StoreError(f"{error}; nothing was added") from error
    return with_own(items.drop_columns(others), merged), types


def with_own(items: pa.Table, own: Sequence[str | None]) -> pa.Table:
    """Items with these columns, N texts of ``write_own``, in place of what they had."""
    column = pa.array(own, pa.string())
    if "own" not in items.column_names:
        return items.append_column("own", column)
    return items.set_column(items.schema.get_field_index("own"), "own", column)
