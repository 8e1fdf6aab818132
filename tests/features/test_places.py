"""Embedding from and into an S3 server on this machine, which errs: the features are those of local files."""

import io
import json
import tarfile
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from crosslens.data.catalog import Catalog
from crosslens.features import embed
from crosslens.features.embed import embed_catalog
from crosslens.features.load import features_of
from crosslens.features.runner import OnThreads
from crosslens.features.store import FeatureStore
from crosslens.support import members, remote
from crosslens.support.errors import CrosslensError, FeatureError
from crosslens.support.remote import Remote, UnreachableError
from testing.tiny_backbone import TinyBackbone
from testing.tiny_pictures import make_pictures


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return make_pictures(tmp_path_factory.mktemp("pictures") / "data", count=3)


@pytest.fixture
def away(storage, bucket, pictures):
    """The same pictures in a bucket."""
    storage.upload(pictures, bucket, "data")
    return Remote("s3", bucket, "data")


@pytest.fixture
def expected(pictures, tmp_path):
    catalog = Catalog.open(pictures)
    embed_catalog(catalog, TinyBackbone(), tmp_path / "local")
    return catalog, FeatureStore.open(tmp_path / "local").gather(catalog.ids)


def features(folder, catalog):
    return FeatureStore.open(folder).gather(catalog.ids)


def test_pictures_in_a_bucket_are_the_catalog_of_the_folder(away, pictures):
    here, there = Catalog.open(pictures), Catalog.open(str(away))
    assert there.table == here.table
    assert there.root == away
    assert there.paths[0] == away / here.column("path")[0]


@pytest.mark.parametrize("out_there", [False, True])
def test_features_are_those_of_local_files_and_embedded_once(storage, away, expected, tmp_path, out_there):
    catalog, values = expected
    folder = away.parent / "features" if out_there else tmp_path / "f"
    report = embed_catalog(Catalog.open(away), TinyBackbone(), folder, shard_size=10)
    assert (report.embedded, report.skipped) == (len(catalog), [])
    assert np.array_equal(features(folder, catalog), values)
    # One request a picture, and its state from the listing.
    assert storage.count("GET", r"/data/.*\.png") == len(catalog)
    assert storage.count("HEAD", r"/data/.*\.png") == 0
    again = embed_catalog(Catalog.open(away), TinyBackbone(), folder)
    assert (again.embedded, again.reused) == (0, len(catalog))
    assert storage.count("GET", r"/data/.*\.png") == len(catalog)


def test_a_picture_that_changed_is_embedded_again(storage, away, pictures, bucket, tmp_path):
    embed_catalog(Catalog.open(away), TinyBackbone(), tmp_path / "f")
    first, second = Catalog.open(pictures).column("path")[:2]
    storage.client.upload_file(str(pictures / second), bucket, f"data/{first}")
    report = embed_catalog(Catalog.open(away), TinyBackbone(), tmp_path / "f")
    assert report.embedded == 1
    values = features(tmp_path / "f", Catalog.open(pictures))
    assert np.array_equal(values[0], values[1])


def test_reads_that_break_off_change_nothing(storage, away, expected, tmp_path):
    catalog, values = expected
    for fault, path in zip(("503", "cut", "short", "reset", "slow"), catalog.column("path"), strict=False):
        storage.fault(fault, f"/data/{path}", times=2)
    report = embed_catalog(Catalog.open(away), TinyBackbone(), tmp_path / "f")
    assert report.skipped == []
    assert np.array_equal(features(tmp_path / "f", catalog), values)


def test_a_picture_that_stays_unreadable_is_a_reported_skip_and_is_tried_again(
    storage, away, expected, tmp_path, monkeypatch
):
    from datetime import timedelta

    monkeypatch.setattr(remote, "_RETRIES", {"max_retries": 1, "retry_timeout": timedelta(seconds=5)})
    monkeypatch.setattr(remote, "_TRIES", 2)
    catalog, values = expected
    bad = catalog.column("path")[:3]
    for fault, path in zip(("503", "cut", "denied"), bad, strict=True):
        storage.fault(fault, f"/data/{path}")
    report = embed_catalog(Catalog.open(away), TinyBackbone(), tmp_path / "f")
    assert [entry.id for entry in report.skipped] == bad
    assert all(str(away / path) in entry.reason for path, entry in zip(bad, report.skipped, strict=True))
    assert report.embedded == len(catalog) - 3
    storage.rules.clear()
    report = embed_catalog(Catalog.open(away), TinyBackbone(), tmp_path / "f")
    assert (report.embedded, report.skipped) == (3, [])
    assert np.array_equal(features(tmp_path / "f", catalog), values)


