"""What every store does, the same for each."""

import json
import unicodedata

import numpy as np
import pyarrow as pa
import pytest

from crosslens.nn.similarity import Similarity
from crosslens.search.filters.binding import bind
from crosslens.search.filters.conditions import And, Eq, In, Not, Or, Prefix, Range
from crosslens.search.filters.text import parse_filter
from crosslens.search.stores import STORES
from crosslens.search.stores.base import ITEM_SCHEMA
from crosslens.search.stores.snapshot import read_pair
from crosslens.support.errors import StoreError
from testing import own_values
from testing.stores import ALL, DIM, Place, items, slow_search, unit
from testing.toy_store import LINE

COUNT = 240


@pytest.fixture(autouse=True)
def _with_the_toy_store(monkeypatch):
    monkeypatch.setattr("crosslens.search.stores.STORES", STORES | LINE)


@pytest.fixture(params=ALL)
def place(request, tmp_path):
    return Place(request.param, tmp_path / "i")


@pytest.fixture
def store(place):
    made = place.create()
    yield made
    made.close()


@pytest.fixture
def table():
    ids = [f"{('photo', 'sketch')[row % 2]}/c{row % 7}/{row:03d}.jpg" for row in range(COUNT)]
    return items(
        ids,
        domain=[("photo", "sketch")[row % 2] for row in range(COUNT)],
        label=[None if row % 5 == 0 else f"c{row % 7}" for row in range(COUNT)],
        size=[None if row % 11 == 0 else row * 100 for row in range(COUNT)],
        modified=[1_700_000_000 + row for row in range(COUNT)],
    )


@pytest.fixture
def full(store, table):
    store.upsert(table, unit(COUNT))
    return store


def ids_of(rows):
    return rows.column("id").to_pylist()


def held(store):
    """Everything a store holds: id to (row, vector)."""
    found = {}
    for rows, vectors in store.scan(vectors=True, batch=50):
        assert rows.schema.equals(ITEM_SCHEMA)
        for row, vector in zip(rows.to_pylist(), vectors, strict=True):
            found[row["id"]] = (row, vector)
    return found


def check_search(store, table, vectors, queries, k, where=None):
    mask = None if where is None else where.mask(table)
    for exact in (False, True):
        for query, found in zip(queries, store.search(queries, k, where, exact), strict=True):
            ids, scores = slow_search(table, vectors, query, k, mask)
            assert found.ids == ids_of(found.rows) == ids
            assert found.rows.schema.equals(ITEM_SCHEMA)
            assert found.scores.dtype == np.float32
            assert np.allclose(found.scores, scores, atol=1e-5)


def test_an_empty_store(store):
    assert store.count() == 0
    assert store.count(Eq(field="domain", value="photo")) == 0
    assert list(store.scan()) == []
    found = store.search(unit(2), 5)
    assert [found[0].rows.num_rows, found[1].rows.num_rows] == [0, 0]
    assert found[0].rows.schema.equals(ITEM_SCHEMA)
    assert store.delete(["nobody"]) == 0
    assert store.delete(Eq(field="domain", value="photo")) == 0
    rows, vectors = store.get([])
    assert (rows.num_rows, vectors.shape) == (0, (0, DIM))
    store.optimize()
    assert store.count() == 0


def test_scores_are_cosines_and_best_come_first(full, table):
    check_search(full, table, unit(COUNT), unit(5, seed=1), 10)
    check_search(full, table, unit(COUNT), unit(1, seed=2), 1)


def test_a_column_is_that_of_the_items(store, full, table):
    scanned = pa.concat_tables([rows for rows, _ in full.scan(batch=50)])
    for name in ("id", "domain", "label", "size", "stamp"):
        assert full.column(name).to_pylist() == scanned.column(name).to_pylist()
    full.delete(full.column("id").to_pylist())
    assert full.column("domain").to_pylist() == []


def test_k_beyond_the_size(full, table):
    check_search(full, table, unit(COUNT), unit(2, seed=1), COUNT + 50)


