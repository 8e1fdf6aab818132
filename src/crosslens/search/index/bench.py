"""What each kind of serving structure would bring on an index's own vectors."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crosslens.search.index.index import Index
from crosslens.search.stores.faiss_structure import Structure, build_structure
from crosslens.search.stores.inverted_lists import Allowed, list_count
from crosslens.search.stores.probes import K, held_queries
from crosslens.search.stores.settings import LanceSettings
from crosslens.support.errors import StoreError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

_FEWEST = 100
COLUMNS = (
    "recall@10",
    "recall@10 of 1 %",
    "p50 ms",
    "p99 ms",
    "p50 ms of 1 %",
    "megabytes",
    "build s",
    "projected s",
)


def bench_index(index: Index, queries: int = 200, most: int = 200_000) -> dict[str, Any]:
    """Build every kind of structure from an index's vectors in a temporary folder, and measure it.

    Args:
        index: only read.
        queries: half of them items, half at cosine 0.7 from one.
        most: vectors at most; of a larger index a sample is measured, and the build time of all is projected from
            how the work grows: linearly for the matrix, with the power 1.5 for inverted lists.

    Returns:
        ``items``, ``measured``, ``columns`` and ``kinds``, a list with ``name`` and the columns: recall@10 against
        exact search, without a filter and with one that leaves a random 1 %; milliseconds a query; size; seconds.

    Raises:
        StoreError: for an index of fewer than 100 items.
    """
    if len(index) < _FEWEST:
        raise StoreError(f"{len(index)} items are too few to measure anything; index at least {_FEWEST}")
    vectors = index.sample(most)
    held = held_queries(vectors, index.similarity, queries // 2)
    asked = np.concatenate([kind.vectors for kind in held])
    generator = np.random.default_rng(3)
    kept = np.sort(generator.choice(len(vectors), max(K, len(vectors) // 100), replace=False))
    kinds = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, power) in enumerate((("exact", 1.0), ("ivf", 1.5)), start=1):
            if name == "ivf" and list_count(len(vectors)) < 2:
                continue
            # A filter goes through the lists here, however few rows it leaves: that is what is measured.
            settings = LanceSettings(exact_below=2 if name == "ivf" else 2**62, exact_rows=0)
            target = Path(folder) / str(number)
            seqs = np.arange(1, len(vectors) + 1)
            build_structure(
                target, iter([(seqs, vectors)]), seqs, None, index.fingerprint.dim, 0, index.similarity, settings
            )
            structure = Structure.open(target, index.fingerprint.dim, settings)
            growth = (len(index) / len(vectors)) ** power
            kinds.append(
                {
                    "name": name if name == structure.manifest.kind else f"{name}, no gain here",
                    **_measure(structure, asked, Allowed(kept, len(vectors))),
                    "build s": structure.manifest.seconds,
                    "projected s": structure.manifest.seconds * growth,
                }
            )
    return {"items": len(index), "measured": len(vectors), "columns": list(COLUMNS), "kinds": kinds}


def _measure(structure: Structure, queries: Array, allowed: Allowed) -> dict[str, float]:
    recalls, times = [], []
    for only in (None, allowed):
        truth = structure.search(queries, K, only, exact=True)
        shares, seconds = [], []
        for query, (_, best) in zip(queries, truth, strict=True):
            started = time.perf_counter()
            _, scores = structure.search(query[None], K, only)[0]
            seconds.append(time.perf_counter() - started)
            shares.append(float((scores >= best[-1]).sum()) / len(best))
        recalls.append(min(1.0, float(np.mean(shares))))
        times.append(np.asarray(seconds) * 1e3)
    return {
        "recall@10": recalls[0],
        "recall@10 of 1 %": recalls[1],
        "p50 ms": float(np.median(times[0])),
        "p99 ms": float(np.quantile(times[0], 0.99)),
        "p50 ms of 1 %": float(np.median(times[1])),
        "megabytes": sum(file.bytes for file in structure.manifest.files.values()) / 1e6,
    }
