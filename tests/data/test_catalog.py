from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosslens.data.catalog import SCHEMA, Catalog, concatenate
from crosslens.data.names import nfc, read_name
from crosslens.support.errors import CatalogError, LabelsHiddenError

ROWS = [
    {"path": "photo/cat/1.jpg", "domain": "photo", "label": "cat", "split": "train"},
    {"path": "photo/dog/1.jpg", "domain": "photo", "label": "dog", "split": "test"},
    {"path": "sketch/cat/1.png", "domain": "sketch", "label": "cat", "role": "query"},
    {"path": "sketch/2.png", "domain": "sketch"},
]


@pytest.fixture
def catalog():
    return Catalog.from_rows(ROWS, Path("/data"))


def test_columns_and_defaults(catalog):
    assert len(catalog) == 4
    assert catalog.ids == [row["path"] for row in ROWS]
    assert catalog.labels == ["cat", "dog", "cat", None]
    assert catalog.column("role") == ["both", "both", "query", "both"]
    assert catalog.column("split") == ["train", "test", None, None]
    assert catalog.domains == ["photo", "sketch"]
    assert catalog.classes == ["cat", "dog"]
    assert catalog.paths[0] == Path("/data/photo/cat/1.jpg")
    assert catalog.counts() == {"photo": {"cat": 1, "dog": 1}, "sketch": {"": 1, "cat": 1}}


def test_with_ids_keeps_the_catalogs_order_and_its_hidden_labels(catalog):
    wanted = {"sketch/2.png", "photo/cat/1.jpg", "elsewhere.jpg"}
    assert catalog.with_ids(wanted).ids == ["photo/cat/1.jpg", "sketch/2.png"]
    assert len(catalog.with_ids(())) == 0
    assert catalog.hide_labels().with_ids(wanted).labels_hidden


def test_select(catalog):
    assert catalog.select(domains=["photo"], labels=["cat"]).ids == ["photo/cat/1.jpg"]
    assert catalog.select(splits={"test"}).ids == ["photo/dog/1.jpg"]
    assert catalog.select(domains="sketch").ids == ["sketch/cat/1.png", "sketch/2.png"]
    assert len(catalog.select(domains=[])) == 0
    with pytest.raises(CatalogError, match=r"domain clipart; the domains here are: photo, sketch"):
        catalog.select(domains=["clipart", "photo"])
    with pytest.raises(CatalogError, match="the splits here are: test, train"):
        catalog.select(splits=["val"])


def test_take_and_where(catalog):
    assert catalog.take([3, 0]).ids == ["sketch/2.png", "photo/cat/1.jpg"]
    assert catalog.where(np.array([False, True, False, False])).labels == ["dog"]


def test_hidden_labels_raise_and_stay_hidden(catalog):
    hidden = catalog.hide_labels()
    for ask in (
        lambda: hidden.labels,
        lambda: hidden.classes,
        hidden.counts,
        lambda: hidden.select(labels=["cat"]),
        lambda: hidden.relabel(str.upper),
        lambda: hidden.take([0]).labels,
        lambda: hidden.select(domains=["photo"]).labels,
        lambda: concatenate([hidden]).labels,
    ):
        with pytest.raises(LabelsHiddenError, match="labels are hidden"):
            ask()
    assert hidden.ids == catalog.ids
    assert hidden.table.column("label").null_count == 4


def test_relabel(catalog):
    assert catalog.relabel({"cat": "feline", "dog": "canine"}.get).labels == ["feline", "canine", "feline", None]