FILTERS = [
    Eq(field="domain", value="photo"),
    Eq(field="label", value="c3"),
    Not(filter=Eq(field="label", value="c3")),
    In(field="label", values=("c1", "c2", "nothing")),
    In(field="label", values=()),
    Not(filter=In(field="label", values=())),
    Range(field="size", min=1000, max=2000),
    Range(field="size"),
    Not(filter=Range(field="size", min=500)),
    Range(field="modified", max=1_700_000_002),
    Prefix(field="id", value="photo/c4/"),
    Not(filter=Prefix(field="label", value="c")),
    And(filters=(Eq(field="domain", value="sketch"), Not(filter=Range(field="label")))),
    Or(filters=(Eq(field="id", value="photo/c0/000.jpg"), Eq(field="label", value="c5"))),
    Not(filter=Or(filters=(Eq(field="label", value="c1"), And(filters=(Range(field="size", min=9000),))))),
    Eq(field="id", value="photo/c0/000.jpg"),
    Eq(field="domain", value="nothing"),
]


@pytest.mark.parametrize("where", FILTERS, ids=lambda where: where.model_dump_json()[:60])
def test_filters_come_before_the_cut(full, table, where):
    mask = where.mask(table)
    assert full.count(where) == mask.sum()
    found = [image for rows, _ in full.scan(where) for image in ids_of(rows)]
    assert sorted(found) == sorted(np.array(ids_of(table))[mask].tolist())
    check_search(full, table, unit(COUNT), unit(3, seed=4), 10, where)


@pytest.fixture
def described(store, table):
    place = table.schema.get_field_index("own")
    described = table.set_column(place, "own", pa.array(own_values.own(COUNT), pa.string()))
    store.upsert(described, unit(COUNT))
    return store, described


@pytest.mark.parametrize(("text", "holds"), own_values.CONDITIONS, ids=[text for text, _ in own_values.CONDITIONS])
def test_own_columns_are_kept_and_filtered(described, text, holds):
    store, table = described
    where = bind(parse_filter(text), own_values.COLUMNS)
    expected = own_values.rows_where(COUNT, holds)
    assert 0 < len(expected) < COUNT
    assert np.flatnonzero(where.mask(table)).tolist() == expected
    assert store.count(where) == len(expected)
    check_search(store, table, unit(COUNT), unit(2, seed=4), 10, where)
    found = held(store)
    for row, image in enumerate(ids_of(table)):
        text = found[image][0]["own"]
        assert (None if text is None else json.loads(text)) == (own_values.values_of(row) if row % 10 else None)
    assert store.delete(where) == len(expected)
    assert store.count() == COUNT - len(expected)


def test_an_own_column_of_an_awkward_name(described):
    store, _ = described
    where = bind(Eq(field=own_values.ODD, value="a"), own_values.COLUMNS)
    assert store.count(where) == len(own_values.rows_where(COUNT, lambda v: v.get(own_values.ODD) == "a")) > 0
    assert store.keeps("own")


AWKWARD = ["it's", 'say "hi"', "emoji 🐈/ä", "100%_sure", "back\\slash", "new\nline", "'; drop table items --"]


def test_quotes_and_other_letters(store):
    ids = [f"{text}/1" for text in AWKWARD]
    table = items(ids, label=AWKWARD, domain=AWKWARD)
    store.upsert(table, unit(len(ids)))
    assert sorted(held(store)) == sorted(ids)
    for text in AWKWARD:
        for where in (
            Eq(field="label", value=text),
            In(field="domain", values=(text,)),
            Prefix(field="id", value=text),
            Range(field="label", min=text, max=text),
        ):
            assert [ids_of(rows) for rows, _ in store.scan(where)] == [[f"{text}/1"]]
        assert ids_of(store.get([f"{text}/1"])[0]) == [f"{text}/1"]
    assert store.delete([f"{AWKWARD[0]}/1"]) == 1
    assert store.delete(Eq(field="label", value=AWKWARD[-1])) == 1
    assert store.count() == len(AWKWARD) - 2


