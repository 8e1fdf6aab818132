"""Filters: the mask agrees with plain Python; the JSON form goes there and back."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosslens.search.filters.conditions import DEEPEST, Eq, load_filter
from crosslens.search.stores.base import ITEM_SCHEMA
from crosslens.support.errors import ConfigError
from testing.filter_trees import matches, row, tree


@given(tree, st.lists(row, max_size=6))
def test_mask_is_the_slow_formula(found, rows):
    mask = found.mask(pa.Table.from_pylist(rows, schema=ITEM_SCHEMA))
    assert mask.dtype == bool
    assert mask.tolist() == [matches(found, item) for item in rows]


@given(tree)
def test_json_and_back(found):
    again = load_filter(found.model_dump(mode="json"))
    assert again == found
    assert hash(again) == hash(found)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"op": "like", "field": "id", "value": "x"}, "like"),
        ({"op": "eq", "field": "", "value": "x"}, "field"),
        ({"op": "eq", "field": "price", "value": float("nan")}, "compared with text, a number"),
        ({"op": "eq", "field": "price", "value": [1]}, "compared with text, a number"),
        ({"op": "prefix", "field": "size", "value": "1"}, "starts with nothing"),
        ({"op": "own", "kind": "text", "test": {"op": "eq", "field": "price", "value": "x"}}, "own"),
        ({"op": "range", "field": "size", "min": 1000.0}, "at range.min: size holds a whole number, not 1000.0"),
        ({"op": "range", "field": "size", "max": "9"}, "at range.max: size holds a whole number, not '9'"),
        ({"op": "in", "field": "size", "values": [1, 2.5]}, "at in.values: size holds a whole number, not 2.5"),
        ({"op": "eq", "field": "label", "value": None}, "at eq.value: label holds text, not None"),
        ({"op": "prefix", "field": "label", "value": 3}, "at prefix.value: label holds text, not 3"),
        ({"op": "eq", "field": "size", "value": 2**63}, "at eq.value: this number is too large for size"),
        (
            {"op": "and", "filters": [{"op": "eq", "field": "id", "value": 1.5}]},
            "at and.filters.0.eq.value: id holds text, not 1.5",
        ),
        ({"op": "eq", "field": "size", "value": "x"}, "whole number"),
        ({"op": "eq", "field": "size", "value": True}, "whole number|valid"),
        ({"op": "eq", "field": "id", "value": "x", "extra": 1}, "extra"),
        ({"op": "and", "filters": []}, "at least 1"),
        ({"op": "in", "field": "id", "values": ["x"] * 10_001}, "at most 10000"),
        ("domain = 'photo'", "filter cannot be read"),
    ],
)
def test_json_that_is_wrong(value, message):
    with pytest.raises(ConfigError, match=message):
        load_filter(value)


def test_json_nested_too_deep():
    value = {"op": "eq", "field": "id", "value": "x"}
    for _ in range(DEEPEST):
        value = {"op": "not", "filter": value}
    with pytest.raises(ConfigError, match=f"more than {DEEPEST}"):
        load_filter(value)


def test_chunked_columns():
    table = pa.table({"domain": pa.chunked_array([["a", "b"], ["a"]])})
    assert np.array_equal(Eq(field="domain", value="a").mask(table), [True, False, True])
