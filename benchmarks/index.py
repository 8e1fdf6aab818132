"""The default store beside bare FAISS with the same structure, and beside other engines, in one run.

Vectors are synthetic: unit rows around 1,000 centres of 24 hidden dimensions, so they cluster as embeddings do.
Queries are drawn alike and are not among the items. Every engine answers the same queries one at a time, in
turns, so that a busy machine slows all of them alike. Recall is the share of the exact best 10, in float64, that
is found; the filter leaves 1 % of the items.

The engines, each as its makers suggest, and all in this process:

- crosslens: the default store, as ``Index`` uses it; at 100,000 items its structure is a matrix, at a million
  inverted lists. ``crosslens lists`` forces the lists at any size.
- faiss: the structure that crosslens built, the same file and the same number of lists, without rows and exact
  scores; ``IndexFlatIP`` where the structure is a matrix. It filters with a bitmap made beforehand, and looks into
  as many lists as crosslens has measured for that share. ``faiss refined`` scores as many candidates again with
  the exact vectors as crosslens does.
- lancedb: the table alone, with IVF_HNSW_SQ and its refinement; the filter is applied before its search.
- hnswlib (M=16, ef_construction=200) and usearch (its defaults); ef is 100; the filter is a callback of hnswlib.
- clip-retrieval: what its back end does, a FAISS index of the kind that autofaiss chooses with 4 GB (HNSW32),
  efSearch as large as stays within autofaiss's default of 10 ms a query, and a memory-mapped Arrow file that rows
  are taken from; not its own code. It has no filters.

    python benchmarks/index.py --items 100000 --dim 256 --json index-100k.json
    python benchmarks/index.py --items 1000000 --dim 128 --only crosslens faiss --json index-1m.json
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa

from crosslens.search.filters.conditions import Eq
from crosslens.search.stores.base import ITEM_SCHEMA, StoreContext
from crosslens.search.stores.lance import LanceStore
from crosslens.search.stores.scoring import exact_top
from crosslens.support.files import write_json

K = 10
WANTED = "c07"
WHERE = Eq(field="label", value=WANTED)
# A query and a filter or none to the positions of the items found.
Ask = Callable[[np.ndarray, bool], Any]

COLD = """
import json, sys, time
start = time.perf_counter()
from pathlib import Path
from crosslens.search.stores.base import StoreContext
from crosslens.search.stores.lance import LanceStore
import lance
imported = time.perf_counter()
store = LanceStore.open(StoreContext(Path(sys.argv[1]), "bench", int(sys.argv[2])))
opened = time.perf_counter()
import numpy as np
query = np.zeros((1, int(sys.argv[2])), np.float32); query[0, 0] = 1
store.search(query, 10)
print(json.dumps({"import": imported - start, "open": opened - imported, "first": time.perf_counter() - opened}))
"""


def vectors_of(count: int, dim: int, seed: int) -> np.ndarray:
    world, own = np.random.default_rng(0), np.random.default_rng(seed)
    centres, spread = world.standard_normal((1000, 24)), world.standard_normal((24, dim)) / 24**0.5
    rows = np.empty((count, dim), np.float32)
    for start in range(0, count, 100_000):
        n = min(100_000, count - start)
        hidden = centres[own.integers(0, 1000, n)] + 0.5 * own.standard_normal((n, 24))
        rows[start : start + n] = hidden @ spread + 0.05 * own.standard_normal((n, dim))
    faiss.normalize_L2(rows)
    return rows


def items_of(start: int, count: int) -> pa.Table:
    ids = [f"photo/c{n % 100:02d}/{n:08d}.jpg" for n in range(start, start + count)]
    columns = {
        "id": ids,
        "path": [f"/pictures/{image}" for image in ids],
        "root": ["/pictures"] * count,
        "domain": ["photo"] * count,
        "label": [f"c{n % 100:02d}" for n in range(start, start + count)],
        "size": list(range(count)),
        "modified": [1_700_000_000] * count,
        "stamp": [f"{n}|1700000000000000000|{n}|1700000000000000000" for n in range(count)],
        "own": [None] * count,
    }
    return pa.table(columns, schema=ITEM_SCHEMA)


def make_store(folder: Path, items: pa.Table, vectors: np.ndarray, **settings: Any) -> tuple[LanceStore, float]:
    folder.mkdir()
    store = LanceStore.create(StoreContext(folder, "bench", vectors.shape[1], settings=settings))
    start = time.perf_counter()
    store.upsert(items, vectors)
    return store, time.perf_counter() - start


def ask_store(store: LanceStore) -> Ask:
    # Every engine says which items it found; ours are named by text.
    def ask(query: np.ndarray, filtered: bool) -> list[int]:
        found = store.search(query[None], K, WHERE if filtered else None)[0]
        return [int(image[-12:-4]) for image in found.ids]

    return ask


def ask_faiss(store: LanceStore, vectors: np.ndarray, mask: np.ndarray) -> Ask:
    structure = store._view.structure
    assert structure is not None
    bits = np.packbits(mask, bitorder="little")
    selector = faiss.IDSelectorBitmap(len(mask), faiss.swig_ptr(bits))
    if structure.lists is None:
        index, plain = faiss.IndexFlatIP(vectors.shape[1]), None
        index.add(vectors)
        filtering = faiss.SearchParameters(sel=selector)
    else:
        index = faiss.read_index(str(structure.folder / "lists.faiss"))
        plain = faiss.SearchParametersIVF(nprobe=structure._probes(1.0))
        filtering = faiss.SearchParametersIVF(sel=selector, nprobe=structure._probes(float(mask.mean())))

    def ask(query: np.ndarray, filtered: bool, _kept: np.ndarray = bits) -> np.ndarray:
        return index.search(query[None], K, params=filtering if filtered else plain)[1][0]

    return ask


def ask_refined(store: LanceStore, vectors: np.ndarray) -> Ask:
    structure = store._view.structure
    assert structure is not None
    lists = faiss.read_index(str(structure.folder / "lists.faiss"))
    index = faiss.IndexRefineFlat(lists, faiss.swig_ptr(vectors))
    parameters = faiss.IndexRefineSearchParameters(
        k_factor=structure._settings.refine,
        base_index_params=faiss.SearchParametersIVF(nprobe=structure._probes(1.0)),
    )
    return lambda query, filtered: index.search(query[None], K, params=parameters)[1][0]


def ask_lancedb(folder: Path, items: pa.Table, vectors: np.ndarray) -> Ask:
    import lancedb

    dim = vectors.shape[1]
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dim)
    rows = items.append_column("row", pa.array(np.arange(len(vectors)))).append_column("vector", column)
    table = lancedb.connect(folder).create_table("items", rows)
    table.create_index(metric="dot", vector_column_name="vector", index_type="IVF_HNSW_SQ")

    def ask(query: np.ndarray, filtered: bool) -> list[int]:
        found = table.search(query).distance_type("dot").select(["row"]).limit(K).refine_factor(4)
        if filtered:
            found = found.where(WHERE.sql(), prefilter=True)
        return found.to_arrow().column("row").to_pylist()

    return ask


def ask_hnswlib(vectors: np.ndarray, mask: np.ndarray) -> Ask:
    hnswlib = importlib.import_module("hnswlib")
    index = hnswlib.Index("ip", vectors.shape[1])
    index.init_index(len(vectors), ef_construction=200, M=16)
    index.add_items(vectors)
    index.set_ef(100)
    index.set_num_threads(1)

    def ask(query: np.ndarray, filtered: bool) -> np.ndarray:
        wanted = (lambda row: bool(mask[row])) if filtered else None
        return index.knn_query(query[None], K, num_threads=1, filter=wanted)[0][0]

    return ask


def ask_usearch(vectors: np.ndarray) -> Ask:
    usearch = importlib.import_module("usearch.index")
    index = usearch.Index(ndim=vectors.shape[1], metric="ip", expansion_search=100)
    index.add(np.arange(len(vectors)), vectors)
    return lambda query, filtered: index.search(query, K).keys


def ask_clip_retrieval(folder: Path, items: pa.Table, vectors: np.ndarray) -> Ask:
    index = faiss.index_factory(vectors.shape[1], "HNSW32", faiss.METRIC_INNER_PRODUCT)
    index.add(vectors)
    folder.mkdir()
    with pa.OSFile(str(folder / "metadata.arrow"), "wb") as sink, pa.ipc.new_file(sink, items.schema) as writer:
        writer.write_table(items)
    mapped = pa.ipc.open_file(pa.memory_map(str(folder / "metadata.arrow"))).read_all()
    low, high = 16, 2**14
    while low < high:
        middle = (low + high + 1) // 2
        start = time.perf_counter()
        index.search(vectors[:50], 40, params=faiss.SearchParametersHNSW(efSearch=middle))
        # Fifty at once use every processor; autofaiss measures so.
        low, high = (middle, high) if time.perf_counter() - start < 0.5 else (low, middle - 1)
    parameters = faiss.SearchParametersHNSW(efSearch=low)

    def ask(query: np.ndarray, filtered: bool) -> list[int]:
        rows = index.search(query[None], K, params=parameters)[1][0]
        return [int(image[-12:-4]) for image in mapped.take(pa.array(rows)).column("id").to_pylist()]

    return ask


def measure(engines: dict[str, Ask], queries: np.ndarray, truth: list[Any], filtered: bool) -> dict[str, Any]:
    """Milliseconds and recall of each, asked in turns once each has been asked the same."""
    times: dict[str, list[float]] = {name: [] for name in engines}
    shares: dict[str, list[float]] = {name: [] for name in engines}
    # FAISS gains nothing from a second thread on one query, and loses much where the machine is busy.
    faiss.omp_set_num_threads(1)
    for query, best in zip(queries, truth, strict=True):
        # Engines that map the same file must not differ by who reads it from the disk first.
        for ask in engines.values():
            ask(query, filtered)
        for name, ask in engines.items():
            start = time.perf_counter()
            found = ask(query, filtered)
            times[name].append(1e3 * (time.perf_counter() - start))
            shares[name].append(len(set(map(int, found)) & set(best.tolist())) / K)
    return {
        name: {
            "p50 ms": round(float(np.median(times[name])), 3),
            "p99 ms": round(float(np.quantile(times[name], 0.99)), 3),
            "recall@10": round(float(np.mean(shares[name])), 4),
        }
        for name in engines
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--only", nargs="+", help="crosslens, faiss, lancedb, hnswlib, usearch, clip-retrieval")
    parser.add_argument("--json", type=Path)
    settings = parser.parse_args()
    wanted = settings.only or ["crosslens", "faiss", "lancedb", "hnswlib", "usearch", "clip-retrieval"]
    vectors, items = vectors_of(settings.items, settings.dim, 1), items_of(0, settings.items)
    queries = vectors_of(settings.queries, settings.dim, 2)
    mask = WHERE.mask(items)
    result: dict[str, Any] = {"items": settings.items, "dim": settings.dim, "notes": [], "build s": {}}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        store, seconds = make_store(folder / "own", items, vectors)
        result["build s"]["crosslens"] = round(seconds, 2)
        result["structure"] = store.stats()
        engines = {"crosslens": ask_store(store)}
        if "faiss" in wanted:
            engines["faiss"] = ask_faiss(store, vectors, mask)
            if store.stats()["structure"] == "ivf":
                engines["faiss refined"] = ask_refined(store, vectors)
        if store.stats()["structure"] == "exact":
            lists, seconds = make_store(folder / "lists", items, vectors, exact_below=2, exact_rows=500)
            result["build s"]["crosslens lists"] = round(seconds, 2)
            result["structure of lists"] = lists.stats()
            engines["crosslens lists"] = ask_store(lists)
            if "faiss" in wanted:
                engines["faiss lists"] = ask_faiss(lists, vectors, mask)
        makers: dict[str, Callable[[], Ask]] = {
            "lancedb": lambda: ask_lancedb(folder / "lancedb", items, vectors),
            "hnswlib": lambda: ask_hnswlib(vectors, mask),
            "usearch": lambda: ask_usearch(vectors),
            "clip-retrieval": lambda: ask_clip_retrieval(folder / "clip", items, vectors),
        }
        for engine in (name for name in makers if name in wanted):
            start = time.perf_counter()
            try:
                engines[engine] = makers[engine]()
                result["build s"][engine] = round(time.perf_counter() - start, 2)
            except ImportError as error:
                result["notes"].append(f"{engine} was left out: {error}")
        truth = [rows for rows, _ in exact_top(queries, vectors, K)]
        result["plain"] = measure(engines, queries, truth, False)
        filtering = ("crosslens", "faiss", "crosslens lists", "faiss lists", "lancedb", "hnswlib")
        few = {name: engines[name] for name in filtering if name in engines}
        truth = [rows for rows, _ in exact_top(queries, vectors, K, np.flatnonzero(mask))]
        result["one percent"] = measure(few, queries, truth, True)
        result["ratio to faiss"] = {
            own: round(result["plain"][own]["p50 ms"] / result["plain"][bare]["p50 ms"], 2)
            for own, bare in (("crosslens", "faiss"), ("crosslens lists", "faiss lists"))
            if own in result["plain"] and bare in result["plain"]
        }
        new = vectors_of(1000, settings.dim, 3)
        start = time.perf_counter()
        store.upsert(items_of(settings.items, 1000), new)
        found = store.search(new[:1], 1)[0].rows.column("id")[0].as_py()
        result["add of 1000, searchable s"] = round(time.perf_counter() - start, 3)
        assert found.endswith(f"{settings.items:08d}.jpg"), found
        command = [sys.executable, "-c", COLD, str(folder / "own"), str(settings.dim)]
        cold = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
        result["cold s"] = json.loads(cold.stdout.splitlines()[-1])
    print(json.dumps(result, indent=2))
    if settings.json:
        write_json(settings.json, result)


if __name__ == "__main__":
    main()
