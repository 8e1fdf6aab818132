"""Indexes of pictures in object storage, and indexes and snapshots that lie there themselves."""

import numpy as np
import pytest
from PIL import Image

from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.search.index import making
from crosslens.search.index.index import Index
from crosslens.support.errors import CrosslensError, StoreError
from crosslens.support.local_copy import mirror
from crosslens.support.remote import AccessError, Remote
from testing.tiny_backbone import TinyBackbone
from testing.tiny_pictures import make_pictures


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return make_pictures(tmp_path_factory.mktemp("pictures") / "data", count=3)


@pytest.fixture
def away(storage, bucket, pictures):
    storage.upload(pictures, bucket, "data")
    return Remote("s3", bucket, "data")


@pytest.fixture
def encoder(tiny_world):
    return Encoder(TinyBackbone())


def hits(index, query, **options):
    return [(hit.id, round(hit.score, 5)) for hit in index.search(query, 5, **options)[0]]


def test_an_index_of_pictures_in_a_bucket_finds_what_one_of_files_finds(
    storage, away, pictures, encoder, tmp_path
):
    here, _ = Index.build(pictures, encoder, tmp_path / "here")
    there, left_out = Index.build(str(away), encoder, tmp_path / "there")
    assert left_out == []
    assert hits(there, here.vectors[:1]) == hits(here, here.vectors[:1])
    item = there.get("photo/circle/00.png")[0]
    assert item.path == str(away / "photo/circle/00.png")
    assert item.root == str(away)
    assert item.columns["orientation"] == "square"
    assert there.roots == [away]


def test_adding_again_embeds_what_is_new_and_deletes_what_is_gone(storage, away, bucket, encoder, tmp_path):
    index, _ = Index.build(away, encoder, tmp_path / "i")
    storage.seen.clear()
    assert index.add(away).to_json() | {"skipped": 0} == {
        "added": 0, "changed": 0, "unchanged": 24, "removed": 0, "skipped": 0
    }  # fmt: skip
    assert storage.count("GET", r"\.png") == 0
    storage.client.copy_object(
        Bucket=bucket, Key="data/photo/circle/new.png", CopySource=f"{bucket}/data/sketch/cross/00.png"
    )
    storage.client.delete_object(Bucket=bucket, Key="data/photo/circle/00.png")
    report = index.add(away)
    assert (report.added, report.unchanged, report.removed) == (1, 23, 1)


def test_a_bucket_that_cannot_be_reached_empties_no_index(away, encoder, tmp_path, monkeypatch):
    from crosslens.support import remote

    index, _ = Index.build(away, encoder, tmp_path / "i")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong")
    remote._store.cache_clear()
    with pytest.raises(CrosslensError, match="the credentials are wrong"):
        index.add(away)
    assert len(index) == 24


@pytest.mark.parametrize("store", ["lance", "exact"])
def test_an_index_in_a_bucket_is_searched_there(storage, away, pictures, encoder, tmp_path, store):
    here, _ = Index.build(pictures, encoder, tmp_path / "here", store=store)
    place = away.parent / "my.index"
    made, _ = Index.build(pictures, encoder, place, store=store)
    opened = Index.open(str(place))
    assert opened.name == "my.index"
    assert len(made) == len(opened) == 24
    assert hits(opened, here.vectors[:1]) == hits(here, here.vectors[:1])
    assert hits(opened, here.vectors[:1], exact=True) == hits(here, here.vectors[:1])
    assert opened.encoder.fingerprint == encoder.fingerprint
    # What was fetched once is not fetched again.
    storage.seen.clear()
    assert hits(Index.open(place), here.vectors[:1]) == hits(here, here.vectors[:1])
    assert storage.count("GET", "/my.index/(serving|encoder)/") == 0
    # Nor is a row of the table read.
    assert storage.count("GET", "/my.index/table/.*/data/") == 0


def test_an_index_in_a_bucket_is_not_changed(away, pictures, encoder):
    place = away.parent / "my.index"
    index, _ = Index.build(pictures, encoder, place)
    for change in (
        lambda: index.add(pictures.parent),
        lambda: index.delete(["photo/circle/00.png"]),
        index.optimize,
    ):
        with pytest.raises(StoreError, match="lies in object storage, where an index is read and not changed"):
            change()
    with pytest.raises(StoreError, match="is not empty"):
        Index.build(pictures, encoder, place)
    with pytest.raises(StoreError, match="holds no index"):
        Index.open(away.parent / "nothing.index")


def test_another_version_in_the_bucket_is_taken_over(storage, away, bucket, pictures, encoder, tmp_path):
    here, _ = Index.build(pictures, encoder, tmp_path / "here")
    storage.upload(tmp_path / "here", bucket, "my.index")
    opened = Index.open(away.parent / "my.index")
    here.delete(["photo/circle/00.png"])
    here.optimize()
    assert len(opened) == 24
    storage.upload(tmp_path / "here", bucket, "my.index")
    assert opened.refresh()
    assert len(opened) == 23
    assert hits(opened, here.vectors[:1]) == hits(here, here.vectors[:1])


