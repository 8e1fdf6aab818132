"""What is the default store's own: what opening and building read of the table."""

import json

import numpy as np
import pytest

from crosslens.search.stores.lance_table import LanceTable
from testing.stores import Place, items, slow_search, unit

COUNT = 240
IDS = [f"{number:04d}" for number in range(COUNT)]


@pytest.fixture
def place(tmp_path):
    found = Place("lance-lists", tmp_path / "i")
    store = found.create()
    store.upsert(items(IDS), unit(COUNT))
    store.close()
    return found


def answers(store):
    return [found.ids for found in store.search(unit(5, seed=7), 10)]


def expected(ids=IDS, rows=unit(COUNT)):
    return [slow_search(items(ids), rows, query, 10)[0] for query in unit(5, seed=7)]


def refuse(monkeypatch, *names):
    """Let nobody call these."""

    def refused(self, *_):
        raise AssertionError("the table was read")

    for name in names:
        monkeypatch.setattr(LanceTable, name, refused)


def test_opening_what_has_not_changed_reads_no_row_of_the_table(place, monkeypatch):
    refuse(monkeypatch, "seqs", "all_items", "rows_after", "vectors_after", "blocks")
    store = place.open()
    assert answers(store) == expected()
    assert store.get(["0007"])[0].to_pylist() == items(IDS).slice(7, 1).to_pylist()
    # Nothing was copied: what is taken from lies in the mapped file.
    taken_from, mapped = store._view._batch.column("id"), store._view.structure.items.column("id").chunk(0)
    assert [one.address for one in taken_from.buffers()[1:]] == [one.address for one in mapped.buffers()[1:]]
    store.close()


def test_what_changed_since_the_structure_is_read_alone(place, monkeypatch):
    store = place.open()
    store.delete(IDS[:3])
    store.upsert(items(["new"]), unit(1, seed=3))
    store.close()
    refuse(monkeypatch, "all_items", "blocks")
    again = place.open()
    rows = np.concatenate([unit(COUNT)[3:], unit(1, seed=3)])
    assert answers(again) == expected([*IDS[3:], "new"], rows)
    assert again.count() == COUNT - 2
    again.close()


def test_a_structure_of_an_older_version_has_no_items(place):
    folder = max((place.context.folder / "serving").iterdir())
    (folder / "items.arrow").unlink()
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]["items.arrow"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    store = place.open()
    assert store.stats()["structured"] == COUNT
    assert answers(store) == expected()
    store.close()


def test_the_vectors_of_many_new_rows_are_never_held(tmp_path, monkeypatch):
    refuse(monkeypatch, "rows_after")
    read = []
    real = LanceTable.vectors_after
    monkeypatch.setattr(LanceTable, "vectors_after", lambda self, seq: read.append(seq) or real(self, seq))
    store = Place("lance-lists", tmp_path / "i").create()
    read.clear()
    store.upsert(items(IDS), unit(COUNT))
    assert read == []
    assert store.stats()["structured"] == COUNT
    assert answers(store) == expected()


def test_another_table_of_the_same_version_is_noticed(tmp_path):
    places = [Place("lance-lists", tmp_path / name) for name in ("one", "other")]
    for seed, place in enumerate(places):
        store = place.create()
        store.upsert(items(IDS), unit(COUNT, seed=seed))
        store.close()
    mine, others = (place.context.folder / "serving" for place in places)
    mine.rename(tmp_path / "aside")
    others.rename(mine)
    store = places[0].open()
    assert answers(store) == expected()
    store.close()