def test_concatenate(catalog):
    parts = [catalog.select(domains=[domain]) for domain in catalog.domains]
    assert concatenate(parts) == catalog
    with pytest.raises(CatalogError, match=r"row 5: the id 'photo/cat/1.jpg' was already used in row 1"):
        concatenate([catalog, catalog])
    with pytest.raises(CatalogError, match="different roots"):
        concatenate([catalog, Catalog.from_rows(ROWS, Path("/elsewhere"))])
    with pytest.raises(CatalogError, match="at least one"):
        concatenate([])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"domain": "photo"}, "row 2 lacks a path"),
        ({"path": "", "domain": "photo"}, "row 2 lacks a path"),
        ({"path": "a.jpg"}, "row 2 lacks a domain"),
        ({"path": "a.jpg", "domain": "photo", "label": 3}, "row 2: the label is 3; a class is given by its name"),
        ({"path": "a.jpg", "domain": "photo", "label": 0}, "row 2: the label is 0"),
        ({"path": "a.jpg", "domain": 1}, "row 2: the domain is 1; it must be text"),
        ({"path": "a.jpg", "domain": "photo", "id": 1.5}, "row 2: the id is 1.5"),
        (
            {"path": "a.jpg", "domain": "photo", "role": "judge"},
            "row 2: the role 'judge' is none of query, gallery",
        ),
        (
            {"path": ROWS[0]["path"], "domain": "photo"},
            "row 2: the id 'photo/cat/1.jpg' was already used in row 1",
        ),
    ],
)
def test_a_bad_row_is_named(row, message):
    with pytest.raises(CatalogError, match=message):
        Catalog.from_rows([ROWS[0], row], Path("/data"))


def test_numbers_as_ids_become_text_and_nan_means_unknown():
    rows = [{"id": 0, "path": "a.jpg", "domain": "photo", "label": float("nan")}]
    catalog = Catalog.from_rows(rows, Path())
    assert catalog.ids == ["0"]
    assert catalog.labels == [None]


def test_tables_of_another_form_are_refused(catalog):
    with pytest.raises(CatalogError, match="a catalog has the columns"):
        Catalog(catalog.table.drop_columns(["role"]), Path())
    position = SCHEMA.get_field_index("label")
    with pytest.raises(CatalogError, match=r"holds text; these do not: label \(int64\)"):
        Catalog(catalog.table.set_column(position, "label", pa.array([1, 2, 3, 4])), Path())
    with pytest.raises(CatalogError, match="row 2: the column 'label' is empty"):
        Catalog(catalog.table.set_column(position, "label", pa.array(["a", "", None, "b"])), Path())
    with pytest.raises(CatalogError, match="row 3: the column 'id' is empty"):
        Catalog(catalog.table.set_column(0, "id", pa.array(["a", "b", None, None])), Path())


def test_write_refuses_other_suffixes(catalog, tmp_path):
    with pytest.raises(CatalogError, match=r"ends in .parquet or .csv, not '.json'"):
        catalog.write(tmp_path / "manifest.json")


@pytest.mark.parametrize("name", ["manifest.csv", "manifest.parquet"])
def test_a_manifest_elsewhere_still_finds_the_images(name, tmp_path):
    catalog = Catalog.from_rows([ROWS[0]], tmp_path / "data")
    catalog.write(tmp_path / name)
    above = Catalog.open(tmp_path / name)
    assert above.column("path") == ["data/photo/cat/1.jpg"]
    assert (above.paths, above.ids) == (catalog.paths, catalog.ids)
    catalog.write(tmp_path / "lists" / name)
    beside = Catalog.open(tmp_path / "lists" / name)
    assert beside.paths == catalog.paths


def is_name(text):
    try:
        return bool(read_name(text))
    except ValueError:
        return False


TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=12)
NAME = TEXT.filter(is_name)
TRICKY = st.sampled_from(
    ["null", "NA", "nan", "None", "007", "1e5", "true", 'say "cheese"', "a,b", " x ", "é\n", "猫"]
)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"id": TEXT | TRICKY, "path": TEXT | TRICKY, "domain": NAME | TRICKY},
            optional={"label": NAME | TRICKY, "split": TRICKY, "role": st.sampled_from(["query", "gallery"])},
        ),
        min_size=1,
        max_size=6,
        unique_by=lambda row: nfc(row["id"]),
    ),
    st.sampled_from(["csv", "parquet"]),
)
def test_a_manifest_reads_back_as_it_was_written(tmp_path_factory, rows, suffix):
    root = tmp_path_factory.mktemp("round")
    catalog = Catalog.from_rows(rows, root)
    catalog.write(root / f"manifest.{suffix}")
    assert Catalog.open(root / f"manifest.{suffix}") == catalog


