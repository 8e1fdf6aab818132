"""Results as rows: the same numbers as the evaluation that they are taken from."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from crosslens.evaluation.compare import Comparisons, compare_evaluations
from crosslens.evaluation.conventions import Metric
from crosslens.evaluation.measured import Evaluation
from crosslens.evaluation.results import RetrievalResults, evaluate_retrieval
from crosslens.evaluation.weighting import intervals


def direction(query: str, gallery: str, seed: int) -> RetrievalResults:
    rng = np.random.default_rng(seed)
    return evaluate_retrieval(
        rng.normal(size=(7, 4)),
        rng.normal(size=(9, 4)),
        [*"aabbcc", "alone"],
        [*"aaabbbccc"],
        query_ids=[f"{query}/{n}" for n in range(7)],
        gallery_ids=[f"{gallery}/{n}" for n in range(9)],
        metrics=[Metric("AP", empty="skip"), Metric("P", k=5)],
        depth=4,
        query_domain=query,
        gallery_domain=gallery,
    )


@pytest.fixture
def evaluation() -> Evaluation:
    return Evaluation(
        "pairs", "standard", "lite", (direction("sketch", "photo", 0), direction("photo", "sketch", 1))
    )


def test_every_query_has_a_row_with_its_values(evaluation: Evaluation) -> None:
    table = evaluation.per_query()
    assert table.num_rows == 14
    rows = table.to_pylist()
    for row, (result, place) in zip(rows, ((r, q) for r in evaluation.directions for q in range(7)), strict=True):
        assert (row["query_domain"], row["query"]) == (result.query_domain, result.query_ids[place])
        assert row["label"] == result.query_labels[place]
        assert row["relevant"] == result.n_relevant[place]
        for key, values in result.per_query.items():
            assert row[key] == (None if np.isnan(values[place]) else values[place])
    assert rows[6]["map@all"] is None, "a query without a counterpart does not count"
    frame = evaluation.to_pandas()
    means = frame.groupby(["query_domain", "gallery_domain"])["map@all"].mean()
    assert means.mean() == pytest.approx(evaluation.metrics["map@all"])


def test_every_kept_rank_has_a_row(evaluation: Evaluation) -> None:
    rows = evaluation.rankings().to_pylist()
    assert len(rows) == 2 * 7 * 4
    result = evaluation.directions[1]
    fifth = rows[28 + 4 * 5 : 28 + 4 * 6]
    assert [row["rank"] for row in fifth] == [1, 2, 3, 4]
    assert [row["item"] for row in fifth] == result.gallery_ids[result.top[5]].tolist()
    assert [row["score"] for row in fifth] == result.scores[5].tolist()
    assert [row["relevant"] for row in fifth] == result.relevant[5].tolist()
    assert {row["query"] for row in fifth} == {"photo/5"}


def test_the_table_of_an_evaluation_has_its_numbers_and_intervals(evaluation: Evaluation) -> None:
    rows = list(csv.DictReader(io.StringIO(evaluation.to_csv())))
    assert [row["direction"] for row in rows] == ["sketch -> photo", "photo -> sketch", "mean"]
    for row, result in zip(rows[:2], evaluation.directions, strict=True):
        found = intervals(result, "map@all")["queries"]
        read = [float(row[name]) for name in ("map@all", "map@all_low", "map@all_high")]
        assert read == [result.metrics["map@all"], found.low, found.high]
    assert float(rows[2]["map@all"]) == evaluation.metrics["map@all"]


def test_the_table_of_a_comparison_names_both(evaluation: Evaluation) -> None:
    other = Evaluation(
        "pairs", "standard", "ucdir", (direction("sketch", "photo", 2), direction("photo", "sketch", 3))
    )
    compared = Comparisons(
        [evaluation, other], [compare_evaluations(evaluation, other, "map@all", names=("lite", "runs/first"))]
    )
    rows = list(csv.DictReader(io.StringIO(compared.to_csv())))
    assert [row["encoder"] for row in rows] == ["lite", "runs/first"] == compared.names
    values = [float(row["map@all"]) for row in rows]
    assert values == [evaluation.metrics["map@all"], other.metrics["map@all"]]
    assert float(rows[1]["difference"]) == pytest.approx(values[1] - values[0])
    assert rows[0]["p"] == ""
