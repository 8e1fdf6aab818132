"""Graphs brought up to date against graphs made whole."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosslens.search.rerank import graph_cache, graph_update
from crosslens.search.rerank.graph import neighbour_graph
from crosslens.search.rerank.graph_cache import GraphCache
from crosslens.search.rerank.graph_update import update_graph


def unit(rng, count, dim=8):
    rows = rng.normal(size=(count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def same(found, expected):
    assert np.array_equal(found.rows, expected.rows)
    assert np.allclose(found.scores, expected.scores, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 30), st.integers(0, 8), st.integers(0, 8), st.integers(1, 12), st.integers(0, 1000))
def test_any_change_leaves_the_graph_of_what_is_there(count, added, removed, k, seed):
    rng = np.random.default_rng(seed)
    vectors = unit(rng, count)
    before = neighbour_graph(vectors, k)
    origins = np.sort(rng.permutation(count)[: max(0, count - removed)])
    origins = np.insert(origins, rng.integers(0, len(origins) + 1, added), -1)
    now = np.where(origins[:, None] < 0, unit(rng, len(origins)), vectors[origins] if count else 0)
    same(update_graph(before, origins, now.astype(np.float32)), neighbour_graph(now.astype(np.float32), k))


def test_a_small_change_looks_few_items_up_anew(monkeypatch):
    rng = np.random.default_rng(0)
    vectors = unit(rng, 1000)
    before = neighbour_graph(vectors, 10)
    asked = []
    real = graph_update.top_k_chunks
    monkeypatch.setattr(graph_update, "top_k_chunks", lambda q, *a, **o: asked.append(len(q)) or real(q, *a, **o))
    monkeypatch.setattr(graph_update, "neighbour_graph", None)
    more = np.concatenate([vectors[1:], unit(rng, 2)])
    found = update_graph(before, np.array([*range(1, 1000), -1, -1]), more)
    same(found, neighbour_graph(more, 10))
    # The two new ones, and those that had the one that is gone among their ten.
    assert asked == [2 + int((before.rows == 0).any(1).sum())]


def test_a_cache_follows_every_version_of_its_index(index, monkeypatch):
    cache = GraphCache(index)
    cache.of([])
    whole = []
    monkeypatch.setattr(graph_cache, "neighbour_graph", lambda *_: whole.append(1))
    rng = np.random.default_rng(0)
    new = pa.table({"id": ["x", "photo/circle/00.png"], "path": ["x", "y"], "domain": ["d", "d"]})

    def check():
        ids = index.items.column("id").to_pylist()
        found = cache.of(ids)
        assert np.array_equal(found.positions, np.arange(len(ids)))
        assert np.array_equal(found.vectors, index.vectors)
        same(found.graph, neighbour_graph(index.vectors, graph_cache.GRAPH_NEIGHBOURS))

    check()
    # One item is new, one has another vector under the same id.
    index.upsert(new, unit(rng, 2, 64), index.fingerprint)
    check()
    index.delete(["x", "sketch/cross/01.png"])
    check()
    index.delete([image for image in index.items.column("id").to_pylist() if image.startswith("photo")])
    check()
    assert whole == []
    with pytest.raises(KeyError):
        cache._made.positions["x"]
