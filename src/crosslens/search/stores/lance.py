"""The default store: a Lance table is the record, a FAISS structure in mapped memory serves it.

    I/table/      the Lance table, see ``lance_table``
    I/serving/    serving structures by number, see ``structure_files``

Rows newer than the structure are held in memory and searched exactly beside it: what was added is found at once.
A structure that is missing, damaged or out of date never changes an answer, only how long it takes. Lance runs
threads of its own: open an index after ``fork``, not before.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
from filelock import FileLock, Timeout
from pydantic import ValidationError

from crosslens.search.filters.binding import conditions_on_own
from crosslens.search.filters.conditions import BaseFilter, Filter
from crosslens.search.stores.base import LOCK, Nearest, StoreContext
from crosslens.search.stores.faiss_structure import Structure, build_structure
from crosslens.search.stores.lance_table import FOLDER, LanceTable
from crosslens.search.stores.settings import LanceSettings
from crosslens.search.stores.snapshot import write_pair
from crosslens.search.stores.structure_files import WHOLE, Whole, folder_of, numbers, read_whole, remove_old
from crosslens.search.stores.view import UnfitError, View
from crosslens.support.errors import CrosslensError, StoreError
from crosslens.support.files import remove, write_json
from crosslens.support.progress import note

if TYPE_CHECKING:
    from numpy.typing import NDArray

    _Parts = tuple[NDArray[np.int64], pa.Table, NDArray[np.float32]]

SERVING = "serving"
_MOST_GONE = 0.5
"""Share of a structure's rows that may be gone before it is made again."""