def test_wrong_credentials_end_a_job_at_once_and_leave_what_is_there(away, tmp_path, monkeypatch):
    catalog = Catalog.open(away)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong")
    remote._store.cache_clear()
    with pytest.raises(UnreachableError, match="the credentials are wrong"):
        embed_catalog(catalog, TinyBackbone(), tmp_path / "f")
    with pytest.raises(CrosslensError, match="the credentials are wrong"):
        Catalog.open(away)


def test_a_bucket_that_may_not_be_written_is_named(storage, away, monkeypatch):
    storage.fault("denied", "/features/", "PUT")
    with pytest.raises(CrosslensError, match=r"features/features.json: these credentials may not do that"):
        embed_catalog(Catalog.open(away), TinyBackbone(), away.parent / "features")


def test_vectors_without_their_mark_do_not_count_and_are_never_overwritten(storage, away, expected):
    catalog, values = expected
    folder = away.parent / "features"
    storage.fault("denied", r"/features/shards/.*\.json", "PUT")
    with pytest.raises(CrosslensError):
        embed_catalog(Catalog.open(away), TinyBackbone(), folder)
    assert len(FeatureStore.open(folder)) == 0
    storage.rules.clear()
    embed_catalog(Catalog.open(away), TinyBackbone(), folder)
    assert np.array_equal(features(folder, catalog), values)


def test_two_machines_that_write_to_one_folder_are_kept_apart(away):
    folder = away.parent / "features"
    embed_catalog(Catalog.open(away), TinyBackbone(), folder, shard_size=10)
    store = FeatureStore.open(folder)
    # The other machine has begun the next shard, and has not marked it yet.
    number = store.next_number
    (folder / f"shards/{number:06d}.safetensors").write(b"another's")
    with pytest.raises(FeatureError, match="another machine is writing"):
        store.add_shard(["x"], ["x|1"], np.zeros((1, 1, 64), np.float32), [], number=number)
    assert (folder / f"shards/{number:06d}.safetensors").read_bytes() == b"another's"


def test_a_network_that_fails_does_not_make_a_shard_damaged(storage, away, monkeypatch):
    from datetime import timedelta

    monkeypatch.setattr(remote, "_RETRIES", {"max_retries": 1, "retry_timeout": timedelta(seconds=5)})
    monkeypatch.setattr(remote, "_TRIES", 1)
    folder = away.parent / "features"
    embed_catalog(Catalog.open(away), TinyBackbone(), folder)
    storage.fault("503", r"/features/shards/000000")
    with pytest.raises(CrosslensError, match="after several tries"):
        embed_catalog(Catalog.open(away), TinyBackbone(), folder)
    storage.rules.clear()
    assert not FeatureStore.open(folder).damaged


def test_features_of_a_run_are_read_from_a_bucket_and_kept_in_the_cache(away, expected):
    _, values = expected
    folder = away.parent / "features"
    embed_catalog(Catalog.open(away), TinyBackbone(), folder)
    found = features_of(Catalog.open(away), TinyBackbone(), folder=folder)
    assert np.array_equal(found.values, values)
    # And without a folder, in the cache of this machine.
    assert np.array_equal(features_of(Catalog.open(away), TinyBackbone()).values, values)


def write_tar(folder, catalog, pictures, shards=2):
    """Shards in webdataset's layout."""
    folder.mkdir()
    rows = list(zip(catalog.column("path"), catalog.column("domain"), catalog.labels, strict=True))
    for shard in range(shards):
        with tarfile.open(folder / f"shard-{shard:06d}.tar", "w") as tar:
            for number, (path, domain, label) in enumerate(rows[shard::shards]):
                for name, content in (
                    (f"{number:05d}.png", (pictures / path).read_bytes()),
                    (f"{number:05d}.cls", label.encode()),
                    (f"{number:05d}.json", json.dumps({"domain": domain, "id": path, "price": number}).encode()),
                ):
                    entry = tarfile.TarInfo(name)
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
    return folder


