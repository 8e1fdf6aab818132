"""Options of a search, bound to the columns that an index has."""

from __future__ import annotations

from collections.abc import Mapping

from crosslens.data.columns import ColumnType
from crosslens.search.filters.binding import bind, find_column
from crosslens.search.query.query import SORTS, SearchOptions
from crosslens.support.errors import ConfigError


def bind_options(options: SearchOptions, columns: Mapping[str, ColumnType]) -> SearchOptions:
    """The options with their filter bound (``crosslens.search.filters.binding``) and their order's name checked.

    Raises:
        ConfigError: for a field that the index has not, a value of another type, or a column that has no order.
    """
    return options.model_copy(
        update={
            "where": None if options.where is None else bind(options.where, columns),
            "sort": _bound_sort(options.sort, columns),
        }
    )


def _bound_sort(sort: str, columns: Mapping[str, ColumnType]) -> str:
    name, sign = sort.removeprefix("-"), "-" if sort.startswith("-") else ""
    if name in SORTS and sort != "-score":
        return sort
    try:
        found = find_column(name, columns)
    except ConfigError as error:
        have = ", ".join((*SORTS, *columns))
        raise ConfigError(
            f"sort = {sort!r}: hits are sorted by {have}; - in front turns the order round"
        ) from error
    if columns[found] == "list":
        raise ConfigError(f"sort = {sort!r}: lists of text have no order")
    return f"{sign}{found}"
