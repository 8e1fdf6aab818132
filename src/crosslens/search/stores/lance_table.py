"""The record of the default store: a Lance table, read and changed in whole versions.

    I/table/items.lance    the columns of ITEM_SCHEMA, seq int64, vector float32[d]

``seq`` rises with every row ever written and is never used again, so a row that was replaced or deleted can be
told from the one that took its place. Lance runs threads of its own: use no table after ``fork``; start other
processes by ``spawn``. It takes long to import, so a table is opened when something is read of it or written, and
which version is the newest is told from the names of its files alone.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from crosslens.search.filters.conditions import And, BaseFilter, Eq, Filter, In, Not, Or, Prefix, Range, Value
from crosslens.search.stores.base import ITEM_SCHEMA, as_items
from crosslens.search.stores.snapshot import damaged
from crosslens.support.addresses import Place
from crosslens.support.errors import StoreError
from crosslens.support.remote import Remote, lance_options

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Seqs = NDArray[np.int64]

FOLDER = "table"
NAME = "items"
_NEWER = ("stamp", "own")
"""Columns that tables of older formats lack."""
_READ_AT_ONCE = 65_536
_WRITTEN_AT_ONCE = 16_384
_OLD_VERSIONS = timedelta(minutes=10)
_LAST = 2**64 - 1
_COUNTED_DOWN = re.compile(r"\d{20}\.manifest")
"""Name of a version's file: its number taken from the last there can be, so that the newest comes first."""