def as_table(catalog, pictures):
    content = [(pictures / path).read_bytes() for path in catalog.column("path")]
    return catalog.table.drop_columns(["path"]).append_column("image", pa.array(content, pa.binary()))


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("kind", ["tar", "parquet", "lance", "addresses"])
def test_pictures_in_archives_and_tables_give_the_same_features(
    storage, away, pictures, expected, tmp_path, kind, there, bucket, monkeypatch
):
    # A busy machine is slow: what is asked for once a period is counted in one.
    monkeypatch.setattr(members, "_FRESH", 1e9)
    catalog, values = expected
    source = tmp_path / "kept"
    if kind == "tar":
        write_tar(source, catalog, pictures)
    elif kind == "parquet":
        source.mkdir()
        pa_parquet.write_table(as_table(catalog, pictures), source / "p.parquet", row_group_size=7)
    elif kind == "lance":
        import lance

        source.mkdir()
        lance.write_dataset(as_table(catalog, pictures), source / "p.lance")
    else:
        source.mkdir()
        addresses = pa.array([str(away / path) for path in catalog.column("path")])
        table = catalog.table.set_column(1, "path", addresses)
        pa_parquet.write_table(table, source / "p.parquet")
    if there:
        storage.upload(source, bucket, "kept")
        source = Remote("s3", bucket, "kept")
    opened = Catalog.open(source if kind == "tar" else source / ("p.lance" if kind == "lance" else "p.parquet"))
    assert sorted(opened.ids) == sorted(catalog.ids)
    assert dict(zip(opened.ids, opened.labels, strict=True)) == dict(zip(catalog.ids, catalog.labels, strict=True))
    assert opened.domains == catalog.domains
    report = embed_catalog(opened, TinyBackbone(), tmp_path / "f")
    assert report.skipped == []
    assert np.array_equal(features(tmp_path / "f", catalog), values)
    assert embed_catalog(opened, TinyBackbone(), tmp_path / "f").embedded == 0
    if there and kind != "addresses":
        # The files that hold them are asked for once in a while, not for each picture.
        assert storage.count("HEAD", "/kept/") <= 12
    if kind == "tar":
        assert sorted(opened.column("price")) == sorted(n for n in range(len(catalog) // 2) for _ in range(2))


def test_a_table_of_many_rows_is_embedded_part_by_part(pictures, expected, tmp_path, monkeypatch):
    from crosslens.api import embedding
    from crosslens.data import source

    catalog, values = expected
    pa_parquet.write_table(as_table(catalog, pictures), tmp_path / "p.parquet")
    read = []

    def in_parts(table):
        for part in source.open_in_parts(table, 10):
            read.append(len(part))
            yield part

    monkeypatch.setattr(embedding, "open_in_parts", in_parts)
    monkeypatch.setattr(embedding, "load_backbone", lambda name, decode: TinyBackbone())
    report = embedding.embed(tmp_path / "p.parquet", out=tmp_path / "f")
    assert (report.embedded, report.reused, report.skipped) == (24, 0, [])
    assert read == [10, 10, 4]
    assert np.array_equal(features(tmp_path / "f", catalog), values)
    again = embedding.embed(tmp_path / "p.parquet", out=tmp_path / "f")
    assert (again.embedded, again.reused) == (0, 24)

    class Counted(OnThreads):
        started = 0

        @contextmanager
        def start(self, backbone, config):
            Counted.started += 1
            with super().start(backbone, config) as crew:
                yield crew

    # What takes seconds to start, as a cluster does, is started once for all parts; and no other runner is.
    monkeypatch.setattr(embedding, "OnRay", lambda *asked: Counted())
    monkeypatch.setattr(embed, "OnThreads", None)
    on_ray = embedding.embed(tmp_path / "p.parquet", out=tmp_path / "ray", runner="ray")
    assert (on_ray.embedded, Counted.started) == (24, 1)
    assert np.array_equal(features(tmp_path / "ray", catalog), values)
    assert embedding.embed(tmp_path / "p.parquet", out=tmp_path / "ray", runner="ray").reused == 24
    assert Counted.started == 1
    twice = pa.concat_tables([as_table(catalog, pictures)] * 2)
    pa_parquet.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(CrosslensError, match="occurs twice"):
        embedding.embed(tmp_path / "twice.parquet", out=tmp_path / "g", runner="ray")


def test_parts_of_a_job_lie_in_a_bucket_and_are_joined_there(away, expected):
    from crosslens.features.parts import Part, embed_part, join_parts

    catalog, values = expected
    folder = away.parent / "features"
    for number in (1, 2):
        embed_part(Catalog.open(away), TinyBackbone(), folder, Part(number=number, of=2))
    assert join_parts(folder).images == len(catalog)
    assert np.array_equal(features(folder, catalog), values)
    assert not (folder / "parts").exists()
