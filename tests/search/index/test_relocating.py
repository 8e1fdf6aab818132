"""A library that was moved: its items follow without being embedded again, or nothing happens."""

import os
import shutil

import pytest

from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.search.index.contents import Contents
from crosslens.search.index.index import Index
from crosslens.support.errors import StoreError
from testing.stores import needs_milvus
from testing.tiny_backbone import TinyBackbone
from testing.tiny_pictures import make_pictures

STORES = ["lance", "exact", pytest.param("milvus", marks=needs_milvus)]


@pytest.fixture
def encoder(tiny_world):
    return Encoder(TinyBackbone())


@pytest.fixture
def root(tmp_path):
    return make_pictures(tmp_path / "old" / "pictures", count=2)


def build(root, encoder, folder, kind="exact", **options):
    store = f"milvus:{folder}.db" if kind == "milvus" else kind
    return Index.build(Catalog.open(root), encoder, folder, store=store, **options)[0]


def counts(report):
    return report.added, report.changed, report.unchanged, report.removed, len(report.skipped)


def by_id(index):
    return {
        row["id"]: (row, vector.tobytes())
        for table, vectors in index.scan(vectors=True)
        for row, vector in zip(table.to_pylist(), vectors, strict=True)
    }


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("way", ["renamed", "copied"])
def test_items_follow_with_their_vectors(encoder, root, tmp_path, kind, way, monkeypatch):
    index = build(root, encoder, tmp_path / "i", kind, domains=["photo"])
    before = by_id(index)
    new = tmp_path / "new"
    if way == "renamed":
        root.rename(new)
    else:
        shutil.copytree(root, new)
        shutil.rmtree(root)
    with pytest.raises(StoreError, match=f"crosslens index relocate INDEX {root} {new}"):
        index.add(Catalog.open(new))
    report = index.relocate(root, new)
    assert (report.moved, report.changed, report.missing) == (8, 0, [])
    assert report.roots == {str(root): str(new)}
    monkeypatch.setattr("crosslens.features.of_encoder.features_of_encoder", None)
    for opened in (index, Index.open(tmp_path / "i")):
        found = by_id(opened)
        for image, (row, vector) in before.items():
            expected = row | {"root": str(new), "path": f"{new}/{image}", "stamp": found[image][0]["stamp"]}
            assert found[image] == (expected, vector)
        assert opened.roots == [new]
        assert opened.domains_of(str(new)) == ["photo"]
        assert counts(opened.add(Catalog.open(new))) == (0, 0, 8, 0, 0)
        opened.close()


def test_other_folders_stay_where_they_are(encoder, root, tmp_path):
    index = build(root, encoder, tmp_path / "i")
    other = make_pictures(tmp_path / "old" / "clips", count=1, looks=("clipart",))
    beside = make_pictures(tmp_path / "older", count=1, looks=("painting",))
    for folder in (other, beside):
        index.add(Catalog.open(folder))
    root.rename(tmp_path / "new")
    assert index.relocate(root, tmp_path / "new").moved == 16
    assert index.roots == [tmp_path / "new", other, beside]
    # The folder above several moves them all, and none whose name only begins like it.
    (tmp_path / "new").rename(tmp_path / "old" / "pictures")
    index.relocate(tmp_path / "new", root)
    (tmp_path / "old").rename(tmp_path / "disk")
    report = index.relocate(tmp_path / "old", tmp_path / "disk")
    assert report.moved == 20
    assert index.roots == [tmp_path / "disk" / "pictures", tmp_path / "disk" / "clips", beside]
    for folder in index.roots:
        assert index.add(Catalog.open(folder)).unchanged > 0


@pytest.mark.parametrize("name", ["old/pictures/", "new/../old/pictures", "old/pictures"])
def test_the_old_place_may_be_told_in_any_way(encoder, root, tmp_path, monkeypatch, name):
    index = build(root, encoder, tmp_path / "i")
    root.rename(tmp_path / "new")
    monkeypatch.chdir(tmp_path)
    assert index.relocate(name, "new/").moved == 16
    assert index.roots == [tmp_path / "new"]


