"""Filters as people write them, bound to the columns that an index has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from crosslens.data.columns import ColumnType, described, read_span
from crosslens.data.names import Spelling, nfc
from crosslens.search.filters.conditions import (
    FIELDS,
    And,
    BaseFilter,
    Eq,
    Filter,
    In,
    Not,
    Or,
    Own,
    Prefix,
    Range,
)
from crosslens.support.errors import ConfigError
from crosslens.support.near_names import did_you_mean


def bind(where: Filter, columns: Mapping[str, ColumnType]) -> Filter:
    """The filter with a condition of the right type for each that names a column of people's own.

    A day stands for all of it, and a whole number for itself among numbers of any kind.

    Args:
        where: as it was written; one that is bound already stays as it is.
        columns: of an index, by name.

    Raises:
        ConfigError: for a field that the index has not, naming those it has; or a value of another type.
    """
    match where:
        case And() | Or():
            parts = tuple(bind(part, columns) for part in where.filters)
            return where if parts == where.filters else _joined(type(where), parts)
        case Not():
            inner = bind(where.filter, columns)
            return where if inner == where.filter else cast(Filter, Not.model_construct(filter=inner))
        case Eq() | In() | Range() | Prefix() if where.field not in FIELDS:
            name = find_column(where.field, columns)
            return _bound(where.model_copy(update={"field": name}), columns[name])
    return where


def find_column(name: str, columns: Mapping[str, ColumnType]) -> str:
    """The column of an index that is meant, whatever its spelling; see ``crosslens.data.names``.

    Raises:
        ConfigError: where there is none, or it could be two.
    """
    known = Spelling(columns).find(name)
    if known is None:
        have = ", ".join(columns) or "none"
        near = did_you_mean(name, [*FIELDS, *columns])
        raise ConfigError(
            f"{name!r} is no field; the fields are {', '.join(FIELDS)}, and of this index's own: {have}{near}"
        )
    return known


def conditions_on_own(where: Filter) -> Iterator[Own]:
    """The conditions on columns of people's own in a filter that is bound."""
    match cast(BaseFilter, where):
        case Own() as own:
            yield own
        case And(filters=parts) | Or(filters=parts):
            for part in parts:
                yield from conditions_on_own(part)
        case Not(filter=inner):
            yield from conditions_on_own(inner)


def _bound(test: Eq | In | Range | Prefix, kind: ColumnType) -> Filter:
    if isinstance(test, Prefix) and kind != "text":
        raise ConfigError(f"filter: {test.field} holds {described(kind)}; 'starts with' is for texts alone")
    if isinstance(test, Range) and kind in ("boolean", "list") and (test.min, test.max) != (None, None):
        raise ConfigError(f"filter: {test.field} holds {described(kind)}, which have no order; use = or in")
    if kind == "date":
        return _of_dates(test)
    checked = {name: _checked(getattr(test, name), test, kind) for name in _ENDS[type(test)]}
    return _own(kind, test.model_copy(update=checked))


_ENDS: dict[type[BaseFilter], tuple[str, ...]] = {
    Eq: ("value",), In: ("values",), Range: ("min", "max"), Prefix: ("value",),
}  # fmt: skip


def _of_dates(test: Eq | In | Range | Prefix) -> Filter:
    name = test.field
    if isinstance(test, Range):
        low = None if test.min is None else _span(name, test.min)[0]
        high = None if test.max is None else _span(name, test.max)[1]
        return _own("date", Range(field=name, min=low, max=high))
    values = test.values if isinstance(test, In) else (test.value,)
    if not values:
        return _own("date", test)
    ranges = [_own("date", Range(field=name, min=low, max=high)) for low, high in (_span(name, v) for v in values)]
    return ranges[0] if len(ranges) == 1 else _joined(Or, ranges)


def _span(name: str, value: Any) -> tuple[str, str]:
    try:
        return read_span(value)
    except (TypeError, ValueError):
        raise ConfigError(
            f"filter: {name} holds dates; write '2026-01-31' or '2026-01-31T12:00', not {value!r}"
        ) from None


def _checked(value: Any, test: Eq | In | Range | Prefix, kind: ColumnType) -> Any:
    if value is None:
        return None
    if isinstance(value, tuple):
        return tuple(_checked(one, test, kind) for one in value)
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind == "number" and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind in ("text", "list") and isinstance(value, str):
        return nfc(value)
    wanted = {"boolean": "true or false without quotes", "number": "a number without quotes"}
    raise ConfigError(
        f"filter: {test.field} holds {described(kind)}; write {wanted.get(kind, 'text in quotes')}, not {value!r}"
    )


def _own(kind: ColumnType, test: Eq | In | Range | Prefix) -> Filter:
    return cast(Filter, Own(kind=kind, test=test))


def _joined(kind: type[And] | type[Or], parts: Sequence[Filter]) -> Filter:
    # Own conditions are none that a client may write, so the checks of what is read do not know them.
    return cast(Filter, kind.model_construct(filters=tuple(parts)))
