"""The index over its stores: exact answers, changes, refusals."""

import os

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder, load_encoder
from crosslens.search.index.description import FORMAT
from crosslens.search.index.index import Index
from crosslens.support.errors import FingerprintError, StoreError
from testing.tiny_backbone import TinyBackbone


@pytest.fixture
def encoder(tiny_world):
    return Encoder(TinyBackbone())


@pytest.fixture(params=["lance", "exact"])
def built(pictures, encoder, tmp_path, request):
    index, skipped = Index.build(Catalog.open(pictures), encoder, tmp_path / "i", store=request.param)
    assert skipped == []
    return index


def items(ids):
    return pa.table({"id": ids, "path": ids, "domain": ["d"] * len(ids), "label": [None] * len(ids)})


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_build_open_search(built, pictures, encoder):
    opened = Index.open(built.folder)
    assert len(opened) == 96
    vectors = opened.encoder.encode_images([pictures / "photo" / "circle" / "03.png"])
    hits = opened.search(vectors, 5)[0]
    assert hits[0].id == "photo/circle/03.png"
    assert hits[0].score == pytest.approx(1, abs=1e-3)
    assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
    assert hits[0].label == "circle"
    assert os.path.samefile(hits[0].path, pictures / "photo" / "circle" / "03.png")


def test_search_is_exact(built):
    queries = unit(np.random.default_rng(0).normal(size=(7, 64)))
    scores = queries @ built.vectors.T
    ids = built.items.column("id").to_pylist()
    for hits, row in zip(built.search(queries, 12), scores, strict=True):
        assert [h.id for h in hits] == [ids[i] for i in np.argsort(-row, kind="stable")[:12]]
        assert np.allclose([h.score for h in hits], np.sort(row)[::-1][:12], atol=1e-6)


def test_k_beyond_the_size_returns_all(built):
    assert len(built.search(built.vectors[:1], 1000)[0]) == 96


def test_upsert_replaces_and_adds_delete_removes(built, encoder):
    new = unit(np.random.default_rng(1).normal(size=(2, 64)))
    built.upsert(items(["photo/circle/00.png", "new"]), new, encoder.fingerprint)
    assert len(built) == 97
    assert np.allclose(built.get("new")[1], new[1])
    assert np.allclose(built.get("photo/circle/00.png")[1], new[0])
    assert built.delete(["new", "unknown"]) == 1
    assert len(Index.open(built.folder)) == 96
    with pytest.raises(StoreError, match="no item 'new'"):
        built.get("new")


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from("ud"), st.sets(st.integers(0, 9), min_size=1)), max_size=8))
def test_any_sequence_of_changes_leaves_what_a_dictionary_would(encoder, tmp_path_factory, changes):
    index = Index.create(tmp_path_factory.mktemp("x") / "i", encoder, store="exact")
    expected = {}
    rng = np.random.default_rng(0)
    for kind, numbers in changes:
        ids = [f"n{number}" for number in sorted(numbers)]
        if kind == "u":
            vectors = unit(rng.normal(size=(len(ids), 64)))
            index.upsert(items(ids), vectors, encoder.fingerprint)
            expected |= dict(zip(ids, vectors, strict=True))
        else:
            index.delete(ids)
            for name in ids:
                expected.pop(name, None)
    opened = Index.open(index.folder)
    assert set(opened.items.column("id").to_pylist()) == set(expected)
    for name, vector in expected.items():
        assert np.array_equal(opened.get(name)[1], vector)


def test_another_reader_sees_a_commit_after_opening_again(built, encoder):
    reader = Index.open(built.folder)
    built.delete(["photo/circle/00.png"])
    assert len(reader.search(reader.vectors[:1], 96)[0]) == 96
    assert len(Index.open(built.folder)) == 95
    assert reader.refresh()
    assert not reader.refresh()
    assert len(reader) == len(reader.search(reader.vectors[:1], 96)[0]) == 95


class TestRefusals:
    def test_vectors_of_another_encoder(self, built, tiny_world):
        other = Encoder(TinyBackbone(seed=1))
        with pytest.raises(FingerprintError, match="another embedding"):
            built.upsert(items(["x"]), unit(np.ones((1, 64))), other.fingerprint)

    def test_wrong_shapes_nan_and_repeats(self, built, encoder):
        with pytest.raises(StoreError, match=r"need vectors \(1, 64\)"):
            built.upsert(items(["x"]), unit(np.ones((1, 3))), encoder.fingerprint)
        with pytest.raises(StoreError, match="1 of 2 vectors hold NaN"):
            built.upsert(items(["x", "y"]), np.array([[np.nan] * 64, [0.1] * 64], np.float32), encoder.fingerprint)
        with pytest.raises(StoreError, match="repeat an id"):
            built.upsert(items(["x", "x"]), unit(np.ones((2, 64))), encoder.fingerprint)
        with pytest.raises(StoreError, match=r"queries must be \(Q, 64\)"):
            built.search(np.ones((1, 5), np.float32))
        with pytest.raises(StoreError, match="at least 1"):
            built.search(built.vectors[:1], 0)
        assert len(Index.open(built.folder)) == 96

    def test_a_second_writer(self, built, monkeypatch):
        from filelock import FileLock

        monkeypatch.setattr("crosslens.search.index.writer_lock.LOCK_SECONDS", 0.1)
        with FileLock(built.folder / ".lock"), pytest.raises(StoreError, match="another process is writing"):
            built.delete(["photo/circle/00.png"])

    def test_folders_that_are_none_or_newer_or_damaged(self, built, tmp_path, encoder):
        with pytest.raises(StoreError, match="holds no index"):
            Index.open(tmp_path)
        with pytest.raises(StoreError, match="holds an index already"):
            Index.create(built.folder, encoder)
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "thesis.txt").write_text("precious")
        with pytest.raises(StoreError, match="not empty"):
            Index.create(tmp_path / "full", encoder)
        file = built.folder / "index.json"
        text = file.read_text()
        file.write_text(text.replace(f'"format": {FORMAT}', '"format": 7'))
        with pytest.raises(StoreError, match="newer crosslens"):
            Index.open(built.folder)
        file.write_text(text.replace(f'"format": {FORMAT}', '"format": 1'))
        with pytest.raises(StoreError, match="build it again"):
            Index.open(built.folder)
        file.write_text(text[: len(text) // 2])
        with pytest.raises(StoreError, match="cannot be read as JSON"):
            Index.open(built.folder)
        file.write_text(text)


def test_the_index_carries_its_encoder(built, pictures):
    stats = built.stats()
    assert stats["items"] == 96
    assert stats["domains"] == {"photo": 48, "sketch": 48}
    assert stats["text_queries"] is False
    again = load_encoder(built.folder / "encoder")
    assert again.fingerprint == built.fingerprint