def test_a_link_at_the_old_place(encoder, root, tmp_path):
    index = build(root, encoder, tmp_path / "i")
    root.rename(tmp_path / "new")
    root.symlink_to(tmp_path / "new")
    with pytest.raises(StoreError, match="index relocate"):
        index.add(Catalog.open(root))
    assert index.relocate(root, root).moved == 16
    assert counts(index.add(Catalog.open(root))) == (0, 0, 16, 0, 0)


def test_links_below_the_folder_move_with_it(encoder, root, tmp_path):
    shutil.copy(root / "photo" / "cross" / "00.png", tmp_path / "annex.png")
    (root / "photo" / "cross" / "link.png").symlink_to(tmp_path / "annex.png")
    index = build(root, encoder, tmp_path / "i")
    root.rename(tmp_path / "new")
    assert index.relocate(root, tmp_path / "new").missing == []
    assert index.get("photo/cross/link.png")[0].path == str(tmp_path / "new" / "photo" / "cross" / "link.png")


def test_pictures_that_are_not_there_are_refused_unless_it_is_meant(encoder, root, tmp_path):
    index = build(root, encoder, tmp_path / "i")
    before, version = by_id(index), index.version
    root.rename(tmp_path / "new")
    (tmp_path / "new" / "photo" / "cross" / "01.png").unlink()
    with pytest.raises(StoreError, match=r"1 of 16 images are not in .*photo/cross/01.png; nothing was changed"):
        index.relocate(root, tmp_path / "new")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="16 of 16 images are not in"):
        index.relocate(root, tmp_path / "empty")
    assert (by_id(index), index.version, index.roots) == (before, version, [root])
    report = index.relocate(root, tmp_path / "new", force=True)
    assert (report.moved, report.missing) == (16, ["photo/cross/01.png"])
    assert counts(index.add(Catalog.open(tmp_path / "new"))) == (0, 0, 15, 1, 0)


def test_a_file_that_is_another_one_there_is_embedded_by_the_next_addition(encoder, root, tmp_path):
    index = build(root, encoder, tmp_path / "i")
    shutil.copytree(root, tmp_path / "new")
    changed = tmp_path / "new" / "photo" / "cross" / "01.png"
    shutil.copy(root / "sketch" / "cross" / "00.png", changed)
    os.utime(changed, (5, 5))
    report = index.relocate(root, tmp_path / "new")
    assert (report.moved, report.changed, report.missing) == (16, 1, [])
    assert counts(index.add(Catalog.open(tmp_path / "new"))) == (0, 1, 15, 0, 0)


def test_what_cannot_be_moved(encoder, root, tmp_path):
    index = build(root, encoder, tmp_path / "i")
    with pytest.raises(StoreError, match=f"nothing in .*elsewhere was added to .*; what was: {root}"):
        index.relocate(tmp_path / "elsewhere", tmp_path)
    with pytest.raises(StoreError, match="is no folder"):
        index.relocate(root, tmp_path / "nowhere")
    assert index.relocate(root, root).moved == 0


def test_an_interrupted_move_goes_on(encoder, root, tmp_path, monkeypatch):
    from crosslens.search.index import adding

    index = build(root, encoder, tmp_path / "i", "lance")
    root.rename(tmp_path / "new")
    monkeypatch.setattr(adding, "_REWRITTEN", 5)
    upsert, calls = Contents.upsert, []

    def stop(self, *arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        upsert(self, *arguments)

    monkeypatch.setattr(Contents, "upsert", stop)
    with pytest.raises(KeyboardInterrupt):
        index.relocate(root, tmp_path / "new")
    reopened = Index.open(tmp_path / "i")
    assert reopened.relocate(root, tmp_path / "new").moved == 6
    assert {row["root"] for row, _ in by_id(reopened).values()} == {str(tmp_path / "new")}
    assert counts(reopened.add(Catalog.open(tmp_path / "new"))) == (0, 0, 16, 0, 0)


def test_two_folders_that_became_one(encoder, root, tmp_path):
    index = build(root, encoder, tmp_path / "i", domains=["photo"])
    clips = make_pictures(tmp_path / "clips", count=1, looks=("clipart",))
    index.add(Catalog.open(clips), domains=["clipart"])
    (clips / "clipart").rename(root / "clipart")
    assert index.relocate(clips, root).moved == 4
    assert index.roots == [root]
    assert index.domains_of(str(root)) == ["clipart", "photo"]
    assert counts(index.add(Catalog.open(root))) == (0, 0, 12, 0, 0)
