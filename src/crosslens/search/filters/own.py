"""Columns of people's own as the items of an index hold them: one JSON object a row, read one column at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from crosslens.data.columns import ColumnType

_ARROW: dict[ColumnType, pa.DataType] = {
    "text": pa.string(),
    "number": pa.float64(),
    "date": pa.string(),
    "boolean": pa.bool_(),
    "list": pa.list_(pa.string()),
}
"""How each type is compared. Dates are texts of one form, which compare as the dates do."""


def write_own(values: Mapping[str, Any]) -> str:
    """What one row holds of its columns: a JSON object without nulls, its names in order."""
    there = {name: values[name] for name in sorted(values) if values[name] is not None}
    return json.dumps(there, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def read_own(column: pa.ChunkedArray, name: str, kind: ColumnType) -> pa.Array:
    """One column of people's own, null where a row has no value.

    Args:
        column: N JSON objects, or null.
        name: of the column.
        kind: its type.

    Returns:
        N values of the type ``_ARROW`` names.
    """
    import pyarrow.json as pa_json

    lines = "\n".join(text or "{}" for text in column.to_pylist())
    if not lines:
        return pa.nulls(0, _ARROW[kind])
    parsed = pa_json.read_json(
        pa.BufferReader(lines.encode()),
        parse_options=pa_json.ParseOptions(
            explicit_schema=pa.schema([(name, _ARROW[kind])]), unexpected_field_behavior="ignore"
        ),
    )
    return parsed.column(name).combine_chunks()
