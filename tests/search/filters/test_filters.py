"""Filters: the mask, the SQL and the text form agree with plain Python."""

import sqlite3

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosslens.search.filters.conditions import (
    DEEPEST,
    FIELDS,
    And,
    Eq,
    In,
    Not,
    Or,
    Prefix,
    Range,
    load_filter,
)
from crosslens.search.filters.text import parse_filter
from crosslens.search.stores.base import ITEM_SCHEMA
from crosslens.support.errors import ConfigError

TEXTS = ["photo", "it's", 'say "hi"', "emoji 🐈", "ÄÖ", "", "photo/dog/1.jpg", "100%", "a_b", "-- drop"]
NUMBERS = [0, 1, -5, 2**40]
text = st.sampled_from(TEXTS)
number = st.sampled_from(NUMBERS)
text_field = st.sampled_from(["id", "domain", "label"])
number_field = st.sampled_from(["size", "modified"])


def maybe(strategy):
    return st.none() | strategy


leaf = st.one_of(
    st.builds(Eq, field=text_field, value=text),
    st.builds(Eq, field=number_field, value=number),
    st.builds(In, field=text_field, values=st.lists(text, max_size=3).map(tuple)),
    st.builds(In, field=number_field, values=st.lists(number, max_size=3).map(tuple)),
    st.builds(Range, field=text_field, min=maybe(text), max=maybe(text)),
    st.builds(Range, field=number_field, min=maybe(number), max=maybe(number)),
    st.builds(Prefix, field=text_field, value=text),
)
several = lambda inner: st.lists(inner, min_size=1, max_size=3).map(tuple)  # noqa: E731
tree = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.builds(And, filters=several(inner)), st.builds(Or, filters=several(inner)), st.builds(Not, filter=inner)
    ),
    max_leaves=6,
)
row = st.fixed_dictionaries(
    {
        "id": text,
        "path": text,
        "root": maybe(text),
        "domain": text,
        "label": maybe(text),
        "size": maybe(number),
        "modified": maybe(number),
    }
)


def matches(found, item):
    """The slow formula."""
    match found:
        case And():
            return all(matches(part, item) for part in found.filters)
        case Or():
            return any(matches(part, item) for part in found.filters)
        case Not():
            return not matches(found.filter, item)
    value = item[found.field]
    if value is None:
        return False
    match found:
        case Eq():
            return value == found.value
        case In():
            return value in found.values
        case Prefix():
            return value.startswith(found.value)
    return (found.min is None or value >= found.min) and (found.max is None or value <= found.max)


@given(tree, st.lists(row, max_size=6))
def test_mask_is_the_slow_formula(found, rows):
    mask = found.mask(pa.Table.from_pylist(rows, schema=ITEM_SCHEMA))
    assert mask.dtype == bool
    assert mask.tolist() == [matches(found, item) for item in rows]


@given(tree, st.lists(row, max_size=6))
def test_sql_means_the_same_to_a_database(found, rows):
    database = sqlite3.connect(":memory:")
    database.create_function("starts_with", 2, lambda value, start: value is not None and value.startswith(start))
    database.execute("create table items (number, id, path, root, domain, label, size, modified)")
    for position, item in enumerate(rows):
        database.execute(
            "insert into items values (?,?,?,?,?,?,?,?)", (position, *(item[name] for name in FIELDS))
        )
    numbers = [n for (n,) in database.execute(f"select number from items where {found.sql()} order by number")]
    assert numbers == [position for position, item in enumerate(rows) if matches(found, item)], found.sql()


@given(tree)
def test_json_and_back(found):
    again = load_filter(found.model_dump(mode="json"))
    assert again == found
    assert hash(again) == hash(found)


