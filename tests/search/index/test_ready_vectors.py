"""Features and vectors made elsewhere go into an index as they are; wrong ones are refused by name."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

import crosslens
from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.features.store import FeatureStore
from crosslens.search.index.index import Index
from crosslens.support.errors import FeatureError, FingerprintError
from testing.tiny_backbone import TinyBackbone


@pytest.fixture
def encoder(tiny_world):
    return Encoder(TinyBackbone())


@pytest.fixture
def catalog(pictures):
    return Catalog.open(pictures)


@pytest.fixture
def vectors(encoder, catalog):
    return encoder.encode_images(catalog.paths)


def write(file, ids, vectors):
    if file.suffix == ".parquet":
        pq.write_table(pa.table({"id": ids, "vector": list(vectors)}), file)
        return file
    if file.suffix == ".npy":
        np.save(file, vectors)
    else:
        save_file({"vectors": np.ascontiguousarray(vectors)}, file)
    file.with_suffix(".txt").write_text("\n".join(ids) + "\n")
    return file


@pytest.mark.parametrize("suffix", ["parquet", "npy", "safetensors"])
def test_vectors_are_indexed_as_they_are(catalog, vectors, encoder, tmp_path, suffix):
    # Of any length, in another order, and of more images than there are.
    ids = [*catalog.ids[::-1], "other"]
    rows = np.concatenate([3 * vectors[::-1], vectors[:1]]).astype(np.float32)
    file = write(tmp_path / f"v.{suffix}", ids, rows)
    index, skipped = Index.build(catalog, encoder, tmp_path / "i", store="exact", vectors=file)
    assert (len(index), skipped) == (96, [])
    for image, vector in zip(catalog.ids[:5], vectors, strict=False):
        np.testing.assert_allclose(index.get(image)[1], vector, atol=1e-6)
    assert index.add(catalog).unchanged == 96


def with_nan(ids, rows):
    rows[3, 2] = np.nan
    return ids, rows


def with_nothing(ids, rows):
    rows[3] = 0
    return ids, rows


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (with_nan, FeatureError, "the vector of '.*' holds NaN"),
        (with_nothing, FeatureError, "the vector of '.*' has length 0"),
        (lambda ids, rows: (ids[1:], rows[1:]), FeatureError, "no vector of 1 of 96 images, the first: 'photo/"),
        (lambda ids, rows: (ids, rows[:, :5]), FeatureError, "vectors of 5 numbers, and tiny makes 64"),
        (lambda ids, rows: (ids, rows[:, ::-1]), FingerprintError, "was not made by tiny: .* a cosine of"),
        (lambda ids, rows: (ids, rows[1:]), FeatureError, "96 ids for vectors of the shape"),
        (lambda ids, rows: ([ids[1], *ids[1:]], rows), FeatureError, "has two vectors of"),
    ],
)
def test_wrong_vectors_are_refused(catalog, vectors, encoder, tmp_path, change, error, message):
    ids, rows = change(list(catalog.ids), vectors.copy())
    file = write(tmp_path / "v.npy", ids, rows)
    with pytest.raises(error, match=message):
        Index.build(catalog, encoder, tmp_path / "i", vectors=file)
    assert not (tmp_path / "i").exists()


def test_files_that_hold_no_vectors(catalog, encoder, tmp_path):
    np.save(tmp_path / "alone.npy", np.zeros((2, 64)))
    np.save(tmp_path / "objects.npy", np.array([{}, {}]), allow_pickle=True)
    (tmp_path / "v.bin").write_bytes(b"x")
    for name, message in (
        ("alone.npy", "write the ids to .*alone.txt"),
        ("objects.npy", "cannot be read as vectors"),
        ("v.bin", "come as .parquet, .npy or .safetensors"),
        ("none.npy", "cannot be read as vectors"),
    ):
        with pytest.raises(FeatureError, match=message):
            Index.build(catalog, encoder, tmp_path / "i", vectors=tmp_path / name)


def test_features_are_indexed_without_embedding_again(catalog, vectors, encoder, tmp_path, monkeypatch):
    crosslens.embed(catalog, out=tmp_path / "f", backbone="tiny")
    monkeypatch.setattr("crosslens.features.runner.make_engine", None)
    index, _ = Index.build(catalog, encoder, tmp_path / "i", store="exact", features=tmp_path / "f")
    np.testing.assert_allclose(index.get(catalog.ids[7])[1], vectors[7], atol=1e-2)


def test_features_of_another_backbone_or_none_are_refused(catalog, encoder, tmp_path):
    crosslens.embed(catalog.take(range(4)), out=tmp_path / "f", backbone="tiny:1")
    with pytest.raises(FingerprintError, match="the feature folder"):
        Index.build(catalog, encoder, tmp_path / "i", features=tmp_path / "f")
    with pytest.raises(FeatureError, match="is no feature folder"):
        Index.build(catalog, encoder, tmp_path / "i", features=tmp_path / "none")


def test_folders_of_several_machines_are_joined(catalog, encoder, tmp_path, monkeypatch):
    half = len(catalog) // 2
    parts = [catalog.take(range(half)), catalog.take(range(half, len(catalog)))]
    for number, part in enumerate(parts):
        crosslens.embed(part, out=tmp_path / f"f{number}", backbone="tiny")
    monkeypatch.setattr("crosslens.features.runner.make_engine", None)
    folders = [tmp_path / "f0", tmp_path / "f1"]
    report = crosslens.embed(catalog, out=tmp_path / "all", backbone="tiny", join=folders)
    assert (report.embedded, report.reused, report.skipped) == (0, 96, [])
    # Once more changes nothing.
    shards = len(list((tmp_path / "all" / "shards").iterdir()))
    crosslens.embed(catalog, out=tmp_path / "all", backbone="tiny", join=folders)
    assert len(list((tmp_path / "all" / "shards").iterdir())) == shards
    joined, first = FeatureStore.open(tmp_path / "all"), FeatureStore.open(tmp_path / "f1")
    np.testing.assert_array_equal(joined.gather(parts[1].ids), first.gather(parts[1].ids))
    monkeypatch.undo()
    crosslens.embed(parts[0], out=tmp_path / "other", backbone="tiny:1")
    with pytest.raises(FingerprintError, match=r"the feature folder .*other"):
        crosslens.embed(catalog, out=tmp_path / "all", backbone="tiny", join=[tmp_path / "other"])
    crosslens.embed(parts[0], out=tmp_path / "views", backbone="tiny", views=1)
    with pytest.raises(FeatureError, match="holds other random views"):
        crosslens.embed(catalog, out=tmp_path / "all", backbone="tiny", join=[tmp_path / "views"])
