"""Filters over the items of an index: one small tree, the same in Python, in JSON and in text.

    {"op": "and", "filters": [{"op": "eq", "field": "domain", "value": "photo"},
                              {"op": "range", "field": "size", "min": 1000}]}
    domain = 'photo' and size >= 1000

Texts are compared as they read: an accent is the same whether one character holds it (NFC) or two (NFD), in the
filter as in the index. A missing value (null) matches no ``eq``, ``in``, ``range`` or ``prefix``, and so it
matches their ``not``.

A field that no item has by itself is a column of people's own. ``binding.bind`` finds it among those of an index
and puts a condition on it, an ``Own``, in the place of one that merely names it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from crosslens.data.columns import ColumnType
from crosslens.data.names import nfc, stored_forms
from crosslens.search.filters.own import read_own
from crosslens.support.errors import ConfigError
from crosslens.support.utf8 import is_utf8

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TextField = Literal["id", "path", "root", "domain", "label"]
_NumberField = Literal["size", "modified"]
_FieldName = Annotated[str, Field(min_length=1, max_length=1000)]
"""One of ``FIELDS``, or the name of a column of people's own."""
NUMBERS: tuple[str, ...] = get_args(_NumberField)
FIELDS: tuple[str, ...] = get_args(_TextField) + NUMBERS
Value = str | int | float | bool
"""What fields are compared with. ``FIELDS`` hold texts and whole numbers alone."""
DEEPEST = 32
"""How many filters may stand inside one another."""
MOST_VALUES = 10_000
"""How many values one ``in``, and filters one ``and`` or ``or``, may hold."""


def _fitting(value: Any, info: ValidationInfo) -> Any:
    """A value as it is where it is of its field's type; said here, a wrong one is named once and in its place."""
    name = info.data.get("field")
    if name is None:
        # The field itself is wrong, which is said already.
        return value
    if name in FIELDS:
        wanted: Any = int if name in NUMBERS else str
        if not isinstance(value, wanted) or isinstance(value, bool):
            kind = "a whole number" if wanted is int else "text"
            raise ValueError(f"{name} holds {kind}, not {_told(value)}")
    elif not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{name} is compared with text, a number or a truth value, not {_told(value)}")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"this number is too large for {name}")
    if isinstance(value, str) and not is_utf8(value):
        raise ValueError(f"{name} holds UTF-8 text, which this value is not")
    return value


def _told(value: Any) -> str:
    told = repr(value)
    return told if len(told) <= 40 else told[:39] + "…"


class BaseFilter(BaseModel, ABC):
    """What every filter can do. A store that asks in a language of its own compiles the tree in its own file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @abstractmethod
    def mask(self, table: pa.Table) -> NDArray[np.bool_]:
        """Which of the N rows of ``table`` match ``(N,)``."""

    @property
    def depth(self) -> int:
        """How many filters stand inside one another, this one included."""
        return 1


class _Leaf(BaseFilter):
    field: _FieldName

    def mask(self, table: pa.Table) -> NDArray[np.bool_]:
        """Which rows match ``(N,)``."""
        return self.of(table.column(self.field))

    @abstractmethod
    def of(self, column: pa.ChunkedArray | pa.Array) -> NDArray[np.bool_]:
        """Which of the field's N values match ``(N,)``."""


class Eq(_Leaf):
    """The field has this value."""

    op: Literal["eq"] = "eq"
    value: Value

    _typed = field_validator("value", mode="before")(_fitting)

    def of(self, column: pa.ChunkedArray | pa.Array) -> NDArray[np.bool_]:
        """Which values match ``(N,)``."""
        return _among(column, self.stored)

    @property
    def stored(self) -> list[Value]:
        """The value in every form that an index may hold it in."""
        return _stored([self.value])


class In(_Leaf):
    """The field has one of these values; with none of them nothing matches."""

    op: Literal["in"] = "in"
    values: Annotated[tuple[Value, ...], Field(max_length=MOST_VALUES, strict=False)]

    @field_validator("values", mode="before")
    @classmethod
    def _typed(cls, values: Any, info: ValidationInfo) -> Any:
        return [_fitting(value, info) for value in values] if isinstance(values, list | tuple) else values

    def of(self, column: pa.ChunkedArray | pa.Array) -> NDArray[np.bool_]:
        """Which values match ``(N,)``."""
        return _among(column, self.stored)

    @property
    def stored(self) -> list[Value]:
        """The values in every form that an index may hold them in."""
        return _stored(self.values)


class Range(_Leaf):
    """The field lies between ``min`` and ``max``, both included; either may be missing.

    Without both, every row matches that has a value at all. Texts compare by code points, those of domains and
    labels in NFC, in which these are kept.
    """

    op: Literal["range"] = "range"
    min: Value | None = None
    max: Value | None = None

    @field_validator("min", "max", mode="before")
    @classmethod
    def _typed(cls, value: Any, info: ValidationInfo) -> Any:
        fitting = None if value is None else _fitting(value, info)
        named = info.data.get("field") in ("domain", "label")
        return nfc(fitting) if named and isinstance(fitting, str) else fitting

    def of(self, column: pa.ChunkedArray | pa.Array) -> NDArray[np.bool_]:
        """Which values match ``(N,)``."""
        found = _truth(pc.is_valid(column))
        if self.min is not None:
            found &= _truth(pc.greater_equal(column, self.min))
        if self.max is not None:
            found &= _truth(pc.less_equal(column, self.max))
        return found


