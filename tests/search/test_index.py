"""The first index: exact answers, durable changes, refusals."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crosslens.catalog import Catalog
from crosslens.encoder import Encoder, load_encoder
from crosslens.errors import BackboneError, ConfigError, FingerprintError, ImageError, StoreError
from crosslens.search.index import Index
from crosslens.search.query import query_vector, search
from tiny import TinyBackbone


@pytest.fixture
def encoder(tiny_world):
    return Encoder(TinyBackbone())


@pytest.fixture
def built(pictures, encoder, tmp_path):
    index, skipped = Index.build(Catalog.open(pictures), encoder, tmp_path / "i")
    assert skipped == []
    return index


def items(ids):
    return pa.table({"id": ids, "path": ids, "domain": ["d"] * len(ids), "label": [None] * len(ids)})


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_build_open_search(built, pictures, encoder):
    opened = Index.open(built.folder)
    assert len(opened) == 96
    vector = query_vector(opened, images=[pictures / "photo" / "circle" / "03.png"])
    hits = search(opened, vector, top=5)
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
    index = Index.create(tmp_path_factory.mktemp("x") / "i", encoder)
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


def _write_until_killed(folder):
    from tiny import register_tiny

    register_tiny()
    index = Index.open(folder)
    fingerprint = Encoder(TinyBackbone()).fingerprint
    rng = np.random.default_rng(0)
    for number in range(10_000):
        index.upsert(items([f"extra{number}"]), unit(rng.normal(size=(1, 64))), fingerprint)


@pytest.mark.parametrize("delay", [0.02, 0.05, 0.11, 0.3])
def test_kill_9_while_writing_leaves_a_whole_index(built, delay):
    process = multiprocessing.get_context("fork").Process(target=_write_until_killed, args=(built.folder,))
    process.start()
    time.sleep(delay)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    opened = Index.open(built.folder)
    count = len(opened)
    assert count >= 96
    assert opened.vectors.shape == (count, 64)
    assert opened.items.num_rows == count
    assert set(opened.items.column("id").to_pylist()) >= {f"extra{n}" for n in range(count - 96)}
    opened.delete(["extra0"])
    assert len(opened.search(opened.vectors[:1], 3)[0]) == 3


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

        monkeypatch.setattr("crosslens.search.index.LOCK_SECONDS", 0.1)
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
        file.write_text(text.replace('"format": 2', '"format": 7'))
        with pytest.raises(StoreError, match="newer crosslens"):
            Index.open(built.folder)
        file.write_text(text.replace('"format": 2', '"format": 1'))
        with pytest.raises(StoreError, match="build it again"):
            Index.open(built.folder)
        file.write_text(text[: len(text) // 2])
        with pytest.raises(StoreError, match="cannot be read as JSON"):
            Index.open(built.folder)
        file.write_text(text)
        vectors = built.folder / "generations" / "000001" / "vectors.safetensors"
        vectors.write_bytes(vectors.read_bytes()[:200])
        with pytest.raises(StoreError, match="is damaged"):
            Index.open(built.folder).search(np.ones((1, 64), np.float32))

    def test_a_full_disk_keeps_the_old_generation(self, built, encoder, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("crosslens.search.stores.snapshot.save_file", full)
        with pytest.raises(Exception, match="No space left"):
            built.upsert(items(["x"]), unit(np.ones((1, 64))), encoder.fingerprint)
        monkeypatch.undo()
        opened = Index.open(built.folder)
        assert len(opened) == 96
        assert len(opened.search(opened.vectors[:1], 3)[0]) == 3


class TestQueries:
    def test_mixes_and_negative_weights(self, built):
        a, b = built.get("photo/circle/00.png")[1], built.get("sketch/cross/00.png")[1]
        mixed = query_vector(built, like=["photo/circle/00.png", "sketch/cross/00.png"], weights=[1, -0.5])
        expected = a - 0.5 * b
        assert np.allclose(mixed, expected / np.linalg.norm(expected), atol=1e-6)

    def test_cut_off_and_exclusion(self, built):
        vector = query_vector(built, like=["photo/circle/00.png"])
        hits = search(built, vector, top=10, min_score=0.5, exclude=["photo/circle/00.png"])
        assert all(hit.score >= 0.5 for hit in hits)
        assert "photo/circle/00.png" not in {hit.id for hit in hits}
        assert len(search(built, vector, top=10, exclude=["photo/circle/00.png"])) == 10

    def test_bad_queries_are_named(self, built, tmp_path):
        with pytest.raises(ConfigError, match="at least one query"):
            query_vector(built)
        with pytest.raises(ConfigError, match="2 queries need 2 weights, not 1"):
            query_vector(built, like=["photo/circle/00.png", "sketch/cross/00.png"], weights=[1])
        with pytest.raises(ConfigError, match="cancel"):
            query_vector(built, like=["photo/circle/00.png"] * 2, weights=[1, -1])
        with pytest.raises(StoreError, match="no item"):
            query_vector(built, like=["nobody"])
        with pytest.raises(ImageError, match="does not exist"):
            query_vector(built, images=[tmp_path / "none.png"])
        with pytest.raises(BackboneError, match="does not understand text"):
            query_vector(built, texts=["a cat"])


def test_the_index_carries_its_encoder(built, pictures):
    stats = built.stats()
    assert stats["items"] == 96
    assert stats["domains"] == {"photo": 48, "sketch": 48}
    assert stats["text_queries"] is False
    again = load_encoder(built.folder / "encoder")
    assert again.fingerprint == built.fingerprint
