"""Columns of people's own: their types by what they hold, in every file that may hold them, and joined."""

import datetime
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crosslens.data.catalog import Catalog, concatenate
from crosslens.data.columns import plain_values, read_span, tidy_columns, type_of
from crosslens.data.joining import join_columns
from crosslens.support.errors import CatalogError

DAY, NOON = datetime.date(2024, 1, 31), datetime.datetime(2024, 1, 31, 12)
EAST = datetime.timezone(datetime.timedelta(hours=2))


@pytest.mark.parametrize(
    ("values", "cells", "kind", "expected"),
    [
        (["1", "-2", None], True, "number", [1, -2, None]),
        (["1.5", "2e3", ""], True, "number", [1.5, 2000.0, None]),
        (["1", "2"], False, "text", ["1", "2"]),
        (["007", "12"], True, "text", ["007", "12"]),
        (["1,5"], True, "text", ["1,5"]),
        ([str(2**60), "1"], True, "text", [str(2**60), "1"]),
        (["true", "False"], True, "boolean", [True, False]),
        (["true", "yes"], True, "text", ["true", "yes"]),
        (["2024-01-31", None], True, "date", ["2024-01-31", None]),
        (["2024-01-31"], False, "date", ["2024-01-31"]),
        (
            ["2024-01-31 12:00", "2024-01-31T12:00:01.5"],
            True,
            "date",
            ["2024-01-31T12:00:00", "2024-01-31T12:00:01"],
        ),
        (["2024-01-31T12:00:00+02:00"], True, "date", ["2024-01-31T10:00:00"]),
        (["2024-02-31"], True, "text", ["2024-02-31"]),
        (['["a", "b"]', "[]"], True, "list", [["a", "b"], None]),
        (["[1]"], True, "text", ["[1]"]),
        (["Cafe\u0301"], True, "text", ["Café"]),
        ([1.5, float("nan")], False, "number", [1.5, None]),
        ([Decimal("1.50")], False, "number", [1.5]),
        ([2**60], False, "text", [str(2**60)]),
        ([DAY], False, "date", ["2024-01-31"]),
        ([NOON], False, "date", ["2024-01-31T12:00:00"]),
        ([NOON.replace(tzinfo=EAST)], False, "date", ["2024-01-31T10:00:00"]),
        ([["a", None], []], False, "list", [["a"], None]),
        ([True, None], False, "boolean", [True, None]),
        ([None], False, "text", [None]),
    ],
)
def test_types_are_told_by_what_is_there(values, cells, kind, expected):
    table, notes = tidy_columns(pa.table({"c": values}), cells=cells)
    assert (type_of(table.column("c")), notes) == (kind, [])
    assert plain_values("c", table.column("c"), kind) == expected


def test_what_cannot_be_kept_is_said():
    table = pa.table({"size": [1], " a ": [2], "a": [3], "b": [{"x": 1}], "Id": [4], "l": [[1]]})
    kept, notes = tidy_columns(table, cells=False)
    assert kept.to_pydict() == {"a": [2]}
    assert [note.split("'")[1] for note in notes] == ["size", "a", "b", "Id", "l"]


def test_another_type_than_the_index_has():
    column = pa.array([1, None])
    assert plain_values("c", column, "text") == ["1", None]
    assert plain_values("c", pa.array([DAY]), "text") == ["2024-01-31"]
    assert plain_values("c", pa.nulls(2, pa.string()), "number") == [None, None]
    with pytest.raises(CatalogError, match="'c' holds numbers here and dates in the index"):
        plain_values("c", column, "date")


def test_spans_of_days_and_moments():
    assert read_span("2024-01-31") == ("2024-01-31", "2024-01-31T23:59:59")
    assert read_span("2024-01-31T12:00+02:00") == ("2024-01-31T10:00:00", "2024-01-31T10:00:00")
    for wrong in ("yesterday", "2024-02-31", ""):
        with pytest.raises(ValueError, match=r"."):
            read_span(wrong)