def test_a_copy_that_was_not_finished_is_no_index(storage, away, bucket, pictures, encoder, tmp_path):
    storage.fault("denied", "/my.index/encoder/", "PUT")
    with pytest.raises(CrosslensError, match="may not do that"):
        Index.build(pictures, encoder, away.parent / "my.index")
    storage.rules.clear()
    assert "my.index/index.json" not in storage.keys(bucket)
    with pytest.raises(StoreError, match="holds no index"):
        Index.open(away.parent / "my.index")


@pytest.fixture
def no_work(monkeypatch):
    def begun(*asked):
        raise AssertionError("the work began")

    monkeypatch.setattr(making, "_build_here", begun)


def test_two_jobs_at_one_place_are_told_of_each_other(storage, away, bucket, pictures, encoder, no_work):
    place = away.parent / "my.index"
    (place / making.CLAIM).write(b'{"host": "other"}')
    with pytest.raises(StoreError, match=r"another job is making an index at .*other.*if it is dead, delete"):
        Index.build(pictures, encoder, place)
    (place / making.CLAIM).unlink()
    with pytest.raises(AssertionError, match="the work began"):
        Index.build(pictures, encoder, place)
    # Whatever ends a job, its claim goes with it.
    assert not [key for key in storage.keys(bucket) if key.startswith("my.index/")]


def test_a_bucket_that_may_be_read_and_not_written_is_refused_before_the_work(
    storage, away, pictures, encoder, no_work
):
    storage.fault("denied", "/my.index/", "PUT")
    with pytest.raises(AccessError, match="may not do that"):
        Index.build(pictures, encoder, away.parent / "my.index")


def test_a_snapshot_is_written_to_a_bucket_and_read_from_there(storage, away, pictures, encoder, tmp_path, bucket):
    here, _ = Index.build(pictures, encoder, tmp_path / "here")
    here.snapshot(str(away.parent / "snap"))
    assert storage.keys(bucket)[-1].startswith("snap/")
    back = Index.restore(str(away.parent / "snap"), tmp_path / "back")
    assert hits(back, here.vectors[:1]) == hits(here, here.vectors[:1])
    there = Index.restore(away.parent / "snap", away.parent / "back.index")
    assert hits(there, here.vectors[:1]) == hits(here, here.vectors[:1])
    with pytest.raises(StoreError, match="exists already"):
        here.snapshot(str(away.parent / "snap"))
    with pytest.raises(StoreError, match="is a snapshot"):
        Index.open(away.parent / "snap")


def test_a_file_address_is_a_folder(pictures, encoder, tmp_path):
    index, _ = Index.build(pictures.as_uri(), encoder, (tmp_path / "an index").as_uri())
    assert len(Index.open((tmp_path / "an index").as_uri())) == len(index) == 24
    assert Catalog.open(pictures.as_uri()).root == pictures


def test_items_follow_pictures_that_were_copied_to_a_bucket(away, pictures, encoder, tmp_path):
    index, _ = Index.build(pictures, encoder, tmp_path / "i")
    report = index.relocate(pictures, str(away))
    assert (report.moved, report.missing) == (24, [])
    assert index.get("photo/circle/00.png")[0].path == str(away / "photo/circle/00.png")


def test_a_mirror_drops_what_is_gone_and_fetches_what_changed(storage, away):
    folder = mirror(away, lambda names: names)
    first = "photo/circle/00.png"
    assert Image.open(folder / first).size == (40, 40)
    (away / first).write(b"other")
    (away / "photo/circle/01.png").unlink()
    storage.seen.clear()
    assert mirror(away, lambda names: names) == folder
    assert (folder / first).read_bytes() == b"other"
    assert not (folder / "photo/circle/01.png").exists()
    assert storage.count("GET", r"\.png") == 1


def test_vectors_of_pictures_in_a_table_are_those_of_files(pictures, encoder, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pa_parquet

    catalog = Catalog.open(pictures)
    content = pa.array([(pictures / path).read_bytes() for path in catalog.column("path")], pa.binary())
    pa_parquet.write_table(
        catalog.table.drop_columns(["path"]).append_column("image", content), tmp_path / "p.parquet"
    )
    here, _ = Index.build(pictures, encoder, tmp_path / "here")
    index, left_out = Index.build(tmp_path / "p.parquet", encoder, tmp_path / "i")
    assert left_out == []
    assert np.array_equal(index.get("photo/cross/01.png")[1], here.get("photo/cross/01.png")[1])
    assert index.add(tmp_path / "p.parquet").unchanged == 24
