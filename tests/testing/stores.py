"""Stores of every kind, and items to put into them."""

import importlib.util
import os

import numpy as np
import pyarrow as pa
import pytest

from crosslens.search.stores import store_class
from crosslens.search.stores.base import ITEM_SCHEMA, StoreContext

DIM = 16
# New rows beside a structure, which is made again after 20 of them.
TAIL = {"tail_rows": 20, "small_bytes": 0}
# Inverted lists from 100 rows on, asked when a filter leaves more than 30.
LISTS = {"exact_below": 100, "exact_rows": 30, "recall": 1.0, "most_lists": 1.0}
KINDS = {
    "exact": ("exact", {}),
    "lance": ("lance", {}),
    "lance-tail": ("lance", TAIL),
    "lance-lists": ("lance", TAIL | LISTS),
    "milvus": ("milvus", {"uri": "items.db"}),
    # Over the protocol of a server, which is Milvus Lite's unless CROSSLENS_TEST_MILVUS names another.
    "milvus-server": ("milvus", {"uri": None, "alias": "public"}),
    "toy": ("toy", {}),
}
needs_milvus = pytest.mark.skipif(
    importlib.util.find_spec("pymilvus") is None or importlib.util.find_spec("milvus_lite") is None,
    reason="pymilvus and milvus-lite are not installed",
)
ALL = [pytest.param(kind, marks=[needs_milvus] if kind.startswith("milvus") else []) for kind in KINDS]


class Place:
    """Where a store of one kind lies, so that it can be opened again."""

    def __init__(self, kind, folder, dim=DIM, similarity=None):
        self.name, (self.kind, settings) = kind, KINDS[kind]
        folder.mkdir(parents=True, exist_ok=True)
        if kind == "milvus-server":
            settings = {**settings, "uri": milvus_server(folder / "server.db")}
        more = {} if similarity is None else {"similarity": similarity}
        self.context = StoreContext(folder, "crosslens_test", dim, fingerprint="f" * 16, settings=settings, **more)

    def create(self):
        return store_class(self.kind).create(self.context)

    def open(self):
        return store_class(self.kind).open(self.context)


def milvus_server(folder):
    """The address of a server: the one that CROSSLENS_TEST_MILVUS names, or one over a folder in this process."""
    if named := os.environ.get("CROSSLENS_TEST_MILVUS"):
        return named
    from milvus_lite.server_manager import server_manager_instance

    return server_manager_instance.start_and_get_uri(str(folder))


def items(ids, **columns):
    """Items with the given columns; the others follow from the ids."""
    ids = list(ids)
    made = {
        "id": ids,
        "path": [f"/pictures/{image}" for image in ids],
        "root": ["/pictures"] * len(ids),
        "domain": [("photo", "sketch")[len(image) % 2] for image in ids],
        "label": [None] * len(ids),
        "size": [None] * len(ids),
        "modified": [None] * len(ids),
        "stamp": [f"100|{row}|7|{row}" for row in range(len(ids))],
        "own": [None] * len(ids),
    }
    return pa.table({**made, **columns}, schema=ITEM_SCHEMA)


def unit(count, dim=DIM, seed=0):
    rows = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def slow_search(table, vectors, query, k, mask=None):
    """Ids and scores by the slow formula: float64, sorted by falling score and rising id."""
    ids = table.column("id").to_pylist()
    scores = (vectors.astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
    rows = range(len(ids)) if mask is None else np.flatnonzero(mask)
    best = sorted(rows, key=lambda row: (-scores[row], ids[row]))[:k]
    return [ids[row] for row in best], scores[best]