def test_names_are_read_and_ids_and_paths_stay():
    nfd = "cafe\u0301"
    rows = [
        {"path": f"{nfd}/1.jpg", "domain": f" {nfd}", "label": f"{nfd}\u200b", "split": " Train", "role": "QUERY "}
    ]
    catalog = Catalog.from_rows(rows, Path("/data"))
    assert catalog.table.to_pylist() == [
        {
            "id": f"{nfd}/1.jpg",
            "path": f"{nfd}/1.jpg",
            "domain": "café",
            "label": "café",
            "split": "train",
            "role": "query",
        }
    ]


def test_ids_that_differ_in_form_alone_are_refused_with_both():
    rows = [
        {"path": "é.jpg", "domain": "a"},
        {"path": "b.jpg", "domain": "a"},
        {"path": "e\u0301.jpg", "domain": "a"},
    ]
    with pytest.raises(
        CatalogError, match=r"row 3: its id and that of row 1 differ in Unicode form alone .*xe9.*u0301"
    ):
        Catalog.from_rows(rows, Path())
    assert len(Catalog.from_rows([{**row, "id": n} for n, row in enumerate(rows)], Path())) == 3


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"label": "cat\nb.jpg,photo,dog"},
            r"row 1: the label 'cat\\nb.jpg,photo,dog' holds a line end; is a quote",
        ),
        ({"domain": "a\nb"}, "row 1: the domain .* holds a line end"),
        ({"split": "a\r\nb"}, "row 1: the split .* holds a line end"),
        ({"role": "a\nb"}, "row 1: the role .* holds a line end"),
        ({"domain": "a\x1b[1mb"}, "row 1: the domain .* control character"),
        ({"path": "a\0.jpg"}, "row 1: the path .* no file's name"),
        ({"path": "a\udce9.jpg"}, "row 1: the path .* no file's name"),
        ({"label": True}, "row 1: the label is True"),
        ({"id": True}, "row 1: the id is True"),
    ],
)
def test_a_cell_that_can_be_no_name_is_named(row, message):
    with pytest.raises(CatalogError, match=message):
        Catalog.from_rows([{"path": "a.jpg", "domain": "photo", **row}], Path())


def test_what_is_blank_is_unknown():
    row = {"path": "a.jpg", "domain": "p", "label": " \u200b", "split": "  ", "role": "\t"}
    assert Catalog.from_rows([row], Path()).table.to_pylist()[0] == {
        "id": "a.jpg", "path": "a.jpg", "domain": "p", "label": None, "split": None, "role": "both"
    }  # fmt: skip
    with pytest.raises(CatalogError, match="row 1 lacks a domain"):
        Catalog.from_rows([{"path": "a.jpg", "domain": "\u200b"}], Path())


def test_nulls_of_pandas_mean_unknown():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"path": ["a.jpg", "b.jpg"], "domain": ["p", "p"], "label": ["x", None], "id": [1, None]})
    for rows in (frame, frame.convert_dtypes()):
        catalog = Catalog.from_rows(rows.to_dict("records"), Path())
        assert (catalog.labels, catalog.ids) == (["x", None], ["1", "b.jpg"])


def test_one_image_in_two_classes_is_told_as_that():
    rows = [{"path": "a.jpg", "domain": "p", "label": label} for label in ("cat", "dog")]
    with pytest.raises(
        CatalogError, match=r"id 'a.jpg' was already used in row 1; the same image is listed twice"
    ):
        Catalog.from_rows(rows, Path())


def test_domains_and_labels_are_selected_in_any_spelling_and_near_ones_offered(catalog):
    assert catalog.select(domains=["Sketch"], labels=[" CAT"]).ids == ["sketch/cat/1.png"]
    assert catalog.domains_named(["SKETCH", "photo"]) == ("sketch", "photo")
    with pytest.raises(
        CatalogError, match=r"the domain skech; the domains here are: photo, sketch; did .* 'sketch'"
    ):
        catalog.select(domains=["skech"])