ROWS = [
    {
        "path": "photo/a.jpg",
        "domain": "photo",
        "price": 19.5,
        "tags": ["x", "y"],
        "day": "2024-01-31",
        "sold": True,
    },
    {"path": "photo/b.jpg", "domain": "photo", "price": None, "tags": None, "day": None, "sold": None},
]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_manifests_keep_columns_in_every_form(tmp_path, suffix):
    file = tmp_path / f"m.{suffix}"
    if suffix == "jsonl":
        file.write_text(
            "\n".join(json.dumps({k: v for k, v in row.items() if v is not None}) for row in ROWS) + "\n"
        )
    elif suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), file)
    else:
        file.write_text('path,domain,price,tags,day,sold\n'
                        'photo/a.jpg,photo,19.5,"[""x"", ""y""]",2024-01-31,true\n'
                        "photo/b.jpg,photo,,,,\n")  # fmt: skip
    catalog = Catalog.open(file)
    own = [{key: row[key] for key in ("price", "tags", "day", "sold")} for row in ROWS]
    own[0]["day"] = DAY
    assert catalog.own.to_pylist() == own
    again = tmp_path / f"again.{'csv' if suffix == 'csv' else 'parquet'}"
    catalog.write(again)
    assert Catalog.open(again).own.to_pylist() == own
    assert catalog.hide_labels().own.num_columns == 0
    both = concatenate([catalog.take([0]), Catalog.from_rows([{"path": "c", "domain": "d"}], catalog.root)])
    assert both.own.column("price").to_pylist() == [19.5, None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]\n", "line 1: expected an object"),
        ('{"path": "a", "domain": "d"}\n{"path"\n', "line 2 is no JSON"),
        (
            '{"path": "a", "domain": "d", "x": 1}\n{"path": "b", "domain": "d", "x": "y"}\n',
            "'x' are not all of one type",
        ),
        ("\n", "no column 'path'"),
    ],
)
def test_bad_json_lines(tmp_path, text, message):
    (tmp_path / "m.jsonl").write_text(text)
    with pytest.raises(CatalogError, match=message):
        Catalog.open(tmp_path / "m.jsonl")


@pytest.mark.parametrize(
    "text",
    [
        "path,price\nphoto/1.jpg,5\nphoto/9.jpg,6\n",
        "PATH;Price\n{root}/photo/1.jpg;5\n",
        "id,price\nphoto/1.jpg,5\n",
        "path,price\ndata/photo/1.jpg,5\n",
    ],
)
def test_a_table_is_joined_by_path_or_id(tree, tmp_path, text):
    root = tree("photo/1.jpg", "photo/2.jpg")
    file = tmp_path / "prices.csv"
    file.write_text(text.format(root=root))
    joined = join_columns(Catalog.open(root), file)
    assert list(joined.own.to_pydict().values()) == [[5, None]]
    assert joined.ids == ["photo/1.jpg", "photo/2.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,price\nx.jpg,5\n", "no row names an image of .* by its path, such as 'x.jpg'"),
        ("name,price\nphoto/1.jpg,5\n", "no column 'path' or 'id'"),
        ("path,label\nphoto/1.jpg,cat\n", "no columns of its own"),
        ("path,price\nphoto/1.jpg,5\nphoto/1.jpg,6\n", "row 2 names 'photo/1.jpg', as row 1 does"),
    ],
)
def test_tables_that_cannot_be_joined(tree, tmp_path, text, message):
    root = tree("photo/1.jpg", "photo/2.jpg")
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(CatalogError, match=message):
        join_columns(Catalog.open(root), tmp_path / "t.csv")
    with pytest.raises(CatalogError, match="is no table of columns"):
        join_columns(Catalog.open(root), tmp_path / "none.csv")


@pytest.mark.parametrize("source", ["ftp://host/pictures", "https://host/a.jpg", "http:/host"])
def test_addresses_that_nothing_reads_are_named(source):
    with pytest.raises(CatalogError, match=f"{source}: such addresses are not read; s3://"):
        Catalog.open(source)
