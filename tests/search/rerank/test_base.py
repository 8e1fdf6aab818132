"""Re-ranked lists are the same in every store, also where many items are copies of one."""

from typing import get_args

import numpy as np
import pyarrow as pa
import pytest

from crosslens.encoder import Encoder
from crosslens.search.index.index import Index
from crosslens.search.query.query import SearchOptions
from crosslens.search.query.searcher import Searcher
from crosslens.search.rerank import RERANKERS
from crosslens.search.rerank.base import Rerank, Reranker
from testing.tiny_backbone import TinyBackbone


def test_every_name_has_its_reranker():
    assert set(RERANKERS) == set(get_args(Rerank))
    assert all(reranker.expands or reranker.reorders for reranker in RERANKERS.values())


def test_a_reranker_may_expand_and_reorder(index, monkeypatch):
    """A new one is a class and an entry: this one asks with the best hit and turns the head round."""

    class Backwards(Reranker):
        name = "aqe"
        expands, reorders = 1, 3

        def expand(self, query, vectors, scores):
            return vectors[0]

        def values(self, asked, scores, vectors, graph, similarity):
            return -scores

    query = index.get("photo/circle/00.png")[1] + 0.3 * index.get("photo/cross/00.png")[1]
    query /= np.linalg.norm(query)
    best = index.search(query[None], 1)[0][0]
    expected = [hit.id for hit in index.search(index.get(best.id)[1][None], 6)[0]]
    monkeypatch.setitem(RERANKERS, "aqe", Backwards())
    answer = Searcher(index).answer_vector(query, SearchOptions(top=6, rerank="aqe"))
    scores = [shown.hit.score for shown in answer.hits]
    assert scores[:3] == sorted(scores[:3])
    assert {shown.hit.id for shown in answer.hits[:3]} == set(expected[:3])
    assert [shown.hit.id for shown in answer.hits[3:]] == expected[3:]


@pytest.mark.parametrize("method", ["dba", "k-reciprocal", "diffusion"])
def test_copies_come_in_the_same_order_however_they_were_written(method, tiny_world, tmp_path):
    """Also beside other stores: they list items in the order of writing, of ids, or in one of their own."""
    encoder = Encoder(TinyBackbone())
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((110, encoder.dim)).astype(np.float32)
    # More copies than a list of neighbours holds, and some in pairs.
    rows[:60] = rows[0]
    rows[60:70] = rows[70:80]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    ids = np.array([f"n{number:03d}" for number in range(110)])
    query = rows[0] + 0.5 * rows[90]
    query /= np.linalg.norm(query)
    lists = []
    for number, store in enumerate(["exact", "lance", "lance"]):
        index = Index.create(tmp_path / str(number), encoder, store=store)
        order = np.arange(110) if number == 1 else rng.permutation(110)
        for part in (order[:20], order[20:]):
            table = pa.table({"id": ids[part], "path": ids[part], "domain": ["photo"] * len(part)})
            index.upsert(table, rows[part], encoder.fingerprint)
        for searcher in (Searcher(index), Searcher(index, graph_limit=0)):
            answer = searcher.answer_vector(query, SearchOptions(top=110, rerank=method))
            lists.append([found.hit.id for found in answer.hits])
    assert lists[::2] == [lists[0]] * 3
    assert lists[1::2] == [lists[1]] * 3
    for found in lists[:2]:
        copies = [image for image in found if image < "n060"]
        assert copies == ids[:60].tolist()
        assert found.index("n059") - found.index("n000") == 59
