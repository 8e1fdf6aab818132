"""What a suite of measurements comes to: every query of every cell in one Parquet file, with facts of each cell.

A *cell* is one method on one backbone and data set, under one protocol and goal, with one seed. The rows of the
file are sorted so that one query's values under all cells stand together, which keeps it small.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crosslens.support.errors import EvaluationError
from crosslens.support.files import atomic_path

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray

    Array = NDArray[Any]

FORMAT = 1
DIGITS = 4
"""Decimals that are kept of a query's value: a mean over a thousand queries then is right to six."""
_META = b"crosslens.suite"
_AXES = ("data", "protocol", "goal", "backbone")
_ROUTE = ("query_domain", "gallery_domain", "query")


@dataclass(frozen=True, order=True)
class Cell:
    """One measurement of a suite.

    Attributes:
        data, backbone, method: by the names that the suite gives them.
        protocol: a name in ``PROTOCOLS``.
        seed: of training and of every draw of classes.
        goal: what counts as right, where it is not the labels as they are; else the empty text.
    """

    data: str
    protocol: str
    backbone: str
    method: str
    seed: int
    goal: str = ""

    @property
    def chapter(self) -> tuple[str, str, str]:
        """What must be alike for two cells to be compared, but for data set, method and seed."""
        return (self.protocol, self.goal, self.backbone)

    def __str__(self) -> str:
        return ", ".join(filter(None, [self.method, self.data, self.protocol, self.goal, f"seed {self.seed}"]))


@dataclass(frozen=True, eq=False)
class Direction:
    """The queries of one direction of a cell.

    Attributes:
        seed: of the cell.
        query_domain, gallery_domain: who asks and who answers.
        queries: ``(Q,)`` ids.
        labels: ``(Q,)`` class names, "" where unknown.
        values: metric key -> ``(Q,)`` in [0, 1], NaN for a query that does not count.
    """

    seed: int
    query_domain: str
    gallery_domain: str
    queries: Array
    labels: Array
    values: Mapping[str, Array]

    @property
    def route(self) -> str:
        """``sketch -> photo``."""
        return f"{self.query_domain} -> {self.gallery_domain}"


