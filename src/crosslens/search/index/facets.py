"""Facets: how many items have which values of their own columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crosslens.data.columns import ColumnType
from crosslens.search.filters.conditions import Filter
from crosslens.search.filters.own import read_own
from crosslens.search.stores.base import OpenStore

MOST_VALUES = 50
"""Values of one column that are listed, the most frequent first."""


@dataclass
class Facet:
    """What the items have in one column.

    Attributes:
        type: of the column.
        items: how many have a value.
        values: of texts, truth values and lists: the most frequent, and how many items have each.
        more: how many other values there are.
        min: of numbers and dates: the least.
        max: the largest.
    """

    type: ColumnType
    items: int = 0
    values: list[tuple[str | bool, int]] = field(default_factory=list)
    more: int = 0
    min: float | str | None = None
    max: float | str | None = None


def count_facets(
    store: OpenStore, columns: Mapping[str, ColumnType], where: Filter | None = None
) -> dict[str, Facet]:
    """The facets of all items, or of those that match, by column.

    Args:
        store: of the items.
        columns: of the index, and their types.
        where: bound to them.
    """
    facets = {name: Facet(kind) for name, kind in columns.items()}
    counted: dict[str, Counter[Any]] = {name: Counter() for name in columns}
    for table, _ in store.scan(where, batch=65_536):
        for name, facet in facets.items():
            values = [
                value for value in read_own(table.column("own"), name, facet.type).to_pylist() if value is not None
            ]
            facet.items += len(values)
            if facet.type in ("number", "date"):
                ends = [end for end in (facet.min, facet.max) if end is not None]
                facet.min = min([*values, *ends], default=None)
                facet.max = max([*values, *ends], default=None)
            elif facet.type == "list":
                counted[name].update(one for value in values for one in dict.fromkeys(value))
            else:
                counted[name].update(values)
    for name, facet in facets.items():
        ordered = sorted(counted[name].items(), key=lambda entry: (-entry[1], str(entry[0])))
        facet.values, facet.more = ordered[:MOST_VALUES], max(0, len(ordered) - MOST_VALUES)
    return facets
