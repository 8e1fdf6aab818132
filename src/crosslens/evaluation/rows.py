"""Results query by query, as Arrow tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crosslens.evaluation.results import RetrievalResults
from crosslens.support.errors import ConfigError
from crosslens.support.files import atomic_path

if TYPE_CHECKING:
    import pyarrow


def per_query_rows(directions: Sequence[RetrievalResults]) -> pyarrow.Table:
    """One row for each query of each direction; see ``Evaluation.per_query``."""
    import pyarrow as pa

    tables = []
    for result in directions:
        count = len(result.query_ids)
        columns = _route(result, count) | {
            "query": pa.array(result.query_ids.tolist(), pa.string()),
            "label": _labels(result),
            "relevant": pa.array(
                [None] * count if result.n_relevant is None else result.n_relevant.tolist(), pa.int64()
            ),
        }
        # A query that does not count has NaN, which Arrow can say as it is meant.
        columns |= {key: pa.array(values, from_pandas=True) for key, values in result.per_query.items()}
        tables.append(pa.table(columns))
    return pa.concat_tables(tables, promote_options="default")


def ranking_rows(directions: Sequence[RetrievalResults]) -> pyarrow.Table:
    """One row for each rank that was kept of each query; see ``Evaluation.rankings``."""
    import pyarrow as pa

    tables = []
    for result in directions:
        queries, depth = result.top.shape
        relevant = pa.nulls(queries * depth, pa.bool_())
        if result.relevant is not None:
            relevant = pa.array(result.relevant.ravel())
        columns = _route(result, queries * depth) | {
            "query": pa.array(np.repeat(result.query_ids, depth).tolist(), pa.string()),
            "rank": pa.array(np.tile(np.arange(1, depth + 1), queries)),
            "item": pa.array(result.gallery_ids[result.top.ravel()].tolist(), pa.string()),
            "score": pa.array(result.scores.ravel()),
            "relevant": relevant,
        }
        tables.append(pa.table(columns))
    return pa.concat_tables(tables)


def write_rows(rows: pyarrow.Table, file: Path) -> None:
    """Write rows as .csv or .parquet, by the file's ending, replacing the file in one step.

    Raises:
        ConfigError: for another ending.
    """
    import pyarrow.csv
    import pyarrow.parquet

    kind = file.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise ConfigError(f"rows go into a .csv or .parquet file, not {file.name!r}")
    with atomic_path(file) as temporary:
        if kind == ".csv":
            pyarrow.csv.write_csv(rows, temporary)
        else:
            pyarrow.parquet.write_table(rows, temporary)


def _route(result: RetrievalResults, count: int) -> dict[str, pyarrow.Array]:
    import pyarrow as pa

    return {
        "query_domain": pa.array([result.query_domain] * count, pa.string()),
        "gallery_domain": pa.array([result.gallery_domain] * count, pa.string()),
    }


def _labels(result: RetrievalResults) -> pyarrow.Array:
    import pyarrow as pa

    if result.query_labels is None:
        return pa.nulls(len(result.query_ids), pa.string())
    return pa.array([name or None for name in result.query_labels.tolist()], pa.string())
