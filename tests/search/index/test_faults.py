"""What goes wrong: killed processes, a full disk, damaged files, two writers. Nothing acknowledged is lost."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from crosslens.encoder import Encoder
from crosslens.search.filters.conditions import Eq
from crosslens.search.index.index import Index
from crosslens.support.errors import CrosslensError, FingerprintError, StoreError
from crosslens.support.progress import console
from testing.store_changes import applied, change_until_killed, held, read_log
from testing.stores import DIM, Place, items, slow_search, unit
from testing.tiny_backbone import TinyBackbone


def kill_rounds(kind, folder, rounds, seed=0):
    """Kill a writer at a random moment, look at what is left, and go on from there; says how many changes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killed", "lance", "crosslens.search.stores.lance"])
    place = Place(kind, folder)
    place.create().close()
    rng = np.random.default_rng(seed)
    model, total, torn = {}, 0, 0
    for number in range(rounds):
        log = folder.parent / f"log{number}"
        process = context.Process(target=change_until_killed, args=(kind, folder, seed + number, log))
        process.start()
        # Counted in changes, not in time, so that a slow machine tests as much as a fast one.
        wanted = int(rng.integers(0, 5))
        while not (log.exists() and log.stat().st_size and log.read_text().count("done") >= wanted):
            assert process.is_alive()
            time.sleep(0.002)
        time.sleep(float(rng.uniform(0, 0.5)))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        finished, under_way = read_log(log)
        for change in finished:
            model = applied(model, change)
        store = place.open()
        found = held(store)
        if under_way is not None and found != model:
            model, torn = applied(model, under_way), torn + 1
        assert found == model, f"round {number}, under way: {under_way}"
        query = unit(1, DIM, number)
        names = sorted(model)
        vectors = np.array([np.frombuffer(model[name][1], np.float32) for name in names]).reshape(-1, DIM)
        expected = slow_search(items(names), vectors, query[0], 10)[0]
        assert store.search(query, 10)[0].rows.column("id").to_pylist() == expected
        store.close()
        total += len(finished)
    return total, torn


@pytest.mark.parametrize("kind", ["lance-lists", "exact"])
def test_killed_writers_lose_nothing(kind, tmp_path):
    assert kill_rounds(kind, tmp_path / "i", 5)[0] > 0


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "rounds"), [("lance-lists", 220), ("lance", 60), ("exact", 60)])
def test_many_killed_writers_lose_nothing(kind, rounds, tmp_path):
    total, torn = kill_rounds(kind, tmp_path / "i", rounds, seed=1000)
    print(f"{kind}: {rounds} kills, {total} finished changes, {torn} changes under way were kept whole")
    assert total > rounds


class _Changes(RuleBasedStateMachine):
    """Any sequence of changes leaves what a dictionary would, for this handle, another reader and a new one."""

    kind = ""
    ids = st.lists(st.sampled_from([f"n{number}" for number in range(30)]), min_size=1, max_size=25, unique=True)

    @initialize()
    def make(self):
        import tempfile

        self.folder = Path(tempfile.mkdtemp())
        self.place = Place(self.kind, self.folder / "i")
        self.store = self.place.create()
        self.reader = self.place.open()
        self.model = {}
        self.step = 0

    @rule(ids=ids, label=st.sampled_from(["a", "b", None]))
    def upsert(self, ids, label):
        self.step += 1
        vectors = unit(len(ids), DIM, self.step)
        self.store.upsert(items(ids, label=[label] * len(ids)), vectors)
        self.model |= {i: (label, row.tobytes()) for i, row in zip(ids, vectors, strict=True)}

    @rule(ids=ids)
    def delete(self, ids):
        assert self.store.delete(ids) == len(set(ids) & set(self.model))
        self.model = {i: value for i, value in self.model.items() if i not in ids}

    @rule(label=st.sampled_from(["a", "b"]))
    def delete_where(self, label):
        gone = {i for i, value in self.model.items() if value[0] == label}
        assert self.store.delete(Eq(field="label", value=label)) == len(gone)
        self.model = {i: value for i, value in self.model.items() if i not in gone}

    @rule()
    def optimize(self):
        self.store.optimize()

    @rule()
    def open_again(self):
        self.store.close()
        self.store = self.place.open()

    @invariant()
    def same(self):
        self.reader.refresh()
        assert held(self.store) == held(self.reader) == self.model
        names = sorted(self.model)
        vectors = np.array([np.frombuffer(self.model[n][1], np.float32) for n in names]).reshape(-1, DIM)
        query = unit(1, DIM, 99)
        expected = slow_search(items(names), vectors, query[0], 7)[0]
        for store in (self.store, self.reader):
            assert store.search(query, 7)[0].rows.column("id").to_pylist() == expected

    def teardown(self):
        if hasattr(self, "folder"):
            self.store.close()
            self.reader.close()
            shutil.rmtree(self.folder)