class LanceTable:
    """The table of an index; one object is used by one thread at a time."""

    def __init__(self, folder: Place, dim: int) -> None:
        self._folder = folder
        self._dim = dim

    @classmethod
    def create(cls, folder: Path, dim: int) -> LanceTable:
        """Make an empty table below ``folder``.

        Raises:
            StoreError: when it cannot be written.
        """
        with _store_errors(folder, "could not be made"):
            made = cls(folder, dim)
            made._table = _lance().write_dataset(_schema(dim).empty_table(), _file(folder), mode="create")
            return made

    @classmethod
    def open(cls, folder: Place, dim: int) -> LanceTable:
        """Open a table; Lance reads one in object storage where it lies.

        Whatever reads it later raises a ``StoreError`` where it is damaged, or of another shape.

        Raises:
            StoreError: when it is missing.
        """
        if not _file(folder).is_dir():
            raise damaged(_file(folder), "it is missing")
        return cls(folder, dim)

    @cached_property
    def _table(self) -> Any:
        file = _file(self._folder)
        try:
            options = lance_options(file.scheme) if isinstance(file, Remote) else None
            table = _lance().dataset(str(file), storage_options=options)
            schema = table.schema
        except StoreError:
            raise
        except Exception as error:
            # Lance raises many kinds: ValueError, OSError, RuntimeError and its own.
            raise damaged(file, _first_line(error)) from error
        types, wanted = dict(zip(schema.names, schema.types, strict=True)), _schema(self._dim)
        # A table of an older format lacks the newest columns; they come with the next rows.
        if dict.fromkeys(_NEWER, pa.string()) | types != dict(zip(wanted.names, wanted.types, strict=True)):
            raise damaged(file, f"its columns are {', '.join(f'{c.name} {c.type}' for c in schema)}")
        return table

    def newest_without_lance(self) -> int | None:
        """The newest version; None where its files do not tell, as those of older tables."""
        try:
            names = [one.name for one in self._versions.iterdir() if one.suffix == ".manifest"]
        except OSError:
            return None
        told = names and all(_COUNTED_DOWN.fullmatch(name) for name in names)
        return _LAST - int(min(names).partition(".")[0]) if told else None

    def mark(self, version: int) -> str | None:
        """What tells a version of this table from those of all others; None where ``newest_without_lance`` is."""
        try:
            # It names the files of the rows, which are named by chance.
            return hashlib.sha256((self._versions / f"{_LAST - version:020}.manifest").read_bytes()).hexdigest()
        except OSError:
            return None

    @property
    def _versions(self) -> Place:
        return _file(self._folder) / "_versions"

    @property
    def version(self) -> int:
        """The version that is read."""
        return int(self._table.version)

    def newest(self) -> int:
        """Go to the newest version and say which it is."""
        with self._reading():
            self._table.checkout_latest()
            return self.version

    def seqs(self) -> Seqs:
        """Of all N rows, rising ``(N,)``."""
        with self._reading():
            return np.sort(self._read(["seq"]).column("seq").to_numpy())

    def is_made_of(self, seqs: Seqs) -> bool:
        """Whether the rows seem to be those of ``seqs`` (N,), rising: as many, the first and the last among them.

        For a table of the version that ``seqs`` was read from, which may be another table all the same.
        """
        with self._reading():
            count = self._table.count_rows()
            if count != len(seqs) or not count:
                return bool(count == len(seqs))
            ends = self._table.take([0, count - 1], columns=["seq"]).column("seq").to_numpy()
        places = np.searchsorted(seqs, ends)
        return bool((places < count).all() and (seqs[np.minimum(places, count - 1)] == ends).all())

    def rows_after(self, seq: int) -> tuple[Seqs, pa.Table, Array]:
        """The rows with a larger seq: seqs ``(n,)`` rising, items, vectors ``(n, d)``."""
        with self._reading():
            table = self._read([*ITEM_SCHEMA.names, "seq", "vector"], f"seq > {seq}")
            return _parts(table, self._dim)

    def all_items(self) -> tuple[Seqs, pa.Table]:
        """All N rows without vectors: seqs ``(N,)`` rising, and items."""
        with self._reading():
            table = self._read([*ITEM_SCHEMA.names, "seq"])
        seqs = table.column("seq").to_numpy()
        if (np.diff(seqs) < 0).any():
            table = table.take(pa.array(np.argsort(seqs)))
        table = table.combine_chunks()
        return table.column("seq").to_numpy(), as_items(table)

    def vectors_after(self, seq: int) -> tuple[Seqs, Array]:
        """The vectors of rows with a larger seq: seqs ``(n,)`` rising, vectors ``(n, d)``."""
        with self._reading():
            table = self._read(["seq", "vector"], f"seq > {seq}")
        seqs = table.column("seq").to_numpy()
        order = np.argsort(seqs)
        return seqs[order], _vectors(table, self._dim)[order]

    def blocks(self) -> Iterator[tuple[Seqs, Array]]:
        """All rows in any order, some at a time: seqs ``(n,)`` and vectors ``(n, d)``."""
        with self._reading():
            for batch in self._table.to_batches(["seq", "vector"], batch_size=_READ_AT_ONCE):
                table = pa.Table.from_batches([batch])
                yield table.column("seq").to_numpy(), _vectors(table, self._dim)

    def add(self, items: pa.Table, vectors: Array, after: int, replace: bool) -> None:
        """Write n rows in one step.

        Args:
            items: of ``ITEM_SCHEMA``.
            vectors: ``(n, d)``.
            after: the largest seq known, in the table or in a serving structure.
            replace: whether some of the ids may be in the table.

        Raises:
            StoreError: when it cannot be written; nothing is changed then.
        """
        # From the clock, so that a seq is not used again even after the last rows were deleted.
        first = max(after + 1, time.time_ns() // 1000)
        rows = items.append_column("seq", pa.array(np.arange(first, first + items.num_rows), pa.int64()))
        flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
        column = pa.FixedSizeListArray.from_arrays(flat, self._dim)
        rows = rows.append_column("vector", column).cast(_schema(self._dim))
        with self._writing():
            self._table.checkout_latest()
            lacking = [name for name in _NEWER if name not in self._table.schema.names]
            if lacking:
                self._table.add_columns(dict.fromkeys(lacking, "CAST(NULL AS STRING)"))
            if replace:
                change = self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
                change.execute(rows)
            else:
                # In small batches: of a large one Lance holds another copy while it writes.
                batches = rows.to_batches(max_chunksize=_WRITTEN_AT_ONCE)
                self._table.insert(pa.RecordBatchReader.from_batches(rows.schema, batches))

    def delete(self, which: Sequence[str] | Filter) -> int:
        """Delete rows by id or filter in one step; says how many.

        Raises:
            StoreError: when it cannot be written; nothing is changed then.
        """
        condition = compile_filter(which) if isinstance(which, BaseFilter) else _among("id", which)
        with self._writing():
            self._table.checkout_latest()
            return int(self._table.delete(condition)["num_deleted_rows"])

    def fragments(self) -> int:
        """How many small files the rows lie in."""
        with self._reading():
            return int(self._table.stats.dataset_stats()["num_small_files"])

    def optimize(self) -> None:
        """Join small files and remove versions older than ten minutes.

        Raises:
            StoreError: when it cannot be written; nothing is lost then.
        """
        with self._writing():
            self._table.checkout_latest()
            self._table.optimize.compact_files()
            self._table.cleanup_old_versions(_OLD_VERSIONS)

    def _read(self, columns: list[str], where: str | None = None) -> pa.Table:
        there = self._table.schema.names
        return self._table.to_table([name for name in columns if name in there], where)

    def _reading(self) -> Any:
        return _store_errors(self._folder, "could not be read")

    def _writing(self) -> Any:
        return _store_errors(self._folder, "could not be written; nothing was changed")


def compile_filter(where: Filter) -> str:
    """A filter as an SQL condition that is never null (Lance, DataFusion), with every text quoted."""
    match where:
        case And():
            return "(" + " AND ".join(map(compile_filter, where.filters)) + ")"
        case Or():
            return "(" + " OR ".join(map(compile_filter, where.filters)) + ")"
        case Not():
            return f"(NOT {compile_filter(where.filter)})"
        case Eq() | In():
            return _known(where.field, _among(where.field, where.stored)) if where.stored else "false"
        case Range():
            ends = [f"{where.field} >= {_literal(where.min)}"] if where.min is not None else []
            ends += [f"{where.field} <= {_literal(where.max)}"] if where.max is not None else []
            return _known(where.field, *ends)
        case Prefix():
            starts = [f"starts_with({where.field}, {_literal(start)})" for start in where.stored]
            return _known(where.field, f"({' OR '.join(starts)})")
    raise StoreError("the table has no language for conditions on columns of people's own; name the rows by id")


def _known(name: str, *conditions: str) -> str:
    return "(" + " AND ".join([f"{name} IS NOT NULL", *conditions]) + ")"


def _among(name: str, values: Sequence[Value]) -> str:
    return f"{name} IN ({', '.join(map(_literal, values))})"


def _literal(value: Value) -> str:
    """Numbers as they are, texts in single quotes, those inside doubled."""
    return str(value) if not isinstance(value, str) else "'" + value.replace("'", "''") + "'"


def _file(folder: Place) -> Place:
    return folder / FOLDER / f"{NAME}.lance"


def _lance() -> Any:
    try:
        import lance
    except ImportError as error:
        raise StoreError(
            "this index is kept by Lance, which is not installed: pip install pylance, or build it with"
            " --store exact"
        ) from error
    return lance


def _schema(dim: int) -> pa.Schema:
    seq = pa.field("seq", pa.int64(), nullable=False)
    vector = pa.field("vector", pa.list_(pa.float32(), dim), nullable=False)
    return pa.schema([*ITEM_SCHEMA, seq, vector])


def _parts(table: pa.Table, dim: int) -> tuple[Seqs, pa.Table, Array]:
    order = np.argsort(table.column("seq").to_numpy())
    vectors = _vectors(table, dim)[order]
    rows = table.drop_columns("vector").take(pa.array(order)).combine_chunks()
    return rows.column("seq").to_numpy(), as_items(rows), vectors


def _vectors(table: pa.Table, dim: int) -> Array:
    column = table.column("vector")
    parts = [chunk.flatten().to_numpy().reshape(-1, dim) for chunk in column.chunks if len(chunk)]
    if not parts:
        return np.empty((0, dim), np.float32)
    return np.asarray(parts[0] if len(parts) == 1 else np.concatenate(parts), np.float32)


@contextmanager
def _store_errors(folder: Place, what: str) -> Iterator[None]:
    """Raise what Lance and the disk raise as a ``StoreError``."""
    try:
        yield
    except StoreError:
        raise
    except (OSError, ValueError, RuntimeError, pa.ArrowException) as error:
        raise StoreError(f"the table in {folder / FOLDER} {what}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:500]
