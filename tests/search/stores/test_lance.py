"""What is the default store's own: what opening and building read of the table."""

import json
import subprocess
import sys

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


def newest(place):
    return max((place.context.folder / "serving").iterdir())


def refuse(monkeypatch, *names):
    """Let nobody call these."""

    def refused(self, *_):
        raise AssertionError("the table was read")

    for name in names:
        monkeypatch.setattr(LanceTable, name, refused)


OPENED = """
import sys
from pathlib import Path
from testing.stores import Place, unit
store = Place({kind!r}, Path({folder!r})).open()
found = [nearest.ids for nearest in store.search(unit(5, seed=7), 10)]
assert not store.refresh()
assert "lance" not in sys.modules and "pyarrow.dataset" not in sys.modules
print(found)
"""


def opened_elsewhere(place):
    """What a new process finds, which fails where it needs Lance."""
    program = OPENED.format(kind=place.name, folder=str(place.context.folder))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("kind", ["lance", "lance-lists"])
def test_what_a_structure_is_the_whole_of_is_opened_without_lance(kind, tmp_path):
    place = Place(kind, tmp_path / "i")
    store = place.create()
    store.upsert(items(IDS), unit(COUNT))
    assert opened_elsewhere(place) == str(expected())
    # Joining files makes another version of the same rows.
    store.upsert(items(["new"]), unit(1, seed=3))
    store.delete(["new"])
    store.optimize()
    assert opened_elsewhere(place) == str(expected())
    store.close()


def test_a_small_table_has_a_structure_of_every_version(tmp_path):
    place = Place("lance", tmp_path / "i")
    store = place.create()
    store.upsert(items(IDS), unit(COUNT))
    store.delete(IDS[:3])
    assert opened_elsewhere(place) == str(expected(IDS[3:], unit(COUNT)[3:]))
    other = place.open()
    other.upsert(items(IDS[:2]), unit(COUNT)[:2])
    # The first reads no table to learn of the change, and still changes the newest version.
    assert store.refresh()
    store.upsert(items(IDS[2:4]), unit(COUNT)[2:4])
    assert answers(store) == expected()
    assert other.refresh()
    assert answers(other) == expected() == answers(place.open())
    assert store.count() == COUNT


def test_a_table_whose_versions_are_named_as_once_is_read(place):
    versions = place.context.folder / "table" / "items.lance" / "_versions"
    for file in versions.glob("*.manifest"):
        file.rename(versions / f"{2**64 - 1 - int(file.stem)}.manifest")
    for hint in versions.glob("*.json"):
        hint.unlink()
    store = place.open()
    assert answers(store) == expected()
    store.upsert(items(["new"]), unit(1, seed=3))
    assert store.count() == COUNT + 1
    store.close()


def test_opening_what_has_not_changed_reads_no_row_of_the_table(place, monkeypatch):
    refuse(monkeypatch, "seqs", "all_items", "rows_after", "vectors_after", "blocks")
    (newest(place) / "whole.json").unlink()
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
    folder = newest(place)
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