def test_accents_match_however_they_are_stored(store):
    labels = [unicodedata.normalize(form, "café/crème") for form in ("NFC", "NFD")]
    store.upsert(items(["a", "b", "c"], label=[*labels, "cafe"]), unit(3))
    for typed in labels:
        for where in (
            Eq(field="label", value=typed),
            In(field="label", values=("other", typed)),
            Prefix(field="label", value=typed[:-2]),
        ):
            assert sorted(image for rows, _ in store.scan(where) for image in ids_of(rows)) == ["a", "b"]
    assert store.delete(Eq(field="label", value=labels[0])) == 2


def test_upsert_adds_and_replaces(full, table):
    vectors = unit(3, seed=9)
    changed = items(["photo/c0/000.jpg", "new/1", "new/2"], label=["other", None, "x"], size=[None, 7, None])
    before = full.version
    full.upsert(changed, vectors)
    assert full.version != before
    found = held(full)
    assert len(found) == full.count() == COUNT + 2
    for row, vector in zip(changed.to_pylist(), vectors, strict=True):
        assert found[row["id"]][0] == row
        assert np.array_equal(found[row["id"]][1], vector)
    untouched = table.slice(1, 1).to_pylist()[0]
    assert found[untouched["id"]][0] == untouched
    best = full.search(vectors, 1)
    assert [ids_of(one.rows) for one in best] == [["photo/c0/000.jpg"], ["new/1"], ["new/2"]]
    every = full.search(unit(1), COUNT + 10)[0]
    assert len(set(ids_of(every.rows))) == COUNT + 2


def test_what_was_added_is_found_at_once_and_with_filters(full, table):
    vectors = np.concatenate([unit(COUNT), unit(15, seed=9)])
    more = items([f"late/{row:02d}" for row in range(15)], label=["c3"] * 15, domain=["photo"] * 15)
    full.upsert(more, vectors[COUNT:])
    both = pa.concat_tables([table, more])
    check_search(full, both, vectors, unit(3, seed=3), 20)
    check_search(full, both, vectors, unit(3, seed=3), 20, Eq(field="label", value="c3"))
    check_search(full, both, vectors, unit(3, seed=3), 20, Prefix(field="id", value="late/"))


def test_delete_by_ids_and_by_filter(full, table):
    gone = ids_of(table)[:40:2]
    assert full.delete([*gone, "unknown"]) == len(gone)
    assert full.delete([*gone]) == 0
    where = Eq(field="label", value="c3")
    kept = table.filter(pa.array([row not in set(gone) for row in ids_of(table)]))
    expected = int(where.mask(kept).sum())
    assert full.delete(where) == expected
    mask = np.array([row not in set(gone) for row in ids_of(table)]) & ~where.mask(table)
    left, vectors = table.filter(pa.array(mask)), unit(COUNT)[mask]
    assert sorted(held(full)) == sorted(ids_of(left))
    check_search(full, left, vectors, unit(3, seed=5), 10)
    check_search(full, left, vectors, unit(3, seed=5), 10, Eq(field="domain", value="photo"))


def test_deleted_and_added_again(full, table):
    image = ids_of(table)[3]
    full.delete([image])
    vector = unit(1, seed=8)
    full.upsert(items([image]), vector)
    assert np.array_equal(full.get([image])[1], vector)
    assert ids_of(full.search(vector, 1)[0].rows) == [image]
    full.delete(Not(filter=Eq(field="id", value="")))
    assert full.count() == 0
    full.upsert(items(["only"]), vector)
    assert ids_of(full.search(vector, 5)[0].rows) == ["only"]


def test_equal_vectors_are_in_the_order_of_ids(store):
    ids = [f"{number * 37 % 150:03d}" for number in range(150)]
    same = np.repeat(unit(1), 150, axis=0)
    store.upsert(items(ids), same)
    store.upsert(items(["0001", "z"]), same[:2])
    for k in (1, 7, 100, 152):
        for exact in (False, True):
            found = store.search(unit(1), k, exact=exact)[0]
            assert ids_of(found.rows) == sorted([*ids, "0001", "z"])[:k]
            assert np.ptp(found.scores) == 0