@dataclass(frozen=True, eq=False)
class Measured:
    """One cell with what was measured.

    Attributes:
        cell: which.
        directions: in the order of their names.
        facts: seconds, bytes, marks and notes; plain values.
    """

    cell: Cell
    directions: tuple[Direction, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class SuiteResults:
    """All measured cells of a suite.

    Attributes:
        suite: its name, metrics (the first is the headline), the order of its methods and data sets, and the base.
        cells: in the suite's order.
    """

    suite: Mapping[str, Any]
    cells: tuple[Measured, ...]

    @property
    def metric(self) -> str:
        """The headline."""
        return str(self.suite["metrics"][0])

    def write(self, file: Path) -> None:
        """Write one Parquet file, replacing it in one step."""
        import pyarrow as pa
        import pyarrow.parquet

        tables = [_rows_of(measured, self.suite["metrics"]) for measured in self.cells]
        if not tables:
            raise EvaluationError("no cell of the suite has been measured, so there is nothing to write")
        rows = pa.concat_tables(tables, promote_options="default")
        # The stable sort keeps the suite's order of methods and seeds within a query.
        order = [(name, "ascending") for name in (*_AXES, *_ROUTE)]
        rows = rows.append_column("place", pa.array(np.arange(rows.num_rows)))
        rows = rows.sort_by([*order, ("place", "ascending")]).drop_columns(["place"])
        told = {
            "format": FORMAT,
            "suite": dict(self.suite),
            "cells": [{"cell": asdict(m.cell), "facts": dict(m.facts)} for m in self.cells],
        }
        rows = rows.replace_schema_metadata({_META: json.dumps(told, ensure_ascii=False).encode()})
        with atomic_path(file) as temporary:
            pyarrow.parquet.write_table(rows, temporary, compression="zstd", compression_level=19)

    @classmethod
    def read(cls, file: Path) -> SuiteResults:
        """Read what ``write`` wrote.

        Raises:
            EvaluationError: for a file that is missing, damaged, of another version, or none of a suite.
        """
        import pyarrow as pa
        import pyarrow.parquet

        try:
            rows = pyarrow.parquet.read_table(file)
        except FileNotFoundError:
            raise EvaluationError(f"{file} is missing; run 'crosslens benchmark SUITE.yaml' to make it") from None
        except (OSError, pa.ArrowException) as error:
            raise EvaluationError(f"{file} cannot be read as results of a suite: {error}") from error
        meta = (rows.schema.metadata or {}).get(_META)
        if meta is None:
            raise EvaluationError(
                f"{file} holds no results of a suite: 'crosslens benchmark SUITE.yaml' writes them"
                " (what 'evaluate --per-query' writes is another kind of file)"
            )
        told = json.loads(meta)
        found = told.get("format")
        if found != FORMAT:
            out = (
                "upgrade crosslens to read it"
                if isinstance(found, int) and found > FORMAT
                else "run 'crosslens benchmark SUITE.yaml' again: it writes the file anew, and redoes no job"
            )
            raise EvaluationError(f"{file} has format {found}, and this version reads {FORMAT}; {out}")
        return cls(told["suite"], tuple(_cells_of(rows, told)))


def direction_rows(cell: Cell, rows: pyarrow.Table, metrics: Sequence[str]) -> tuple[Direction, ...]:
    """The directions of one cell from rows as ``Evaluation.per_query`` has them; values rounded to ``DIGITS``."""
    import pyarrow as pa

    labels = rows["label"].fill_null("").to_numpy(zero_copy_only=False).astype(np.str_)
    queries = rows["query"].to_numpy(zero_copy_only=False).astype(np.str_)
    values = {}
    for key in metrics:
        column = rows[key] if key in rows.column_names else pa.nulls(rows.num_rows, pa.float32())
        kept = np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
        values[key] = np.round(kept, DIGITS).astype(np.float32)
    found = []
    for (asking, answering), own in sorted(_groups(rows, ("query_domain", "gallery_domain"))):
        # One order of queries whoever measured them, so that cells can be paired row by row.
        own = own[np.argsort(queries[own], kind="stable")]
        parts = {key: part[own] for key, part in values.items()}
        found.append(Direction(cell.seed, asking, answering, queries[own], labels[own], parts))
    return tuple(found)


def _rows_of(measured: Measured, metrics: Sequence[str]) -> pyarrow.Table:
    import pyarrow as pa

    cell = measured.cell
    tables = []
    for one in measured.directions:
        count = len(one.queries)
        told: dict[str, Any] = {name: getattr(cell, name) for name in (*_AXES, "method")}
        told |= {"query_domain": one.query_domain, "gallery_domain": one.gallery_domain}
        columns = {name: pa.array([value] * count, pa.string()) for name, value in told.items()}
        columns["query"] = pa.array(one.queries.tolist(), pa.string())
        columns["label"] = pa.array([name or None for name in one.labels.tolist()], pa.string())
        columns["seed"] = pa.array(np.full(count, cell.seed, dtype=np.int32))
        columns |= {key: pa.array(one.values[key], pa.float32(), from_pandas=True) for key in metrics}
        tables.append(pa.table(columns))
    return pa.concat_tables(tables)


def _cells_of(rows: pyarrow.Table, told: Mapping[str, Any]) -> Iterable[Measured]:
    axes = ("data", "protocol", "backbone", "method", "seed", "goal")
    places = {Cell(*values): own for values, own in _groups(rows, axes)}
    for one in told["cells"]:
        cell = Cell(**one["cell"])
        yield Measured(cell, direction_rows(cell, rows.take(places[cell]), told["suite"]["metrics"]), one["facts"])


def _groups(rows: pyarrow.Table, names: Sequence[str]) -> list[tuple[tuple[Any, ...], Array]]:
    """The row numbers of every combination of values of some columns."""
    codes, values = np.zeros(rows.num_rows, dtype=np.int64), []
    for name in names:
        column = rows[name].combine_chunks().dictionary_encode()
        values.append(column.dictionary.to_pylist())
        codes = codes * len(values[-1]) + column.indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    known, starts = np.unique(codes[order], return_index=True)
    sizes = [len(part) for part in values]
    found = []
    for code, own in zip(known.tolist(), np.split(order, starts[1:]), strict=True):
        key: list[Any] = []
        for part, size in zip(values[::-1], sizes[::-1], strict=True):
            code, place = divmod(code, size)
            key.insert(0, part[place])
        found.append((tuple(key), own))
    return found
