"""Columns of an index's own: given or read from pictures, kept on every store, gained without embedding again."""

import json

import numpy as np
import pyarrow as pa
import pytest
from PIL import ExifTags, Image

from crosslens.encoder import Encoder
from crosslens.search.filters.text import parse_filter
from crosslens.search.index.description import FORMAT
from crosslens.search.index.index import Index
from crosslens.search.query.query import QueryPart, make_options
from crosslens.search.query.searcher import Searcher
from crosslens.support.errors import CatalogError, ConfigError, NothingEmbeddedError, StoreError
from testing.stores import needs_milvus, unit
from testing.tiny_backbone import TinyBackbone

STORES = ["lance", "exact", pytest.param("milvus", marks=needs_milvus)]


@pytest.fixture
def encoder(tiny_world):
    return Encoder(TinyBackbone())


@pytest.fixture
def root(tmp_path):
    """Six photos; number n was taken on day n + 1, those with an even number by a camera that says so."""
    rng = np.random.default_rng(0)
    for number in range(6):
        file = tmp_path / "pictures" / "photo" / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        block = Image.Exif()
        if number % 2 == 0:
            block[ExifTags.Base.Model] = "X100V"
        block.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = f"2024:01:0{number + 1} 10:00:00"
        gps = block.get_ifd(ExifTags.IFD.GPSInfo)
        gps[ExifTags.GPS.GPSLatitude], gps[ExifTags.GPS.GPSLongitude] = (number, 0, 0), (10, 0, 0)
        pixels = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file, exif=block)
    return tmp_path / "pictures"


@pytest.fixture
def prices(tmp_path):
    file = tmp_path / "prices.csv"
    file.write_text("path,price,title\n" + "".join(f"photo/{n}.jpg,{n}.5,thing {n}\n" for n in range(5)))
    return file


@pytest.fixture
def nothing_is_embedded(monkeypatch):
    def embeds(*_, **__):
        raise AssertionError("a picture was embedded")

    return lambda: monkeypatch.setattr("crosslens.features.of_encoder.features_of_encoder", embeds)


def address(kind, tmp_path):
    return f"milvus:{tmp_path / 'items.db'}" if kind == "milvus" else kind


def counts(report):
    return report.added, report.changed, report.unchanged, report.removed, len(report.skipped)


def found(index, text):
    return sorted(image for rows, _ in index.scan(parse_filter(text)) for image in rows.column("id").to_pylist())


def own_of(index, image):
    return index.get(image)[0].columns


@pytest.mark.parametrize("kind", STORES)
def test_pictures_tell_and_tables_give(root, prices, encoder, tmp_path, kind, nothing_is_embedded):
    index, _ = Index.build(root, encoder, tmp_path / "i", store=address(kind, tmp_path))
    assert index.columns == {"taken": "date", "camera": "text", "orientation": "text"}
    assert own_of(index, "photo/2.jpg") == {
        "taken": "2024-01-03T10:00:00", "camera": "X100V", "orientation": "landscape"
    }  # fmt: skip
    assert found(index, "taken >= '2024-01-03' and camera = 'X100V'") == ["photo/2.jpg", "photo/4.jpg"]
    nothing_is_embedded()
    assert counts(index.add(root, columns=prices)) == (0, 5, 1, 0, 0)
    assert index.columns["price"] == "number"
    again = Index.open(index.folder)
    assert found(again, "price < 2 or price is null") == ["photo/0.jpg", "photo/1.jpg", "photo/5.jpg"]
    assert own_of(again, "photo/4.jpg")["title"] == "thing 4"
    # Without the table what it gave stays, and nothing is written.
    version = again.version
    assert counts(again.add(root)) == (0, 0, 6, 0, 0)
    assert again.version == version
    # An empty cell takes a value away, and an image that is not named keeps its own.
    prices.write_text("path,price,shelf\nphoto/0.jpg,,A\nphoto/1.jpg,7,B\n")
    assert again.add(root, columns=prices).changed == 2
    assert "price" not in own_of(again, "photo/0.jpg")
    assert own_of(again, "photo/1.jpg")["price"] == 7
    assert own_of(again, "photo/2.jpg")["price"] == 2.5
    assert again.delete(parse_filter("price > 3")) == 3
    again.close()


