"""A store as a newcomer would write it: one folder a version, everything in memory, every answer exact."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crosslens.search.filters.conditions import BaseFilter
from crosslens.search.stores import StoreKind
from crosslens.search.stores.base import ITEM_SCHEMA, Nearest, missing_item
from crosslens.search.stores.scoring import exact_top
from crosslens.search.stores.snapshot import read_pair, write_pair
from crosslens.support.errors import StoreError
from crosslens.support.files import remove

LINE = {"toy": StoreKind("testing.toy_store:ToyStore", "a folder a version")}
"""What a new store adds to ``STORES``."""


class ToyStore:
    kind = "toy"
    entries = frozenset({"toy"})

    def __init__(self, context):
        self.context, self.folder = context, context.folder / "toy"
        self.refresh()

    @classmethod
    def create(cls, context):
        if context.settings:
            raise StoreError("the toy store has no settings")
        remove(context.folder / "toy")
        write_pair(context.folder / "toy" / "0", ITEM_SCHEMA.empty_table(), np.empty((0, context.dim), np.float32))
        return cls(context)

    @classmethod
    def open(cls, context):
        return cls(context)

    def quicken(self) -> None:
        pass

    def publish(self):
        pass

    def refresh(self):
        numbers = [int(child.name) for child in self.folder.glob("[0-9]*")] if self.folder.is_dir() else []
        if not numbers:
            raise StoreError(f"{self.folder} is missing")
        before, self.number = getattr(self, "number", None), max(numbers)
        if before != self.number:
            self.items, self.vectors = read_pair(self.folder / str(self.number), self.context.dim)
        return before != self.number

    @property
    def version(self):
        return str(self.number)

    def upsert(self, items, vectors):
        kept = ~self._which(items.column("id").to_pylist())
        self._write(
            pa.concat_tables([self.items.filter(pa.array(kept)), items]),
            np.concatenate([self.vectors[kept], vectors]),
        )

    def delete(self, which):
        gone = self._which(which)
        if gone.any():
            self._write(self.items.filter(pa.array(~gone)), self.vectors[~gone])
        return int(gone.sum())

    def search(self, queries, k, where=None, exact=False):
        answers = exact_top(queries, self.vectors, k, None if where is None else self._rows(where))
        return [Nearest(self.items, rows, scores) for rows, scores in answers]

    def get(self, ids):
        rows = pc.index_in(pa.array(ids, pa.string()), value_set=self.items.column("id"))
        if rows.null_count:
            raise missing_item(ids[rows.to_pylist().index(None)], self.context.folder)
        return self.items.take(rows), self.vectors[rows.to_numpy()]

    def count(self, where=None):
        return len(self._rows(where))

    def column(self, name):
        return self.items.column(name)

    def scan(self, where=None, vectors=False, batch=8192):
        rows = self._rows(where)
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            yield self.items.take(pa.array(part)), self.vectors[part] if vectors else None

    def keeps(self, column):
        return True

    def optimize(self):
        return {}

    def stats(self):
        return {"kind": self.kind, "structure": "exact"}

    def snapshot(self, target):
        write_pair(target, self.items, self.vectors)

    def close(self):
        pass

    def _which(self, which):
        if isinstance(which, BaseFilter):
            return which.mask(self.items)
        found = pc.is_in(self.items.column("id"), value_set=pa.array(list(which), pa.string()))
        return np.array(found.to_numpy(), dtype=bool)

    def _rows(self, where):
        return np.arange(self.items.num_rows) if where is None else np.flatnonzero(self._which(where))

    def _write(self, items, vectors):
        # Rows in the order of ids, so that ties are.
        order = pc.sort_indices(items, sort_keys=[("id", "ascending")])
        write_pair(self.folder / str(self.number + 1), items.take(order), vectors[order.to_numpy()])
        self.refresh()
