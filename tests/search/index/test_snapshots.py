"""Snapshots that come back: the same items, vectors and answers, from any store into any other."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
from safetensors.numpy import load_file, save_file

from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.search.index import making
from crosslens.search.index.index import Index
from crosslens.support.errors import CrosslensError, FingerprintError, StoreError
from testing.stores import needs_milvus
from testing.tiny_backbone import TinyBackbone

STORES = ["lance", "exact", pytest.param("milvus", marks=needs_milvus)]
UPLOAD = "uploads/ab/" + "ab" * 20 + ".png"


def address(kind, tmp_path, name="items"):
    return f"milvus:{tmp_path / name}.db" if kind == "milvus" else kind


def build(pictures, folder, store="exact"):
    """An index of photos with one upload, which lies inside it."""
    index, _ = Index.build(Catalog.open(pictures), Encoder(TinyBackbone()), folder, store=store, domains=["photo"])
    file = folder / UPLOAD
    file.parent.mkdir(parents=True)
    shutil.copy(pictures / "sketch" / "cross" / "00.png", file)
    (file.parent / "waiting.png").write_bytes(b"of a job that has not begun")
    rows = {"id": [UPLOAD], "path": [str(file)], "root": [str(folder.resolve())], "domain": ["sketch"]}
    index.upsert(pa.table(rows | {"label": pa.nulls(1, pa.string())}), index.sample(1), index.fingerprint)
    return index


def state(index):
    return {
        row["id"]: (row, vector.tobytes())
        for rows, vectors in index.scan(vectors=True)
        for row, vector in zip(rows.to_pylist(), vectors, strict=True)
    }


@pytest.fixture
def snapshot(pictures, tmp_path):
    build(pictures, tmp_path / "i").snapshot(tmp_path / "s")
    return tmp_path / "s"


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("origin", STORES)
def test_a_snapshot_comes_back(pictures, tmp_path, origin, kind):
    index = build(pictures, tmp_path / "i", address(origin, tmp_path))
    index.snapshot(tmp_path / "s")
    expected, asked = state(index), index.sample(3, seed=4)
    answers = [[(hit.id, hit.score) for hit in hits] for hits in index.search(asked, 10)]
    index.close()
    shutil.rmtree(tmp_path / "i")
    made = Index.restore(tmp_path / "s", tmp_path / "back", store=address(kind, tmp_path, "back"))
    found = state(made)
    # An upload moved into the new index with its file; the rest is where it was.
    row, vector = expected.pop(UPLOAD)
    moved, same = found.pop(UPLOAD)
    assert found == expected
    assert same == vector
    root = (tmp_path / "back").resolve()
    assert moved == row | {"root": str(root), "path": str(root / UPLOAD)}
    assert (root / UPLOAD).read_bytes() == (pictures / "sketch" / "cross" / "00.png").read_bytes()
    assert not (tmp_path / "s" / "uploads" / "ab" / "waiting.png").exists()
    for hits, before in zip(made.search(asked, 10), answers, strict=True):
        assert [hit.id for hit in hits] == [image for image, _ in before]
        assert np.allclose([hit.score for hit in hits], [score for _, score in before], atol=1e-6)
    assert made.roots == [pictures.resolve()]
    assert made.domains_of(str(pictures.resolve())) == ["photo"]
    # It goes on as the first one would have.
    assert made.add(Catalog.open(pictures)).unchanged == 48
    assert made.store.stats()["kind"] == kind


def test_a_snapshot_that_fails_half_way_leaves_nothing(pictures, tmp_path, monkeypatch):
    index = build(pictures, tmp_path / "i")

    def full(self, folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Encoder, "save", full)
    with pytest.raises(CrosslensError, match="No space left"):
        index.snapshot(tmp_path / "s")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name[0] != ".") == ["i", "pictures"]
    assert not list(tmp_path.glob(".s.*"))


def edit(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_what_does_not_fit_is_refused_and_leaves_nothing(snapshot, tmp_path, tiny_world):
    def refused(kind, message):
        with pytest.raises(kind, match=message):
            Index.restore(snapshot, tmp_path / "back")
        assert not (tmp_path / "back").exists()

    said, good = snapshot / "snapshot.json", (snapshot / "snapshot.json").read_text()
    edit(said, items=7)
    refused(StoreError, "49 items, not 7")
    said.write_text(good)
    edit(said, format=9)
    refused(StoreError, "newer crosslens")
    said.write_text(good)
    edit(said, roots="x")
    refused(StoreError, "snapshot.json is damaged")
    said.write_text(good)
    edit(said, fingerprint={})
    refused(StoreError, "damaged")
    said.write_text(good[:40])
    refused(StoreError, "cannot be read as JSON")
    said.write_text(good)

    file = snapshot / "vectors.safetensors"
    vectors, whole = load_file(file)["vectors"], file.read_bytes()
    for wrong, message in (
        (vectors[:5], "vectors for 49 items"),
        (vectors[:, :9].copy(), "vectors for 49 items"),
        (vectors * 2, "length 1"),
        (np.where(vectors == vectors.max(), np.float32("nan"), vectors), "length 1"),
    ):
        save_file({"vectors": np.ascontiguousarray(wrong)}, file)
        refused(StoreError, message)
    file.write_bytes(whole[:50])
    refused(StoreError, "damaged")
    file.unlink()
    refused(StoreError, r"vectors.safetensors is damaged \(it is missing\)")
    file.write_bytes(whole)

    table = pa_parquet.read_table(snapshot / "items.parquet")
    twice = pa.concat_tables([table.slice(0, 48), table.slice(0, 1)])
    pa_parquet.write_table(twice, snapshot / "items.parquet")
    refused(StoreError, "repeat an id")
    pa_parquet.write_table(table, snapshot / "items.parquet")

    shutil.rmtree(snapshot / "encoder")
    Encoder(TinyBackbone(seed=1)).save(snapshot / "encoder")
    refused(FingerprintError, "another embedding")
    shutil.rmtree(snapshot / "encoder")
    refused(CrosslensError, "encoder")
    Encoder(TinyBackbone()).save(snapshot / "encoder")
    assert len(Index.restore(snapshot, tmp_path / "back")) == 49


def test_folders_that_are_no_snapshot_or_in_use(snapshot, tmp_path):
    with pytest.raises(StoreError, match="is no snapshot"):
        Index.restore(tmp_path / "i", tmp_path / "back")
    with pytest.raises(StoreError, match="holds an index already"):
        Index.restore(snapshot, tmp_path / "i")
    with pytest.raises(StoreError, match="not empty"):
        Index.restore(snapshot, snapshot)
    with pytest.raises(StoreError, match=r"is a snapshot; .*crosslens index restore"):
        Index.open(snapshot)


def test_a_restore_that_dies_may_be_done_again(snapshot, tmp_path, monkeypatch):
    class KilledError(BaseException):
        pass

    write = making.write_json

    def die_late(file, value):
        if file.name == "index.json":
            raise KilledError
        write(file, value)

    with monkeypatch.context() as patch:
        patch.setattr(making, "write_json", die_late)
        with pytest.raises(KilledError):
            Index.restore(snapshot, tmp_path / "back")
    assert (tmp_path / "back" / UPLOAD).exists()
    with pytest.raises(StoreError, match="holds no index"):
        Index.open(tmp_path / "back")
    assert len(Index.restore(snapshot, tmp_path / "back")) == 49


def test_links_and_ids_that_lead_out_are_not_followed(pictures, snapshot, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    (snapshot / "uploads" / "link.png").symlink_to(tmp_path / "secret.txt")
    made = Index.restore(snapshot, tmp_path / "back")
    assert not (tmp_path / "back" / "uploads" / "link.png").exists()
    rows = {
        "id": ["uploads/../../secret.txt"],
        "path": ["/x"],
        "root": [str((tmp_path / "back").resolve())],
        "domain": ["sketch"],
    }
    made.upsert(pa.table(rows | {"label": pa.nulls(1, pa.string())}), made.sample(1), made.fingerprint)
    made.snapshot(tmp_path / "again")
    assert not [file for file in (tmp_path / "again").rglob("*") if file.name == "secret.txt"]


def test_uploads_of_a_moved_index_come_along(pictures, tmp_path):
    build(pictures, tmp_path / "i").close()
    (tmp_path / "i").rename(tmp_path / "elsewhere")
    Index.open(tmp_path / "elsewhere").snapshot(tmp_path / "s")
    restored = Index.restore(tmp_path / "s", tmp_path / "back")
    hit, _ = restored.get(UPLOAD)
    assert (hit.path, hit.root) == (str(tmp_path / "back" / UPLOAD), str(tmp_path / "back"))
    assert (tmp_path / "back" / UPLOAD).read_bytes() == (tmp_path / "elsewhere" / UPLOAD).read_bytes()
