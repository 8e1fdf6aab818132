"""Numbers beside vectors, in a store of every kind: what a query says of them is exact."""

import numpy as np
import pytest

from crosslens.search.filters.conditions import Eq
from crosslens.search.stores import STORES
from crosslens.search.stores.numbered import NumberedStore, with_weight
from crosslens.search.stores.snapshot import read_pair
from testing.stores import ALL, DIM, Place, items, slow_search, unit
from testing.toy_store import LINE

COUNT = 240


@pytest.fixture(autouse=True)
def _with_the_toy_store(monkeypatch):
    monkeypatch.setattr("crosslens.search.stores.STORES", STORES | LINE)


def number_of(table, vectors):
    """A number that depends on the item and its vector."""
    places = np.array([int(image[-7:-4]) for image in table.column("id").to_pylist()])
    return np.asarray(0.3 * np.sin(places) + 0.1 * vectors[:, 0], np.float32)


@pytest.fixture(params=ALL)
def place(request, tmp_path):
    made = Place(request.param, tmp_path / "i", dim=DIM + 1)
    object.__setattr__(made.context, "numbered", True)
    return made


@pytest.fixture
def store(place):
    made = NumberedStore(place.create(), DIM, number_of)
    yield made
    made.close()


def test_both_ways_to_ask_rank_exactly(store, place, tmp_path):
    table = items([f"{('photo', 'sketch')[row % 2]}/{row:03d}.jpg" for row in range(COUNT)])
    vectors, queries = unit(COUNT), unit(5, seed=3)
    store.upsert(table, vectors)
    numbers = number_of(table, vectors)
    store.optimize()
    where = Eq(field="domain", value=table.column("domain")[0].as_py())
    for weight, asked in ((0, queries), (0, with_weight(queries, 0)), (1, with_weight(queries, 1))):
        rows = np.concatenate([vectors, -numbers[:, None]], axis=1)
        slow = with_weight(queries, weight)
        for only in (None, where):
            mask = None if only is None else only.mask(table)
            for exact in (False, True):
                for query, found in zip(slow, store.search(asked, 7, only, exact), strict=True):
                    ids, scores = slow_search(table, rows, query, 7, mask)
                    assert found.ids == ids
                    np.testing.assert_allclose(found.scores, scores, atol=1e-6)
    best = store.search(with_weight(queries, 1), 1)[0]
    row = table.column("id").to_pylist().index(best.ids[0])
    assert best.scores[0] == pytest.approx(float(vectors[row] @ queries[0] - numbers[row]), abs=1e-6)
    again = NumberedStore(place.open(), DIM, number_of)
    assert again.search(with_weight(queries, 1), 7)[0].ids == store.search(with_weight(queries, 1), 7)[0].ids
    again.close()
    store.snapshot(tmp_path / "copy")
    assert read_pair(tmp_path / "copy", DIM)[1].shape == (COUNT, DIM)


def test_vectors_come_back_as_they_went_in_and_numbers_follow_changes(store):
    ids = [f"photo/{row:03d}.jpg" for row in range(30)]
    vectors = unit(30)
    store.upsert(items(ids), vectors)
    rows, found = store.get(ids[5:8])
    np.testing.assert_array_equal(found, vectors[5:8])
    np.testing.assert_allclose(store.numbers(ids[5:8]), number_of(rows, found), atol=1e-7)
    for table, part in store.scan(vectors=True):
        np.testing.assert_array_equal(
            part, vectors[[ids.index(image) for image in table.column("id").to_pylist()]]
        )
    changed = unit(1, seed=9)
    store.upsert(items(ids[5:6]), changed)
    store.delete(ids[6:7])
    assert store.count() == 29
    np.testing.assert_allclose(store.numbers(ids[5:6]), number_of(items(ids[5:6]), changed), atol=1e-7)