def test_facets_count_what_matches(root, prices, encoder, tmp_path):
    index, _ = Index.build(root, encoder, tmp_path / "i", store="exact", columns=prices)
    facets = index.facets()
    assert (facets["camera"].items, facets["camera"].values) == (3, [("X100V", 3)])
    assert (facets["price"].items, facets["price"].min, facets["price"].max) == (5, 0.5, 4.5)
    assert facets["taken"].max == "2024-01-06T10:00:00"
    few = index.facets(parse_filter("price >= 3"))
    assert few["title"].values == [("thing 3", 1), ("thing 4", 1)]
    assert few["camera"].values == [("X100V", 1)]


def test_hits_are_sorted_and_filtered_by_columns(root, prices, encoder, tmp_path):
    index, _ = Index.build(root, encoder, tmp_path / "i", store="exact", columns=prices)
    searcher = Searcher(index)

    def ask(**options):
        return searcher.answer([QueryPart("like", "photo/5.jpg")], make_options(include_self=True, **options))

    assert [shown.hit.columns.get("price") for shown in ask(sort="-Price").hits] == [4.5, 3.5, 2.5, 1.5, 0.5, None]
    assert [shown.hit.id for shown in ask(sort="taken", where="price <= 1.5").hits] == [
        "photo/0.jpg",
        "photo/1.jpg",
    ]
    assert ask(where="price = 3.5").to_json()["hits"][0]["columns"]["title"] == "thing 3"
    for options, message in (
        ({"sort": "prize"}, "hits are sorted by score, .*price"),
        ({"where": "prize = 1"}, "'prize' is no field; .*did you mean 'price'"),
        ({"where": "price = 'x'"}, "price holds numbers; write a number without quotes, not 'x'"),
        ({"where": "taken > 5"}, "taken holds dates; write '2026-01-31'"),
        ({"where": "price starts with '1'"}, "'starts with' is for texts alone"),
    ):
        with pytest.raises(ConfigError, match=message):
            ask(**options)


def test_another_type_is_refused_before_anything_changes(root, prices, encoder, tmp_path):
    index, _ = Index.build(root, encoder, tmp_path / "i", store="exact", columns=prices)
    before = index.version
    prices.write_text("path,price\nphoto/0.jpg,cheap\n")
    with pytest.raises(CatalogError, match="'price' holds text here and numbers in the index"):
        index.add(root, columns=prices)
    assert index.version == before
    prices.write_text("path,taken\nphoto/0.jpg,long ago\n")
    with pytest.raises(CatalogError, match="'taken' holds text here and dates"):
        Index.build(root, encoder, tmp_path / "j", columns=prices)


def test_places_are_kept_when_asked_for_alone(root, encoder, tmp_path, nothing_is_embedded):
    index, _ = Index.build(root, encoder, tmp_path / "i", store="exact")
    assert "latitude" not in index.columns
    nothing_is_embedded()
    index.add(root, gps=True)
    assert own_of(index, "photo/3.jpg")["latitude"] == 3
    assert found(index, "latitude > 3") == ["photo/4.jpg", "photo/5.jpg"]


def test_a_changed_picture_tells_anew_but_what_was_given_stays(root, prices, encoder, tmp_path):
    index, _ = Index.build(root, encoder, tmp_path / "i", store="exact", columns=prices)
    Image.new("RGB", (40, 60), "red").save(root / "photo" / "0.jpg")
    assert counts(index.add(root)) == (0, 1, 5, 0, 0)
    assert own_of(index, "photo/0.jpg") == {"price": 0.5, "title": "thing 0", "orientation": "portrait"}


def test_snapshots_and_upserts_carry_columns(root, prices, encoder, tmp_path):
    index, _ = Index.build(root, encoder, tmp_path / "i", store="lance", columns=prices)
    more = pa.table({"id": ["new"], "path": ["/x"], "domain": ["d"], "price": [99], "tags": [["a", "b"]]})
    index.upsert(more, unit(1, index.fingerprint.dim), index.fingerprint)
    index.snapshot(tmp_path / "copy")
    restored = Index.restore(tmp_path / "copy", tmp_path / "r", store="exact")
    assert restored.columns == index.columns
    assert restored.columns["tags"] == "list"
    assert found(restored, "tags = 'b' or price = 0.5") == ["new", "photo/0.jpg"]
    wrong = more.set_column(3, "price", pa.array(["x"]))
    with pytest.raises(StoreError, match="'price' holds text here"):
        index.upsert(wrong, unit(1, index.fingerprint.dim), index.fingerprint)


