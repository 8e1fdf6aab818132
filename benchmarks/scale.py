"""An index of millions on disk: what building holds in memory, how long opening takes, and searching beside FAISS.

Vectors are those of ``index.py``, streamed to a file, so that memory never holds them all. Three steps, each in a
process of its own, so that no step finds warm what another one read:

- build: vectors and items go into the default store at once; seconds, and the most private memory (``RssAnon``,
  without what is mapped from files).
- open: imports, opening and the first answer, three times.
- ask: queries that nobody asked before, whose lists come from the disk; then queries one at a time, each asked
  before, in turns with bare FAISS: the same file of lists and the same number of lists looked
  into, without and with exact scores of as many candidates (``faiss refined``). Recall is of the exact best 10.

    python benchmarks/scale.py /big/disk/scale --items 1000000 --json scale-1m.json

The folder is kept: a second call builds nothing again. It takes about 1.7 kB an item at 128 numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crosslens.search.stores.base import ITEM_SCHEMA, StoreContext
from crosslens.search.stores.lance import LanceStore
from crosslens.search.stores.scoring import exact_top
from crosslens.support.files import write_json
from index import COLD, WHERE, Ask, K, ask_faiss, ask_refined, ask_store, measure, vectors_of

_STREAMED = 100_000
_BLOCK = 65_536


def items_of(count: int) -> pa.Table:
    """The items of ``index.py``, made by columns."""
    numbers = pa.array(np.arange(count))
    label = pc.binary_join_element_wise("c", _padded(pa.array(np.arange(count) % 100), 2), "")
    name = pc.binary_join_element_wise(_padded(numbers, 8), ".jpg", "")
    ids = pc.binary_join_element_wise("photo", label, name, "/")
    text = numbers.cast(pa.string())
    moment = "1700000000000000000"
    columns = {
        "id": ids,
        "path": pc.binary_join_element_wise("/pictures", ids, "/"),
        "root": pa.repeat("/pictures", count),
        "domain": pa.repeat("photo", count),
        "label": label,
        "size": numbers,
        "modified": pa.repeat(1_700_000_000, count),
        "stamp": pc.binary_join_element_wise(text, moment, text, moment, "|"),
        "own": pa.nulls(count, pa.string()),
    }
    return pa.table(columns, schema=ITEM_SCHEMA)


def _padded(numbers: pa.Array, width: int) -> pa.Array:
    return pc.utf8_lpad(numbers.cast(pa.string()), width, "0")


def stream_vectors(file: Path, count: int, dim: int) -> np.ndarray:
    """``(count, dim)`` vectors in mapped memory, made when missing."""
    if not file.is_file():
        draft = file.with_suffix(".tmp")
        rows = np.memmap(draft, np.float32, "w+", shape=(count, dim))
        for start in range(0, count, _STREAMED):
            rows[start : start + _STREAMED] = vectors_of(min(_STREAMED, count - start), dim, 1000 + start)
        rows.flush()
        draft.rename(file)
    return np.memmap(file, np.float32, "r", shape=(count, dim))


class Watched:
    """The most private memory of this process within a ``with``, in bytes, looked at ten times a second."""

    def __enter__(self) -> Watched:
        self.most, self._ended = self._now(), threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.1):
            self.most = max(self.most, self._now())

    @staticmethod
    def _now() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def build(folder: Path, count: int, dim: int) -> dict[str, Any]:
    vectors, items = stream_vectors(folder / "vectors.f32", count, dim), items_of(count)
    (folder / "own").mkdir(exist_ok=True)
    with Watched() as memory:
        before, started, worked = memory.most, time.perf_counter(), time.process_time()
        store = LanceStore.create(context_of(folder, dim))
        store.upsert(items, vectors)
        seconds, spent = time.perf_counter() - started, time.process_time() - worked
    return {
        "seconds": round(seconds, 1),
        "processor seconds": round(spent, 1),
        "private MB": round(memory.most / 1e6),
        "of these before, with the items": round(before / 1e6),
        "vectors MB": round(vectors.nbytes / 1e6),
        "table bytes": bytes_in(folder / "own" / "table"),
        "structure": store.stats(),
    }


def bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def context_of(folder: Path, dim: int) -> StoreContext:
    return StoreContext(folder / "own", "bench", dim)


def ask(folder: Path, count: int, dim: int, queries: int) -> dict[str, Any]:
    vectors = stream_vectors(folder / "vectors.f32", count, dim)
    before = Watched._now()
    store = LanceStore.open(context_of(folder, dim))
    asked = vectors_of(queries, dim, 2)
    plain = {"crosslens": ask_store(store)}
    result: dict[str, Any] = {"open, private MB": round((Watched._now() - before) / 1e6)}
    mask = np.arange(count) % 100 == 7
    plain["faiss"] = ask_faiss(store, vectors, mask)
    if store.stats()["structure"] == "ivf":
        plain["faiss refined"] = ask_refined(store, vectors)
    result["from disk, p50 ms"] = fresh(plain["crosslens"], vectors_of(queries, dim, 3))
    result["plain"] = measure(plain, asked, exact(asked, vectors, np.arange(count)), False)
    few = {name: plain[name] for name in ("crosslens", "faiss")}
    result[str(WHERE)] = measure(few, asked, exact(asked, vectors, np.flatnonzero(mask)), True)
    for bare in list(plain)[1:]:
        ratio = result["plain"]["crosslens"]["p50 ms"] / result["plain"][bare]["p50 ms"]
        result[f"p50, times {bare}"] = round(ratio, 2)
    return result


def fresh(ask: Ask, queries: np.ndarray) -> float:
    """Median milliseconds of queries that nobody asked before."""
    times = []
    for query in queries:
        start = time.perf_counter()
        ask(query, False)
        times.append(1e3 * (time.perf_counter() - start))
    return round(float(np.median(times)), 3)


def exact(queries: np.ndarray, vectors: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
    """The best ``K`` rows of each query among ``rows``, block by block."""
    best: list[list[tuple[float, int]]] = [[] for _ in queries]
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        for kept, (near, scores) in zip(best, exact_top(queries, vectors[block], K), strict=True):
            kept += zip((-scores).tolist(), block[near].tolist(), strict=True)
            kept.sort()
            del kept[K:]
    return [np.array([row for _, row in kept]) for kept in best]


def open_anew(folder: Path, dim: int) -> dict[str, float]:
    command = [sys.executable, "-c", COLD, str(folder / "own"), str(dim)]
    cold = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name: round(seconds, 3) for name, seconds in json.loads(cold.stdout.splitlines()[-1]).items()}


def in_a_process(step: str) -> dict[str, Any]:
    command = [sys.executable, *sys.argv, "--step", step]
    made = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(made.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--step", choices=["build", "ask"], help=argparse.SUPPRESS)
    settings = parser.parse_args()
    faiss.omp_set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if settings.step == "build":
        print(json.dumps(build(settings.folder, settings.items, settings.dim)))
        return
    if settings.step == "ask":
        print(json.dumps(ask(settings.folder, settings.items, settings.dim, settings.queries)))
        return
    settings.folder.mkdir(parents=True, exist_ok=True)
    built = settings.folder / "built.json"
    if not built.is_file():
        write_json(built, in_a_process("build"))
    result = {
        "items": settings.items,
        "dim": settings.dim,
        "build": json.loads(built.read_text()),
        "open s": [open_anew(settings.folder, settings.dim) for _ in range(3)],
        **in_a_process("ask"),
    }
    print(json.dumps(result, indent=2))
    if settings.json:
        write_json(settings.json, result)


if __name__ == "__main__":
    main()
