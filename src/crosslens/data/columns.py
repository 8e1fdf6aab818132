"""Columns of people's own: what a table says of images beside what crosslens asks of it, and of what type it is.

A column is brought to one of five types, whatever file it stands in:

    text       string
    number     int64 or float64, finite
    date       date32, or timestamp in seconds: UTC where a time zone is written, as it is written otherwise
    boolean    bool
    list       list of string
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal

import pyarrow as pa
import pyarrow.types as pa_types

from crosslens.data.names import nfc
from crosslens.support.errors import CatalogError
from crosslens.support.utf8 import is_utf8

ColumnType = Literal["text", "number", "date", "boolean", "list"]
_RESERVED = frozenset({"id", "path", "root", "domain", "label", "size", "modified", "score"})
"""What every item and hit has already; a column of people's own is called otherwise."""
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
"""``007`` is a number of a thing, not an amount, and stays text."""
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?")
_EXACT = 2**53
"""From here on whole numbers are not told apart as float64, in which they are compared."""


def tidy_columns(table: pa.Table, *, cells: bool) -> tuple[pa.Table, list[str]]:
    """The columns that can be kept, each of one of the five types, and why others are not, one sentence each.

    Args:
        table: any columns; names are stripped.
        cells: whether every value is text because the file knows nothing else, as CSV: numbers, truth values and
            JSON lists of text are told by their look then. Dates in text always are.
    """
    kept: dict[str, pa.Array] = {}
    notes = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        called = nfc(str(name).strip())
        if not called or not is_utf8(called):
            notes.append("a column without a name is not kept")
        elif called.casefold() in _RESERVED:
            notes.append(f"the column {called!r} is not kept: every image has one of that name; rename it")
        elif called in kept:
            notes.append(f"the column {called!r} is there twice; the first one is kept")
        elif (tidy := _tidy(column, cells)) is None:
            notes.append(f"the column {called!r} is not kept: it holds {column.type}")
        else:
            kept[called] = tidy
    return pa.table(kept), notes


def type_of(column: pa.ChunkedArray | pa.Array) -> ColumnType:
    """The type of a column that ``tidy_columns`` gave."""
    kind = column.type
    if pa_types.is_boolean(kind):
        return "boolean"
    if pa_types.is_integer(kind) or pa_types.is_floating(kind):
        return "number"
    if pa_types.is_date(kind) or pa_types.is_timestamp(kind):
        return "date"
    return "list" if pa_types.is_list(kind) else "text"


def plain_values(name: str, column: pa.ChunkedArray | pa.Array, kind: ColumnType) -> list[Any]:
    """The values of a column that ``tidy_columns`` gave as plain ones of a type, None where there is none.

    Text is given for whatever is not text; nothing else is taken for another type.

    Returns:
        Of ``date``: ``2026-01-31``, or ``2026-01-31T12:00:00``.

    Raises:
        CatalogError: when the column is of another type.
    """
    found = type_of(column)
    values: list[Any] = column.to_pylist()
    if found not in (kind, "list") and kind == "text":
        return [None if value is None else _as_text(value) for value in values]
    if found != kind:
        if column.null_count == len(column):
            return values
        raise CatalogError(
            f"the column {name!r} holds {described(found)} here and {described(kind)} in the index; give it"
            " another name, or make its values fit"
        )
    if kind == "date":
        return [None if value is None else value.isoformat() for value in values]
    return values


def described(kind: ColumnType) -> str:
    """A type in words: "numbers"."""
    words = {"text": "text", "number": "numbers", "date": "dates", "boolean": "true or false"}
    return words.get(kind, "lists of text")


def read_span(text: str) -> tuple[str, str]:
    """A day or a moment as the first and the last second it stands for, in the form dates are kept in.

    Raises:
        ValueError: when it is neither.
    """
    if _DAY.fullmatch(text):
        return date.fromisoformat(text).isoformat(), f"{text}T23:59:59"
    moment = _moment(text).isoformat()
    return moment, moment


def _tidy(column: pa.ChunkedArray, cells: bool) -> pa.Array | None:
    kind = column.type
    values = column.to_pylist()
    if pa_types.is_dictionary(kind):
        kind = kind.value_type
    if pa_types.is_null(kind):
        return pa.array(values, pa.string())
    if pa_types.is_string(kind) or pa_types.is_large_string(kind) or str(kind) == "string_view":
        return _of_texts([value if value is None else nfc(value) or None for value in values], cells)
    if pa_types.is_boolean(kind):
        return pa.array(values, pa.bool_())
    if pa_types.is_integer(kind) or pa_types.is_floating(kind) or pa_types.is_decimal(kind):
        return _of_numbers(values)
    if pa_types.is_date(kind):
        return pa.array(values, pa.date32())
    if pa_types.is_timestamp(kind):
        return _moments([value if value is None else _plain_moment(value) for value in values])
    if pa_types.is_list(kind) or pa_types.is_large_list(kind) or pa_types.is_fixed_size_list(kind):
        return _of_lists(values)
    return None


def _of_texts(values: Sequence[str | None], cells: bool) -> pa.Array:
    """Texts as what all of them look like."""
    there = [value.strip() for value in values if value is not None]
    if not there:
        return pa.array(values, pa.string())

    def each(read: Callable[[str], Any]) -> list[Any]:
        return [None if value is None else read(value.strip()) for value in values]

    if all(map(_DAY.fullmatch, there)) or all(map(_MOMENT.fullmatch, there)):
        try:
            if _DAY.fullmatch(there[0]):
                return pa.array(each(date.fromisoformat), pa.date32())
            return _moments(each(_moment))
        except ValueError:  # the 31st of February
            return pa.array(values, pa.string())
    if cells and all(value.casefold() in ("true", "false") for value in there):
        return pa.array(each(lambda value: value.casefold() == "true"), pa.bool_())
    if cells and all(map(_NUMBER.fullmatch, there)):
        numbers = each(lambda value: int(value) if re.fullmatch(r"-?\d+", value) else float(value))
        if all(value is None or (math.isfinite(value) and abs(value) < _EXACT) for value in numbers):
            return _of_numbers(numbers)
    if cells and all(value.startswith("[") and value.endswith("]") for value in there):
        try:
            lists = _of_lists(each(json.loads))
        except ValueError:
            lists = None
        if lists is not None:
            return lists
    return pa.array(values, pa.string())


def _of_numbers(values: Sequence[Any]) -> pa.Array:
    plain = [float(value) if isinstance(value, Decimal) else value for value in values]
    plain = [None if value is None or not math.isfinite(value) else value for value in plain]
    if any(isinstance(value, float) for value in plain):
        return pa.array([None if value is None else float(value) for value in plain], pa.float64())
    if any(value is not None and abs(value) >= _EXACT for value in plain):
        return pa.array([None if value is None else str(value) for value in plain], pa.string())
    return pa.array(plain, pa.int64())


def _of_lists(values: Sequence[Any]) -> pa.Array | None:
    wanted = [None if value is None else [nfc(one) for one in value if one] for value in values if _is_list(value)]
    if len(wanted) < len(values):
        return None
    return pa.array([value or None for value in wanted], pa.list_(pa.string()))


def _is_list(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, list) and all(one is None or isinstance(one, str) for one in value)


def _moment(text: str) -> datetime:
    return _plain_moment(datetime.fromisoformat(text))


def _plain_moment(value: datetime) -> datetime:
    """In whole seconds and without a time zone: UTC where there was one."""
    plain = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    return plain.replace(microsecond=0)


def _moments(values: Sequence[datetime | None]) -> pa.Array:
    return pa.array(values, pa.timestamp("s"))


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else json.dumps(value)
