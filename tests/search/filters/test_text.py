"""Filters as text."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosslens.search.filters.conditions import DEEPEST, And, Eq, In, Not, Or, Prefix, Range
from crosslens.search.filters.text import parse_filter
from crosslens.search.stores.base import ITEM_SCHEMA
from crosslens.support.errors import ConfigError

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
        ("price >= 1.5e2", Range(field="price", min=150.0)),
        (
            "Price = -3 and sold != TRUE",
            And(filters=(Eq(field="Price", value=-3), Not(filter=Eq(field="sold", value=True)))),
        ),
        ("`my column` in ('a', 'b')", In(field="my column", values=("a", "b"))),
        ("größe is null", Not(filter=Range(field="größe"))),
    ],
)
def test_text_form(text, expected):
    assert parse_filter(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'the end' is no field"),
        ("'colour' = 'red'", "is no field; the fields are id, path"),
        ("domain = photo", "at character 10: 'photo' is no value; write a whole number, or text in quotes"),
        ("domain = 'photo", "cannot be read; texts stand in quotes"),
        ("domain = 'photo' label = 'dog'", "at character 18.*join conditions with 'and' or 'or'"),
        ("size = 'big'", "size holds a whole number"),
        ("size = 1.5", "size holds a whole number, not 1.5"),
        ("size = true", "is no value"),
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