@pytest.mark.parametrize("kind", ["lance-lists", "exact"])
def test_any_sequence_of_changes(kind):
    case = type("Changes", (_Changes,), {"kind": kind}).TestCase
    health = [HealthCheck.too_slow, HealthCheck.data_too_large]
    case.settings = settings(max_examples=12, stateful_step_count=10, deadline=None, suppress_health_check=health)
    case("runTest").runTest()


def filled(kind, folder, count=240):
    """A store of ``count`` items with a structure, and the arguments of ``slow_search``."""
    place = Place(kind, folder)
    store = place.create()
    table = items([f"{number:04d}" for number in range(count)])
    store.upsert(table, unit(count))
    store.close()
    return place, table, unit(count)


def answers(store, queries=unit(5, seed=7)):
    return [found.rows.column("id").to_pylist() for found in store.search(queries, 10)]


def damage(file, how):
    content = bytearray(file.read_bytes())
    if how == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif how == "flipped":
        for place in range(len(content) // 3, len(content) // 3 + 64):
            content[place % len(content)] ^= 0xFF
        file.write_bytes(content)
    else:
        file.unlink()


@pytest.mark.parametrize("how", ["cut", "flipped", "gone"])
@pytest.mark.parametrize(
    "name", ["manifest.json", "rows.safetensors", "vectors.f32", "lists.faiss", "items.arrow"]
)
def test_a_damaged_structure_changes_no_answer(name, how, tmp_path, capsys):
    place, table, vectors = filled("lance-lists", tmp_path / "i")
    expected = [slow_search(table, vectors, query, 10)[0] for query in unit(5, seed=7)]
    folder = max((tmp_path / "i" / "serving").iterdir())
    damage(folder / name, how)
    with console.capture() as said:
        store = place.open()
    assert "left out a serving structure" in said.get()
    assert answers(store) == expected
    newest = max((tmp_path / "i" / "serving").iterdir())
    assert newest.name > folder.name
    assert store.stats()["structure"] == "ivf"
    store.close()
    with console.capture() as said:
        place.open().close()
    assert said.get() == ""


def test_no_structure_at_all(tmp_path):
    place, table, vectors = filled("lance-lists", tmp_path / "i")
    expected = [slow_search(table, vectors, query, 10)[0] for query in unit(5, seed=7)]
    shutil.rmtree(tmp_path / "i" / "serving")
    with FileLock(tmp_path / "i" / ".lock"):
        store = place.open()
    assert store.stats()["structure"] == "none"
    assert answers(store) == expected
    store.close()
    store = place.open()
    assert store.stats()["structure"] == "ivf"
    assert answers(store) == expected


def test_a_structure_of_another_table_is_left_out(tmp_path):
    place, table, vectors = filled("lance-lists", tmp_path / "i")
    other = filled("lance-lists", tmp_path / "j", 300)[0]
    shutil.rmtree(tmp_path / "i" / "serving")
    shutil.copytree(tmp_path / "j" / "serving", tmp_path / "i" / "serving")
    assert answers(place.open()) == [slow_search(table, vectors, query, 10)[0] for query in unit(5, seed=7)]
    assert len(answers(other.open())) == 5


@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_damaged_table_is_said(how, tmp_path):
    place, _, _ = filled("lance", tmp_path / "i", 30)
    for file in (tmp_path / "i" / "table").rglob("*.manifest"):
        damage(file, how)
    with pytest.raises(StoreError, match=r"damaged.*restore a copy of it, or build the index again"):
        place.open()
    shutil.rmtree(tmp_path / "i" / "table")
    with pytest.raises(StoreError, match="it is missing"):
        place.open()


@pytest.mark.parametrize("how", ["cut", "gone"])
def test_damaged_data_of_the_table_is_said(how, tmp_path):
    place, _, _ = filled("lance-tail", tmp_path / "i", 10)
    for file in (tmp_path / "i" / "table").rglob("*.lance"):
        if file.is_file():
            damage(file, how)
    with pytest.raises(StoreError, match=r"table in .* could not be read"):
        place.open()


@pytest.mark.parametrize("name", ["items.parquet", "vectors.safetensors", "../current.json"])
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_damaged_plain_files_are_said(name, how, tmp_path):
    place, _, _ = filled("exact", tmp_path / "i", 30)
    damage((tmp_path / "i" / "generations" / "000001" / name).resolve(), how)
    with pytest.raises(StoreError, match=r"damaged|missing|cannot be read"):
        place.open()


FULL = """
import resource, sys
sys.path.insert(0, {tests!r})
from testing.stores import Place, items, unit
from crosslens.support.errors import CrosslensError
from pathlib import Path
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Place({kind!r}, Path({folder!r})).open()
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
for change in (lambda: store.upsert(items([f"new{{n}}" for n in range(3000)]), unit(3000)),):
    try:
        change()
        print("written")
    except CrosslensError as error:
        print("refused:", error)
"""


@pytest.mark.parametrize("kind", ["lance-lists", "exact"])
def test_no_room_for_a_file_keeps_what_was_there(kind, tmp_path):
    place, table, vectors = filled(kind, tmp_path / "i")
    expected = [slow_search(table, vectors, query, 10)[0] for query in unit(5, seed=7)]
    code = FULL.format(tests=str(Path(__file__).parents[2]), kind=kind, folder=str(tmp_path / "i"), limit=50_000)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "refused:" in done.stdout, done.stdout + done.stderr
    assert "too large" in done.stdout.lower()
    store = place.open()
    assert store.count() == 240
    assert answers(store) == expected
    store.upsert(items(["after"]), unit(1, seed=5))
    assert store.count() == 241


def test_no_room_for_a_structure_keeps_the_change(tmp_path, monkeypatch):
    place, table, vectors = filled("lance-lists", tmp_path / "i")
    store = place.open()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("crosslens.search.stores.structure_files.os.posix_fallocate", full)
    more = items([f"new{number:03d}" for number in range(100)])
    with console.capture() as said:
        store.upsert(more, unit(100, seed=9))
    assert "the change is kept, but searching stays slower" in said.get().replace("\n", " ")
    assert store.count() == 340
    both = np.concatenate([vectors, unit(100, seed=9)])
    import pyarrow as pa

    every = pa.concat_tables([table, more])
    assert answers(store) == [slow_search(every, both, query, 10)[0] for query in unit(5, seed=7)]
    with pytest.raises(CrosslensError, match="No space left"):
        store.optimize()
    monkeypatch.undo()
    assert store.optimize()["rebuilt"]
    assert not list((tmp_path / "i" / "serving").glob(".*"))


@pytest.fixture
def encoder(tiny_world):
    return Encoder(TinyBackbone())


@pytest.fixture(params=["lance", "exact"])
def index(encoder, tmp_path, request):
    made = Index.create(tmp_path / "i", encoder, store=request.param)
    made.upsert(items([f"{n:02d}" for n in range(50)]), unit(50, 64), encoder.fingerprint)
    return made


def test_a_folder_that_cannot_be_written(index, encoder, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    # Tests may run as root, whom no file mode stops.
    monkeypatch.setattr("filelock.FileLock.acquire", refused)
    opened = Index.open(index.folder)
    assert len(opened.search(unit(1, 64), 5)[0]) == 5
    with pytest.raises(StoreError, match="cannot be written: Permission denied"):
        opened.upsert(items(["x"]), unit(1, 64), encoder.fingerprint)
    with pytest.raises(StoreError, match="cannot be written"):
        opened.delete(["00"])
    assert len(Index.open(index.folder)) == 50


@pytest.mark.skipif(os.geteuid() == 0, reason="file modes do not stop root")
def test_a_folder_of_another_user(index, encoder):
    for folder in (index.folder, *index.folder.rglob("*")):
        folder.chmod(0o555 if folder.is_dir() else 0o444)
    opened = Index.open(index.folder)
    assert len(opened.search(unit(1, 64), 5)[0]) == 5
    with pytest.raises(StoreError, match="cannot be written"):
        opened.delete(["00"])
    for folder in (index.folder, *index.folder.rglob("*")):
        folder.chmod(0o755)


def test_two_writers_take_turns(index, encoder, monkeypatch):
    other = Index.open(index.folder)
    for number in range(6):
        writer = (index, other)[number % 2]
        writer.upsert(items([f"x{number}"]), unit(1, 64, number), encoder.fingerprint)
    index.refresh()
    other.refresh()
    assert len(index) == len(other) == 56
    monkeypatch.setattr("crosslens.search.index.writer_lock.LOCK_SECONDS", 0.05)
    with index.writing(), pytest.raises(StoreError, match="another process is writing"):
        other.delete(["x0"])


def test_another_embedding_is_refused_with_the_way_out(index, tiny_world):
    with pytest.raises(FingerprintError, match="crosslens index build ROOT --encoder"):
        index.upsert(items(["x"]), unit(1, 64), Encoder(TinyBackbone(seed=1)).fingerprint)
    assert len(index) == 50


@pytest.mark.parametrize("broken", ["{", "[]", "{}", '{"format": 2}', '{"format": "x"}'])
def test_a_damaged_description(index, broken):
    (index.folder / "index.json").write_text(broken)
    with pytest.raises(StoreError):
        Index.open(index.folder)


def test_a_creation_that_was_interrupted_is_done_again(index, encoder):
    (index.folder / "index.json").unlink()
    made = Index.create(index.folder, encoder)
    assert len(made) == 0
    made.upsert(items(["a"]), unit(1, 64), encoder.fingerprint)
    assert len(Index.open(index.folder)) == 1


def test_a_snapshot_that_fails_leaves_nothing(index, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("crosslens.search.stores.snapshot.save_file", full)
    with pytest.raises(CrosslensError, match="No space left"):
        index.snapshot(tmp_path / "s")
    assert not (tmp_path / "s").exists()
    monkeypatch.undo()
    index.snapshot(tmp_path / "s")
    assert json.loads((tmp_path / "s" / "snapshot.json").read_text())["items"] == 50
