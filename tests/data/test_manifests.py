"""Tables of images as spreadsheets and data frames write them."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crosslens.data.catalog import Catalog
from crosslens.support.errors import CatalogError


def write_csv(folder, text):
    path = folder / "manifest.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_manifest_beside_the_images_wins(tree):
    root = tree("photo/cat/1.jpg", "photo/dog/1.jpg")
    write_csv(root, "path,domain,class\nphoto/cat/1.jpg,photo,tabby\n")
    assert Catalog.open(root).labels == ["tabby"]


def test_csv_text_stays_text(tmp_path):
    path = write_csv(
        tmp_path, "\ufeffid,path,domain,label\n007,a.jpg,photo,null\n1e3,b.jpg,photo,\n,c.jpg,NA,nan\n"
    )
    catalog = Catalog.open(path)
    assert catalog.ids == ["007", "1e3", "c.jpg"]
    assert catalog.labels == ["null", None, "nan"]
    assert catalog.domains == ["NA", "photo"]


def test_parquet_with_whole_numbers_as_ids(tmp_path):
    pq.write_table(
        pa.table({"id": [7], "path": ["a.jpg"], "domain": ["photo"], "width": [3]}), tmp_path / "m.parquet"
    )
    assert Catalog.open(tmp_path / "m.parquet").ids == ["7"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "path,domain,lable\na.jpg,photo,cat\n",
            "'lable' would be kept as one of your own; did you mean 'label'",
        ),
        ("path,label\na.jpg,cat\n", "no column 'path' or no column 'domain'"),
        ("path,domain,label,class\na.jpg,photo,cat,cat\n", "either 'label' or 'class'"),
        ("path,domain\n", "lists no image"),
        ("", "cannot be read as a manifest"),
        ("path,domain\na.jpg,photo\nb.jpg\n", r"Row #3: Expected 2 columns, got 1"),
        ("path,domain\na.jpg,photo\n,photo\n", "manifest.csv: row 2 lacks a path"),
        ("id,path,domain\n1,a.jpg,photo\n1,b.jpg,photo\n", "row 2: the id '1' was already used in row 1"),
        ("path,domain,role\na.jpg,photo,judge\n", "row 1: the role 'judge'"),
    ],
)
def test_bad_manifests(tmp_path, text, message):
    with pytest.raises(CatalogError, match=message):
        Catalog.open(write_csv(tmp_path, text))


def test_a_manifest_that_is_no_parquet_and_labels_that_are_numbers(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(CatalogError, match="cannot be read as a manifest"):
        Catalog.open(tmp_path / "a.parquet")
    pq.write_table(pa.table({"path": ["a.jpg"], "domain": ["photo"], "label": [3]}), tmp_path / "b.parquet")
    with pytest.raises(CatalogError, match=r"b\.parquet: row 1: the label is 3; a class is given by its name"):
        Catalog.open(tmp_path / "b.parquet")


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    "header",
    [
        "path,domain,label",
        "Path, domain ,LABEL",
        " PATH,Domain,Class",
        ",path,domain,label",
        "Unnamed: 0,path,domain,label",
        ",Unnamed: 0,path,domain,label",
    ],
)
@pytest.mark.parametrize("delimiter", list(",;\t|"), ids=["comma", "semicolon", "tab", "bar"])
def test_tables_of_spreadsheets_and_frames_are_read(tmp_path, suffix, encoding, header, delimiter):
    cells = ["a é.jpg", " sketch", "cafe\u0301"]
    row = [*["0"] * (header.count(",") - 2), *cells]
    text = f"{delimiter.join(header.split(','))}\n{delimiter.join(row)}\n"
    (tmp_path / f"m.{suffix}").write_bytes(text.encode(encoding))
    catalog = Catalog.open(tmp_path / f"m.{suffix}")
    assert (catalog.ids, catalog.domains, catalog.labels, catalog.notes) == (["a é.jpg"], ["sketch"], ["café"], ())


def test_other_columns_are_kept_and_those_that_cannot_be_are_noted(tmp_path):
    catalog = Catalog.open(write_csv(tmp_path, "path,domain,colour,Year,size\na.jpg,photo,red,2020,5\n"))
    assert catalog.ids == ["a.jpg"]
    assert catalog.own.to_pylist() == [{"colour": "red", "Year": 2020}]
    assert [note.partition(": ")[2] for note in catalog.notes] == [
        "the column 'size' is not kept: every image has one of that name; rename it"
    ]
    assert catalog.take([0]).own.num_columns == 2
    assert catalog.hide_labels().own.num_columns == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,domain,label,label\na.jpg,p,x,y\n", "more than one column 'label'"),
        ("path,domain,label,Label\na.jpg,p,x,y\n", "more than one column 'label'"),
        ("path,domian\na.jpg,p\n", "'domian' would be kept as one of your own; did you mean 'domain'"),
        ('path,domain,label\na.jpg,p,"x\nb.jpg,p,y\nc.jpg,p,z\n', "row 1: .*(open|is a quote not closed)"),
        ('path,domain,note\na.jpg,p,"x\nb.jpg,p,y\n', "row 1: the note holds further rows"),
        ('path,domain\n"a.jpg,p\nb.jpg,p\n', "manifest"),
    ],
)
def test_tables_that_would_lose_rows_or_columns_are_refused(tmp_path, text, message):
    with pytest.raises(CatalogError, match=message):
        Catalog.open(write_csv(tmp_path, text))


def test_ids_as_floats_and_labels_as_numbers_in_parquet(tmp_path):
    pq.write_table(pa.table({"id": [1.0, None], "path": ["a", "b"], "domain": ["p", "p"]}), tmp_path / "m.parquet")
    assert Catalog.open(tmp_path / "m.parquet").ids == ["1", "b"]
    pq.write_table(pa.table({"path": ["a"], "domain": ["p"], "label": [3]}), tmp_path / "n.parquet")
    with pytest.raises(CatalogError, match=r"never by a number; with pandas: frame\['label'\].astype\(str\)"):
        Catalog.open(tmp_path / "n.parquet")


def test_columns_without_a_name_are_passed_over(tmp_path):
    assert Catalog.open(write_csv(tmp_path, ",path,domain,,\n0,a.jpg,photo,,\n")).notes == ()