PHOTO = Eq(field="domain", value="photo")
DAY = Range(field="modified", min=1769817600, max=1769817600 + 86400 - 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("domain = 'photo'", PHOTO),
        ('domain = "photo"', PHOTO),
        ("label = 'it''s'", Eq(field="label", value="it's")),
        ("label != 'a'", Not(filter=Eq(field="label", value="a"))),
        ("size >= 10", Range(field="size", min=10)),
        ("size < 10", And(filters=(Range(field="size", max=10), Not(filter=Eq(field="size", value=10))))),
        ("size between -1 and 5", Range(field="size", min=-1, max=5)),
        ("id starts with 'photo/dog/'", Prefix(field="id", value="photo/dog/")),
        ("modified <= '2026-01-31'", Range(field="modified", max=1769903999)),
        ("modified > '20260131'", And(filters=(Range(field="modified", min=1769817600), Not(filter=DAY)))),
        ("modified = '2026-01-31'", DAY),
        ("modified != '2026-01-31'", Not(filter=DAY)),
        (
            "modified between '2026-01-31' and '2026-02-01'",
            Range(field="modified", min=1769817600, max=1769817600 + 2 * 86400 - 1),
        ),
        (
            "modified in ('2026-01-31', 5)",
            Or(filters=(DAY, In(field="modified", values=(5,)))),
        ),
        ("modified <= '2026-01-31T00:00'", Range(field="modified", max=1769817600)),
        ("label is not null", Range(field="label")),
        ("label is null", Not(filter=Range(field="label"))),
        ("modified >= '2026-01-31'", Range(field="modified", min=1769817600)),
        ("modified >= '2026-01-31T01:00+01:00'", Range(field="modified", min=1769817600)),
        (
            "domain = 'photo' and not label in ('dog','cat')",
            And(filters=(PHOTO, Not(filter=In(field="label", values=("dog", "cat"))))),
        ),
        (
            "domain = 'photo' AND label NOT IN ('dog')",
            And(filters=(PHOTO, Not(filter=In(field="label", values=("dog",))))),
        ),
        (
            "domain = 'photo' or domain = 'photo' and size = 1",
            Or(filters=(PHOTO, And(filters=(PHOTO, Eq(field="size", value=1))))),
        ),
        (
            "(domain = 'photo' or domain = 'photo') and size = 1",
            And(filters=(Or(filters=(PHOTO, PHOTO)), Eq(field="size", value=1))),
        ),
        ("not not domain = 'photo'", PHOTO),
    ],
)
def test_text_form(text, expected):
    assert parse_filter(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'the end' is no field"),
        ("colour = 'red'", "is no field; the fields are id, path"),
        ("domain = photo", "at character 10: 'photo' is no value; write a whole number, or text in quotes"),
        ("domain = 'photo", "cannot be read; texts stand in quotes"),
        ("domain = 'photo' label = 'dog'", "at character 18.*join conditions with 'and' or 'or'"),
        ("size = 'big'", "size holds a whole number"),
        ("size = 1.5", "cannot be read"),
        ("size = 99999999999999999999", "too large"),
        ("label in 'dog'", "stands where '\\('"),
        ("(label = 'dog'", "stands where '\\)'"),
        ("label not = 'dog'", "after 'not' comes in, between"),
        ("size starts with '1'", "at character 1"),
        ("modified > 'yesterday'", "no day or time"),
        ("(" * 100 + "size = 1" + ")" * 100, f"more than {DEEPEST} brackets"),
        ("label = 'x'; drop table items", "cannot be read"),
        ("size > " + "9" * 5000, "too large"),
        (" or ".join(["size = 1"] * 10_001), "at most 10000"),
        (" and ".join(["size = 1"] * 10_001), "at most 10000"),
        ("label in (" + ", ".join(["'x'"] * 10_001) + ")", "at most 10000"),
        ("modified in (" + ", ".join(["'2026-01-31'"] * 10_001) + ")", "at most 10000"),
        ("label = 'caf\udce9'", "label holds UTF-8 text"),
        ("id starts with 'caf\udce9'", "id holds UTF-8 text"),
    ],
)
def test_text_that_is_wrong_says_where(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_filter(text)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"op": "like", "field": "id", "value": "x"}, "like"),
        ({"op": "eq", "field": "colour", "value": "x"}, "field"),
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


@given(st.integers(0, 4 * 86400), st.sampled_from(["<", "<=", ">", ">=", "=", "!="]))
def test_a_day_is_all_of_its_seconds(after, mark):
    first = 1769817600
    row = {"id": "a", "path": "/a", "domain": "photo", "modified": first - 86400 + after}
    table = pa.Table.from_pylist([row], schema=ITEM_SCHEMA)
    # A day compares as a whole: by its number.
    day, asked = row["modified"] // 86400, first // 86400
    expected = {
        "<": day < asked, "<=": day <= asked, ">": day > asked, ">=": day >= asked, "=": day == asked,
        "!=": day != asked,
    }[mark]  # fmt: skip
    assert parse_filter(f"modified {mark} '2026-01-31'").mask(table).tolist() == [expected]