def test_too_much_of_one_item_is_refused(root, prices, encoder, tmp_path):
    prices.write_text(f"path,title\nphoto/0.jpg,{'x' * 70_000}\n")
    with pytest.raises(CatalogError, match=r"the columns of photo/0.jpg take 70,\d+ bytes; the most are 60,000"):
        Index.build(root, encoder, tmp_path / "i", columns=prices)


def test_pictures_that_nobody_wants_to_find_are_left_out(root, encoder, tmp_path):
    for name, size in (("dot", (1, 1)), ("strip", (3000, 4)), ("low", (40, 7)), ("panorama", (4000, 40))):
        Image.new("RGB", size, "black").save(root / "photo" / f"{name}.png")
    index, skipped = Index.build(root, encoder, tmp_path / "i", store="exact")
    assert len(index) == 7
    assert [sentence.partition("photo/")[2].split(";")[0] for sentence in sorted(skipped)] == [
        "dot.png is 1 x 1 pixels", "low.png is 40 x 7 pixels", "strip.png is 3000 x 4 pixels"
    ]  # fmt: skip
    assert counts(index.add(root)) == (0, 0, 7, 0, 3)
    Image.new("RGB", (3, 3)).save(root / "photo" / "panorama.png")
    report = index.add(root)
    assert counts(report) == (0, 0, 6, 1, 4)
    assert any(
        "panorama.png is 3 x 3 pixels" in said and "its item was deleted" in said for said in report.skipped
    )
    only = tmp_path / "only"
    only.mkdir()
    Image.new("RGB", (1, 1)).save(only / "a.png")
    with pytest.raises(NothingEmbeddedError, match=r"none of the 1 images can be indexed; the first: .*1 x 1"):
        Index.build(only, encoder, tmp_path / "k")


def test_a_second_folder_with_the_same_names(root, encoder, tmp_path):
    index, _ = Index.build(root, encoder, tmp_path / "i", store="exact")
    other = tmp_path / "phone"
    (other / "photo").mkdir(parents=True)
    for number in range(2):
        Image.new("RGB", (40, 40), (number, 0, 99)).save(other / "photo" / f"{number}.jpg")
    with pytest.raises(StoreError, match="Add them with --prefix phone, which goes before their ids"):
        index.add(other)
    assert counts(index.add(other, prefix="phone")) == (2, 0, 0, 0, 0)
    assert index.get("phone/photo/1.jpg")[0].path == str(other / "photo" / "1.jpg")
    # It is remembered, also when the folder moves.
    assert counts(index.add(other)) == (0, 0, 2, 0, 0)
    other.rename(tmp_path / "moved")
    index.relocate(other, tmp_path / "moved")
    (tmp_path / "moved" / "photo" / "0.jpg").unlink()
    assert counts(index.add(tmp_path / "moved")) == (0, 0, 1, 1, 0)
    with pytest.raises(StoreError, match="was added with the prefix 'phone', and ids stay"):
        index.add(tmp_path / "moved", prefix="x")
    with pytest.raises(StoreError, match="was added without a prefix"):
        index.add(root, prefix="x")
    with pytest.raises(ConfigError, match="prefix"):
        index.add(other, prefix="/x")


def test_an_index_of_format_3_gains_columns_without_embedding(root, encoder, tmp_path, nothing_is_embedded):
    index, _ = Index.build(root, encoder, tmp_path / "i", store="exact")
    file = tmp_path / "i" / "index.json"
    old = json.loads(file.read_text())
    del old["columns"]
    file.write_text(json.dumps(old | {"format": 3}))
    items = index.items.drop_columns("own").append_column("own", pa.nulls(6, pa.string()))
    index.store.upsert(items, index.vectors)
    opened = Index.open(tmp_path / "i")
    assert (opened.columns, own_of(opened, "photo/0.jpg")) == ({}, {})
    nothing_is_embedded()
    assert counts(opened.add(root)) == (0, 0, 6, 0, 0)
    assert own_of(opened, "photo/0.jpg")["camera"] == "X100V"
    assert json.loads(file.read_text())["format"] == FORMAT