def test_get_keeps_the_order_asked(full, table):
    wanted = [ids_of(table)[row] for row in (5, 200, 0, 5)]
    rows, vectors = full.get(wanted)
    assert ids_of(rows) == wanted
    assert np.array_equal(vectors, unit(COUNT)[[5, 200, 0, 5]])
    many = ids_of(table)[::-1]
    assert ids_of(full.get(many)[0]) == many
    for asked in (["nobody"], [*wanted, "nobody"], [*many, "nobody"]):
        with pytest.raises(StoreError, match="no item 'nobody'"):
            full.get(asked)


def test_another_reader_sees_a_change_after_refresh(place, full, table):
    reader = place.open()
    assert not reader.refresh()
    before = reader.version
    full.delete(ids_of(table)[:1])
    full.upsert(items(["new"]), unit(1, seed=3))
    if place.kind != "milvus":  # a server has one version for all
        assert reader.count() == COUNT
        assert reader.version == before
    assert reader.refresh()
    assert not reader.refresh()
    assert reader.version != before
    assert reader.version == full.version
    assert reader.count() == COUNT
    assert ids_of(reader.search(unit(1, seed=3), 1)[0].rows) == ["new"]
    full.optimize()
    reader.refresh()
    assert ids_of(reader.search(unit(1, seed=3), 1)[0].rows) == ["new"]
    reader.close()


def test_closed_and_opened_again(place, full, table):
    full.close()
    again = place.open()
    assert again.count() == COUNT
    check_search(again, table, unit(COUNT), unit(3, seed=1), 10)
    again.close()


def test_optimize_changes_no_answer(full, table):
    full.upsert(table.slice(0, 30), unit(COUNT)[:30])
    full.delete(ids_of(table)[100:140])
    mask = np.r_[np.ones(100, bool), np.zeros(40, bool), np.ones(100, bool)]
    left, vectors = table.filter(pa.array(mask)), unit(COUNT)[mask]
    check_search(full, left, vectors, unit(3, seed=1), 10)
    full.optimize()
    check_search(full, left, vectors, unit(3, seed=1), 10)
    check_search(full, left, vectors, unit(3, seed=1), 10, Eq(field="domain", value="photo"))
    assert sorted(held(full)) == sorted(ids_of(left))


def test_a_snapshot_holds_everything(full, table, tmp_path):
    full.snapshot(tmp_path / "snapshot")
    rows, vectors = read_pair(tmp_path / "snapshot", DIM)
    order = np.argsort(ids_of(rows))
    expected = np.argsort(ids_of(table))
    assert rows.take(pa.array(order)).to_pylist() == table.take(pa.array(expected)).to_pylist()
    assert np.array_equal(vectors[order], unit(COUNT)[expected])


def test_stats_name_the_kind(full, place):
    assert full.stats()["kind"] == place.kind


@pytest.mark.parametrize("kind", ALL)
def test_lorentz_queries_are_not_unit_rows(kind, tmp_path):
    import torch

    similarity = Similarity(kind="lorentz", curvature=0.5, radius=1.2)
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(300, 8, generator=generator)
    points = 0.5 * points / points.norm(dim=1, keepdim=True) * torch.rand(300, 1, generator=generator)
    vectors = similarity.rows(points).numpy().astype(np.float32)
    place = Place(kind, tmp_path / "i", vectors.shape[1], similarity)
    store = place.create()
    table = items([f"{row:03d}" for row in range(300)])
    store.upsert(table, vectors)
    queries = similarity.as_queries(vectors[:8])
    for query, found in zip(queries, store.search(queries, 5), strict=True):
        ids, scores = slow_search(table, vectors, query, 5)
        assert ids_of(found.rows) == ids
        assert np.allclose(found.scores, scores, atol=1e-4)
    store.close()