class LanceStore:
    """Items in a Lance table, searched through a serving structure and a tail."""

    kind = "lance"
    entries = frozenset({FOLDER, SERVING})

    def __init__(self, context: StoreContext, table: LanceTable, settings: LanceSettings) -> None:
        self._context = context
        self._settings = settings
        self._table = table
        self._serving = context.folder / SERVING
        self._changing = threading.RLock()
        self._bad: set[int] = set()
        self._view = self._load(None)

    @classmethod
    def create(cls, context: StoreContext) -> Self:
        """Make an empty store."""
        settings = _settings(context)
        remove(context.folder / FOLDER)
        remove(context.folder / SERVING)
        return cls(context, LanceTable.create(context.folder, context.dim), settings)

    @classmethod
    def open(cls, context: StoreContext) -> Self:
        """Open the newest version; a serving structure that is missing is made again where this can be written.

        Raises:
            StoreError: when the table is missing or damaged.
        """
        store = cls(context, LanceTable.open(context.away or context.folder, context.dim), _settings(context))
        if store._stale():
            store._rebuild_if_free()
        return store

    def upsert(self, items: pa.Table, vectors: NDArray[np.float32]) -> None:
        """Add or replace n items with their vectors ``(n, d)``, in one version of the table."""
        with self._changing:
            view = self._view
            is_there = bool((view.rows_of_ids(items.column("id").to_pylist()) >= 0).any())
            self._table.add(items, vectors, self._last_seq(), replace=is_there)
            self._after_change(items.num_rows)

    def delete(self, which: Sequence[str] | Filter) -> int:
        """Delete items by id or filter, in one version of the table; says how many."""
        with self._changing:
            if isinstance(which, BaseFilter) and any(conditions_on_own(which)):
                # The table has no language for them.
                which = self._view.names(self._view.filtered(which).rows)
            elif not isinstance(which, BaseFilter):
                which = [i for i, row in zip(which, self._view.rows_of_ids(which), strict=True) if row >= 0]
            if not (self._view.count(which) if isinstance(which, BaseFilter) else which):
                return 0
            count = self._table.delete(which)
            self._after_change()
            return count

    def search(
        self, queries: NDArray[np.float32], k: int, where: Filter | None = None, exact: bool = False
    ) -> list[Nearest]:
        """The k best items of each query ``(Q, d)`` among those that match ``where``."""
        return self._view.search(queries, k, where, exact)

    def get(self, ids: Sequence[str]) -> tuple[pa.Table, NDArray[np.float32]]:
        """Items and vectors in the order asked.

        Raises:
            StoreError: naming the first id that is not there.
        """
        return self._view.get(ids)

    def count(self, where: Filter | None = None) -> int:
        """How many items there are, or match."""
        return self._view.count(where)

    def scan(
        self, where: Filter | None = None, vectors: bool = False, batch: int = 8192
    ) -> Iterator[tuple[pa.Table, NDArray[np.float32] | None]]:
        """All items of this version, or those that match, in the order they were written."""
        view = self._view
        rows = np.arange(len(view)) if where is None else view.filtered(where).rows
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            yield view.items.take(pa.array(part)), view.vectors(part) if vectors else None

    def column(self, name: str) -> pa.ChunkedArray:
        """One column of all items of this version, as it is held."""
        return self._view.items.column(name)

    def optimize(self) -> dict[str, Any]:
        """Join the table's small files, remove old versions, make a new structure and remove old ones."""
        with self._changing:
            self._table.optimize()
            self._view = self._load(self._view)
            view = self._view
            current = view.structure is not None and not len(view.tail) and not view.gone
            if current:
                self._remember()
            else:
                self._rebuild()
            return {"rebuilt": not current, "structures_removed": remove_old(self._serving), **self.stats()}

    def quicken(self) -> None:
        """Hold 8-bit codes of the vectors in memory where every query looks at all of them."""
        self._view.quicken()

    def publish(self) -> None:
        """Nothing: who reads its files finds it by its folder."""

    def refresh(self) -> bool:
        """Read what changed in the table since the version held."""
        with self._changing:
            before = self._view
            newest = self._newest_number()
            held = None if before.structure is None else before.structure.number
            told = self._table.newest_without_lance()
            if newest == held and before.version == (self._table.newest() if told is None else told):
                return False
            self._view = self._load(before)
            return self._view.version != before.version

    @property
    def version(self) -> str:
        """The version of the table."""
        return str(self._view.version)

    def keeps(self, column: str) -> bool:
        """Always; a table that lacks a column gets it with the next rows."""
        return True

    def stats(self) -> dict[str, Any]:
        """Kind, structure and what it was measured to find."""
        view = self._view
        stats: dict[str, Any] = {"kind": self.kind, "structure": "none", "unstructured": len(view.tail)}
        if view.structure is not None:
            manifest = view.structure.manifest
            stats |= {
                "structure": manifest.kind,
                "structured": manifest.rows,
                "gone": view.gone,
                "structure_seconds": manifest.seconds,
                "structure_bytes": sum(file.bytes for file in manifest.files.values()),
            }
            if manifest.kind == "ivf":
                stats |= {"lists": manifest.lists, "probes": [probe.model_dump() for probe in manifest.probes]}
        return stats

    def snapshot(self, target: Any) -> None:
        """Write this version to a new folder."""
        view = self._view
        write_pair(target, view.items, view.vectors(np.arange(len(view))))

    def close(self) -> None:
        """Let go of the structure's mapped files."""
        with self._changing:
            view = self._view
            empty = np.empty((0, self._context.dim), np.float32)
            self._view = View(view.version, view.seqs[:0], view.items[:0], None, empty, self._context.folder)

    def _after_change(self, added: int = 0) -> None:
        # The change is done; what follows makes searching faster and may fail without harm.
        many = len(self._view.tail) + added > self._most_newer()
        if not many:
            self._view = self._load(self._view)
        try:
            if self._table.fragments() > self._settings.most_fragments:
                self._table.optimize()
                if not many:
                    self._view = self._load(self._view)
            # The vectors of many rows pass from the table into the structure, and are never held.
            if many or self._stale() or self._is_small():
                self._rebuild()
                remove_old(self._serving)
        except CrosslensError as error:
            note(f"the change is kept, but searching stays slower: {error}")
            self._view = self._load(self._view)

    def _last_seq(self) -> int:
        view = self._view
        newest = int(view.seqs[-1]) if len(view) else 0
        return max(newest, view.structure.manifest.last_seq if view.structure is not None else 0)

    def _stale(self) -> bool:
        view = self._view
        return len(view.tail) > self._most_newer() or view.gone > max(
            _MOST_GONE * self._structured(), self._settings.tail_rows
        )

    def _is_small(self) -> bool:
        return 4 * len(self._view) * self._context.dim <= self._settings.small_bytes

    def _most_newer(self) -> float:
        """Rows that may be newer than the structure before it is made again."""
        return max(self._settings.tail_rows, self._settings.tail_share * self._structured())

    def _structured(self) -> int:
        structure = self._view.structure
        return 0 if structure is None else structure.manifest.rows

    def _rebuild_if_free(self) -> None:
        """Make a new structure unless another process is writing or this one may not."""
        try:
            with FileLock(self._context.folder / LOCK, timeout=0):
                self.refresh()
                if self._stale():
                    note("making the index fast to search again")
                    self._rebuild()
        except (Timeout, OSError):
            note("the index has no up-to-date serving structure; searching works, but takes longer")
        except CrosslensError as error:
            note(f"the index has no up-to-date serving structure, so searching takes longer: {error}")

    def _rebuild(self) -> None:
        newest, view = self._table.newest(), self._view
        seqs, items = (view.seqs, view.items) if view.version == newest else self._table.all_items()
        if not len(seqs):
            return
        number = max(numbers(self._serving), default=0) + 1
        build_structure(
            folder_of(self._serving, number),
            self._table.blocks(),
            seqs,
            items,
            self._context.dim,
            newest,
            self._context.similarity,
            self._settings,
            numbered=self._context.numbered,
        )
        self._view = self._load(view)
        self._remember()

    def _remember(self) -> None:
        """Note which version of the table the structure is the whole of."""
        view = self._view
        if view.structure is not None and not len(view.tail) and not view.gone:
            mark = self._table.mark(view.version)
            if mark is not None:
                whole = Whole(version=view.version, mark=mark)
                write_json(view.structure.folder / WHOLE, whole.model_dump())

    def _newest_number(self) -> int | None:
        return next((number for number in numbers(self._serving) if number not in self._bad), None)

    def _load(self, before: View | None) -> View:
        """The newest version, read as far as ``before`` does not hold it."""
        with self._changing:
            structure = self._structure(before)
            view = self._unread(structure)
            if view is not None:
                return view
            self._table.newest()
            while True:
                try:
                    return self._read(before, structure)
                except UnfitError as error:
                    assert structure is not None
                    self._bad.add(structure.number)
                    note(f"left out a serving structure: {error}")
                    structure = self._structure(None)

    def _structure(self, before: View | None) -> Structure | None:
        held = None if before is None else before.structure
        while (number := self._newest_number()) is not None:
            if held is not None and held.number == number:
                return held
            try:
                return Structure.open(folder_of(self._serving, number), self._context.dim, self._settings)
            except StoreError as error:
                if number in numbers(self._serving):
                    self._bad.add(number)
                    note(f"left out a serving structure, which is made again: {error}")
        return None

    def _unread(self, structure: Structure | None) -> View | None:
        """The newest version, where a structure is known to be the whole of it: nothing is read of the table."""
        whole = None if structure is None else read_whole(structure.folder)
        if structure is None or structure.items is None or whole is None:
            return None
        # Asked last: in a bucket each is a request.
        newest = self._table.newest_without_lance()
        if newest != whole.version or self._table.mark(newest) != whole.mark:
            return None
        tail = np.empty((0, self._context.dim), np.float32)
        return View(newest, structure.seqs, structure.items, structure, tail, self._context.folder)

    def _read(self, before: View | None, structure: Structure | None) -> View:
        last = 0 if structure is None else structure.manifest.last_seq
        parts = None
        if structure is not None and structure.items is not None and structure is not _structure_of(before):
            parts = self._beside(structure, structure.items)
        elif before is not None:
            parts = self._changed(before, last)
        if parts is None:
            seqs, items = self._table.all_items()
            parts = seqs, items, self._table.vectors_after(last)[1]
        return View(self._table.version, *parts[:2], structure, parts[2], self._context.folder)

    def _beside(self, structure: Structure, items: pa.Table) -> _Parts | None:
        """Seqs, items and tail, read of the table as far as a structure and its items do not hold them.

        None where the structure lacks rows of the table.
        """
        held, manifest = structure.seqs, structure.manifest
        if manifest.table_version == self._table.version and self._table.is_made_of(held):
            return held, items, np.empty((0, self._context.dim), np.float32)
        alive = self._table.seqs()
        kept = _are_in(held, alive)
        seqs, newer, tail = self._table.rows_after(manifest.last_seq)
        if int(kept.sum()) + len(seqs) != len(alive):
            return None
        # Mapped as they are where nothing changed.
        old = items if kept.all() else items.filter(pa.array(kept))
        joined = pa.concat_tables([old, newer]).combine_chunks() if len(seqs) else old
        return np.concatenate([held[kept], seqs]), joined, tail

    def _changed(self, before: View, last: int) -> _Parts | None:
        """Seqs, items and tail after ``last``, from what ``before`` holds and what is new.

        None where that is not enough: the structure holds less than the one before, or the table was replaced.
        """
        if last < (0 if before.structure is None else before.structure.manifest.last_seq):
            return None
        alive = self._table.seqs()
        kept = _are_in(before.seqs, alive)
        newest = int(before.seqs[-1]) if len(before) else 0
        seqs, items, vectors = self._table.rows_after(newest)
        if int(kept.sum()) + len(seqs) != len(alive):
            return None
        old_items = before.items if kept.all() else before.items.filter(pa.array(kept))
        old_seqs, old_tail = before.seqs[kept], before.tail[kept[len(before) - len(before.tail) :]]
        all_seqs, tail = np.concatenate([old_seqs, seqs]), np.concatenate([old_tail, vectors])
        newer = int((all_seqs > last).sum())
        return all_seqs, pa.concat_tables([old_items, items]).combine_chunks(), tail[len(tail) - newer :]


def _are_in(some: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of some rising numbers ``(n,)`` are among others, rising too."""
    places = np.searchsorted(others, some)
    found = places < len(others)
    found[found] = others[places[found]] == some[found]
    return found


def _structure_of(view: View | None) -> Structure | None:
    return None if view is None else view.structure


def _settings(context: StoreContext) -> LanceSettings:
    try:
        return LanceSettings.model_validate(context.settings)
    except ValidationError as error:
        wrong = error.errors()[0]
        raise StoreError(f"the setting {'.'.join(map(str, wrong['loc']))} of the store: {wrong['msg']}") from error