class Prefix(_Leaf):
    """The text starts with ``value``; every letter stands for itself."""

    op: Literal["prefix"] = "prefix"
    value: str

    _typed = field_validator("value", mode="before")(_fitting)

    @field_validator("field")
    @classmethod
    def _a_text(cls, name: str) -> str:
        if name in NUMBERS:
            raise ValueError(f"{name} holds a whole number, which starts with nothing")
        return name

    def of(self, column: pa.ChunkedArray | pa.Array) -> NDArray[np.bool_]:
        """Which values match ``(N,)``."""
        found = [_truth(pc.starts_with(column, start)) for start in self.stored]
        return np.array(np.logical_or.reduce(found), dtype=bool)

    @property
    def stored(self) -> tuple[str, ...]:
        """The start in every form that an index may hold it in."""
        return stored_forms(self.value)


class Own(BaseFilter):
    """A condition on a column of people's own, whose type is known. ``bind`` makes it; no client writes it.

    Of a list it holds where it holds of one of its texts.
    """

    kind: ColumnType
    test: Eq | In | Range | Prefix

    def mask(self, table: pa.Table) -> NDArray[np.bool_]:
        """Which rows match ``(N,)``."""
        column = read_own(table.column("own"), self.test.field, self.kind)
        if self.kind != "list":
            return self.test.of(column)
        found = np.zeros(len(column), dtype=bool)
        rows = pc.list_parent_indices(column).to_numpy(zero_copy_only=False)
        found[rows[self.test.of(pc.list_flatten(column))]] = True
        return found


class _Several(BaseFilter):
    filters: Annotated[tuple[Filter, ...], Field(min_length=1, max_length=MOST_VALUES, strict=False)]

    @property
    def depth(self) -> int:
        return 1 + max(part.depth for part in self.filters)

    @model_validator(mode="after")
    def _shallow(self) -> _Several:
        _require_shallow(self)
        return self


class And(_Several):
    """All of the filters match."""

    op: Literal["and"] = "and"

    def mask(self, table: pa.Table) -> NDArray[np.bool_]:
        """Which rows match ``(N,)``."""
        return np.logical_and.reduce([part.mask(table) for part in self.filters])


class Or(_Several):
    """At least one of the filters matches."""

    op: Literal["or"] = "or"

    def mask(self, table: pa.Table) -> NDArray[np.bool_]:
        """Which rows match ``(N,)``."""
        return np.logical_or.reduce([part.mask(table) for part in self.filters])


class Not(BaseFilter):
    """The filter does not match."""

    op: Literal["not"] = "not"
    filter: Filter

    @property
    def depth(self) -> int:
        """How many filters stand inside one another."""
        return 1 + self.filter.depth

    @model_validator(mode="after")
    def _shallow(self) -> Not:
        _require_shallow(self)
        return self

    def mask(self, table: pa.Table) -> NDArray[np.bool_]:
        """Which rows match ``(N,)``."""
        return ~self.filter.mask(table)


Filter = Annotated[Eq | In | Range | Prefix | And | Or | Not, Field(discriminator="op")]
for _model in (And, Or, Not):
    _model.model_rebuild()
_ADAPTER: TypeAdapter[Any] = TypeAdapter(Filter)


def load_filter(value: Any) -> Filter:
    """A filter from its JSON form, as plain values.

    Raises:
        ConfigError: naming what is wrong and where.
    """
    try:
        return _ADAPTER.validate_python(value)
    except ValidationError as error:
        wrong = error.errors()[0]
        place = ".".join(map(str, wrong["loc"]))
        why = wrong["msg"].removeprefix("Value error, ")
        raise ConfigError(f"the filter cannot be read{f' at {place}' if place else ''}: {why}") from error


def _stored(values: Sequence[Value]) -> list[Value]:
    forms: dict[Value, None] = {}
    for value in values:
        forms |= dict.fromkeys(stored_forms(value) if isinstance(value, str) else (value,))
    return list(forms)


def _among(column: pa.ChunkedArray | pa.Array, values: Sequence[Value]) -> NDArray[np.bool_]:
    return _truth(pc.is_in(column, value_set=pa.array(values, column.type), skip_nulls=True))


def _truth(found: pa.ChunkedArray | pa.Array) -> NDArray[np.bool_]:
    return np.array(found.fill_null(False).__array__(), dtype=bool)


def _require_shallow(found: BaseFilter) -> None:
    if found.depth > DEEPEST:
        raise ValueError(f"more than {DEEPEST} filters stand inside one another")
