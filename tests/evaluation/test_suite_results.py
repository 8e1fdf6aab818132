"""The Parquet of a suite: what is written is read, and what cannot be read says so."""

import json
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crosslens.evaluation.suite_results import (
    DIGITS,
    FORMAT,
    Cell,
    Direction,
    Measured,
    SuiteResults,
    direction_rows,
)
from crosslens.support.errors import EvaluationError


def made(rng, methods=("frozen", "ucdir"), seeds=(0, 1)):
    cells = []
    for method in methods:
        for seed in seeds:
            rows = pa.table(
                {
                    "query_domain": ["sketch"] * 30 + ["photo"] * 20,
                    "gallery_domain": ["photo"] * 30 + ["sketch"] * 20,
                    "query": [f"é/{i}" for i in rng.permutation(50)],
                    "label": [None if i % 10 == 0 else f"class {i % 3}" for i in range(50)],
                    "map@all": pa.array(
                        np.where(np.arange(50) % 10 == 0, np.nan, rng.random(50)), from_pandas=True
                    ),
                }
            )
            cell = Cell("pacs", "pairs", "lite", method, seed)
            facts = {"marks": ["ö"], "seconds": {"fit": 1.5}}
            cells.append(Measured(cell, direction_rows(cell, rows, ["map@all", "p@1"]), facts))
    about = {
        "name": "s",
        "metrics": ["map@all", "p@1"],
        "methods": list(methods),
        "data": ["pacs"],
        "base": "frozen",
    }
    return SuiteResults(about, tuple(cells))


@pytest.fixture
def results():
    return made(np.random.default_rng(0))


def test_round_trip(results, tmp_path):
    results.write(tmp_path / "r.parquet")
    found = SuiteResults.read(tmp_path / "r.parquet")
    assert found.suite == results.suite
    assert [m.cell for m in found.cells] == [m.cell for m in results.cells]
    for a, b in zip(found.cells, results.cells, strict=True):
        assert a.facts == b.facts
        for x, y in zip(a.directions, b.directions, strict=True):
            assert x.route == y.route
            assert (x.queries == y.queries).all()
            assert (x.labels == y.labels).all()
            np.testing.assert_array_equal(x.values["map@all"], y.values["map@all"])
            # What a protocol does not measure stays empty.
            assert np.isnan(x.values["p@1"]).all()


def test_values_are_rounded_once(results):
    values = results.cells[0].directions[0].values["map@all"].astype(np.float64)
    known = values[np.isfinite(values)]
    np.testing.assert_allclose(known, np.round(known, DIGITS), atol=1e-7)
    assert len(known) < len(values)


def test_the_file_stays_small(tmp_path):
    """A query's id is told once for all cells, and a value takes some two bytes."""
    ids = sorted(f"sketch/dog/{uuid.UUID(int=number * 2**90 + number)}.png" for number in range(3000))
    rng, cells = np.random.default_rng(0), []
    for seed in range(20):
        values = {"map@all": np.round(rng.random(3000), DIGITS).astype(np.float32)}
        part = Direction(seed, "sketch", "photo", np.array(ids), np.array(["dog"] * 3000), values)
        cells.append(Measured(Cell("pacs", "pairs", "lite", "m", seed), (part,)))
    about = {"name": "s", "metrics": ["map@all"], "methods": ["m"], "data": ["pacs"], "base": "m"}
    SuiteResults(about, tuple(cells)).write(tmp_path / "r.parquet")
    assert (tmp_path / "r.parquet").stat().st_size < 60_000 * 2.5 + 100_000


def test_other_files_are_refused(results, tmp_path):
    file = tmp_path / "r.parquet"
    with pytest.raises(EvaluationError, match="is missing; run 'crosslens benchmark"):
        SuiteResults.read(file)
    pq.write_table(pa.table({"map@all": [0.5]}), file)
    with pytest.raises(EvaluationError, match="holds no results of a suite"):
        SuiteResults.read(file)
    file.write_bytes(b"PAR1 broken")
    with pytest.raises(EvaluationError, match="cannot be read"):
        SuiteResults.read(file)


@pytest.mark.parametrize(("number", "told"), [(FORMAT + 1, "upgrade crosslens"), (FORMAT - 1, "again")])
def test_other_versions_are_refused_with_the_way_out(results, tmp_path, number, told):
    file = tmp_path / "r.parquet"
    results.write(file)
    rows = pq.read_table(file)
    meta = rows.schema.metadata
    about = json.loads(meta[b"crosslens.suite"]) | {"format": number}
    pq.write_table(rows.replace_schema_metadata({b"crosslens.suite": json.dumps(about).encode()}), file)
    with pytest.raises(EvaluationError, match=told):
        SuiteResults.read(file)


def test_nothing_measured_is_nothing_to_write(results, tmp_path):
    with pytest.raises(EvaluationError, match="no cell"):
        SuiteResults(results.suite, ()).write(tmp_path / "r.parquet")
