"""Metric values against golden numbers, slow formulas, brute force over ties, scikit-learn and ir_measures."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from crosslens.evaluation.conventions import Metric
from crosslens.evaluation.metrics import (
    JudgedRanks,
    MetricAccumulator,
    average_precision,
    cmc_at,
    metric_values,
    ndcg,
    precision_at,
    r_precision,
    recall_at,
    reciprocal_rank,
)
from crosslens.support.errors import EvaluationError

A, B, C = [0, 1, 1, 0, 1], [1, 0, 0, 1, 0], [0, 0, 1, 0, 1]

EVERY_METRIC = [
    Metric("AP"),
    Metric("AP", 3),
    Metric("AP", 3, "k"),
    Metric("AP", 3, "min"),
    Metric("P", 1),
    Metric("P", 3),
    Metric("P", 4, "min"),
    Metric("P", 9, "gallery"),
    Metric("R", 2),
    Metric("CMC", 1),
    Metric("CMC", 3),
    Metric("MRR"),
    Metric("MRR", 2),
    Metric("nDCG"),
    Metric("nDCG", 3),
    Metric("R-precision"),
]


def slow_ap(h: np.ndarray, denominator: float) -> float:
    c = np.cumsum(h)
    return float((c / np.arange(1, len(h) + 1) * h).sum() / max(denominator, 1))


def slow_voc(h: np.ndarray, total: float) -> float:
    tp = np.cumsum(h)
    recall, precision = tp / total, tp / np.arange(1, len(h) + 1)
    mr, mp = np.r_[0, recall, 1], np.r_[0, precision, 0]
    for i in range(len(mp) - 2, -1, -1):
        mp[i] = max(mp[i], mp[i + 1])
    k = mr[1:] != mr[:-1]
    return float(((mr[1:] - mr[:-1])[k] * mp[1:][k]).sum())


def test_golden_values_per_query(golden: dict[str, Any]) -> None:
    lists = golden["lists"]
    for case in golden["per_query"]:
        values = metric_values(Metric(**case["metric"]), lists["relevance"], lists["n_rel"])
        np.testing.assert_allclose(values, case["values"], atol=1e-6, err_msg=str(case["metric"]))


def test_golden_averages(golden: dict[str, Any]) -> None:
    lists = golden["lists"]
    for case in golden["averages"]:
        for average in {"macro", "micro", "class"} & set(case):
            accumulator = MetricAccumulator([Metric(**case["metric"], average=average)])
            for row in range(3):
                part = slice(row, row + 1)
                accumulator.update(lists["relevance"][part], lists["n_rel"][part], classes=lists["classes"][part])
            assert list(accumulator.compute().values()) == pytest.approx([case[average]], abs=1e-6), case


def test_functions_are_the_metrics() -> None:
    relevance, n_rel = [A, B, C], [3, 2, 2]
    pairs = [
        (average_precision(relevance, n_rel, 3, "hits"), Metric("AP", 3, "hits")),
        (average_precision(relevance, n_rel, 3, "min", "voc"), Metric("AP", 3, "min", interpolation="voc")),
        (precision_at(relevance, n_rel, 4, "min"), Metric("P", 4, "min")),
        (recall_at(relevance, n_rel, 3), Metric("R", 3)),
        (cmc_at(relevance, n_rel, 2), Metric("CMC", 2)),
        (reciprocal_rank(relevance, n_rel), Metric("MRR")),
        (ndcg(relevance, n_rel, 3), Metric("nDCG", 3)),
        (r_precision(relevance, n_rel), Metric("R-precision")),
    ]
    for values, metric in pairs:
        np.testing.assert_array_equal(values, metric_values(metric, relevance, n_rel))


def test_k_above_the_gallery_is_never_capped_silently() -> None:
    assert precision_at([A], [3], 10) == pytest.approx([0.3])
    assert precision_at([A], [3], 10, "gallery") == pytest.approx([0.6])
    assert precision_at([A], [3], 10, "min") == pytest.approx([2 / 3])


def test_query_excluded_from_its_own_gallery() -> None:
    assert average_precision([B], [2]) == pytest.approx([0.75])
    assert average_precision([[0, 0, 1, 0]], [1]) == pytest.approx([1 / 3])


def test_torchmetrics_trap_negative_scores_count() -> None:
    relevance = [[0, 0, 1, 0, 1]]
    assert average_precision(relevance, [2]) == pytest.approx([0.366667], abs=1e-6)
    assert precision_at(relevance, [2], 5) == pytest.approx([0.4])
    assert recall_at(relevance, [2], 5) == pytest.approx([1.0])


@pytest.mark.parametrize(("empty", "value"), [("neg", 0.0), ("pos", 1.0), ("skip", np.nan)])
def test_empty_relevant_set(empty: Any, value: float) -> None:
    rows, n_rel = [A, [0] * 5], [3, 0]
    for metric in (
        Metric("AP", empty=empty),
        Metric("AP", interpolation="voc", empty=empty),
        Metric("P", 2, empty=empty),
    ):
        values = metric_values(metric, rows, n_rel)
        np.testing.assert_equal(values[1], value)
        accumulator = MetricAccumulator([metric])
        accumulator.update(rows, n_rel)
        expected = values[0] if empty == "skip" else (values[0] + value) / 2
        assert accumulator.compute()[metric.key] == pytest.approx(expected)


def test_empty_relevant_set_as_an_error() -> None:
    with pytest.raises(EvaluationError, match=r"1 of 2 queries.*index 1.*empty='neg'"):
        metric_values(Metric("AP", empty="error"), [A, [0] * 5], [3, 0])


@pytest.mark.parametrize("empty", ["neg", "pos", "skip"])
def test_pooled_precision_leaves_empty_queries_out(empty: Any) -> None:
    metric = Metric("P", 5, "min", average="micro", empty=empty)
    accumulator = MetricAccumulator([metric])
    accumulator.update([A, B, C, [0] * 5], [3, 2, 2, 0])
    assert accumulator.compute()["p@5"] == pytest.approx(3 / 7)
    fixed = Metric("P", 5, average="micro", empty=empty)
    accumulator = MetricAccumulator([fixed])
    accumulator.update([A, B, C, [0] * 5], [3, 2, 2, 0])
    assert accumulator.compute()["p@5"] == pytest.approx({"neg": 7 / 20, "pos": 12 / 20, "skip": 7 / 15}[empty])


def test_nothing_counts() -> None:
    accumulator = MetricAccumulator([Metric("AP", empty="skip")])
    with pytest.raises(EvaluationError, match="no query has been added"):
        accumulator.compute()
    accumulator.update([[0, 0]], [0])
    with pytest.raises(EvaluationError, match="no query has a relevant item"):
        accumulator.compute()


def test_golden_ties(golden: dict[str, Any]) -> None:
    for case in golden["ties"]:
        relevance, scores = [case["relevance"]], [case["scores"]]
        for ties in ("stable", "expected"):
            values = metric_values(
                Metric(**case["metric"], ties=ties), relevance, [sum(relevance[0])], scores=scores
            )
            assert values == pytest.approx([case[ties]], abs=1e-6), case
        if "sklearn" in case:
            # scikit-learn merges tied scores into one threshold: a third definition.
            assert average_precision_score(relevance[0], scores[0]) == pytest.approx(case["sklearn"])


@pytest.mark.parametrize("metric", EVERY_METRIC, ids=lambda metric: f"{metric.key}-{metric.denominator}")
@pytest.mark.parametrize(
    "scores", [[3, 2, 2, 2, 2, 1], [1, 1, 1, 1, 1, 1], [5, 5, 4, 4, 4, 3], [6, 5, 4, 3, 2, 1]]
)
def test_expected_is_the_mean_over_all_orders_of_ties(metric: Metric, scores: list[int]) -> None:
    expected = Metric(metric.name, metric.k, metric.denominator, ties="expected")
    for row in ([0, 1, 1, 0, 1, 0], [1, 0, 0, 0, 0, 1], [0, 0, 0, 1, 0, 0], [0] * 6, [1] * 6):
        groups = [[r for r, s in zip(row, scores, strict=True) if s == score] for score in dict.fromkeys(scores)]
        orders = [[]]
        for group in groups:
            orders = [order + list(p) for order in orders for p in permutations(group)]
        n_rel = np.full(len(orders), sum(row))
        brute = metric_values(metric, orders, n_rel).mean()
        assert metric_values(expected, [row], [sum(row)], scores=[scores]) == pytest.approx([brute])


def test_expected_without_ties_is_stable() -> None:
    rng = np.random.default_rng(0)
    relevance = rng.random((20, 30)) < 0.2
    scores = -np.sort(-rng.normal(size=(20, 30)), axis=1)
    for metric in EVERY_METRIC:
        expected = Metric(metric.name, metric.k, metric.denominator, ties="expected")
        np.testing.assert_allclose(
            metric_values(expected, relevance, relevance.sum(1), scores=scores),
            metric_values(metric, relevance, relevance.sum(1)),
            atol=1e-12,
        )


@settings(deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=1, max_size=6), st.integers(1, 9))
def test_against_slow_formulas(rows: list[list[bool]], k: int) -> None:
    relevance = np.array(rows)
    n_rel = relevance.sum(axis=1) + 1
    for row, total, whole, cut, hits, voc, voc_cut in zip(
        relevance.astype(float),
        n_rel,
        average_precision(relevance, n_rel),
        average_precision(relevance, n_rel, k, "min"),
        average_precision(relevance, n_rel, k, "hits"),
        average_precision(relevance, n_rel, interpolation="voc"),
        average_precision(relevance, n_rel, k, "min", "voc"),
        strict=True,
    ):
        head = row[:k]
        assert whole == pytest.approx(slow_ap(row, total))
        assert cut == pytest.approx(slow_ap(head, min(k, total)))
        assert hits == pytest.approx(slow_ap(head, head.sum()))
        assert voc == pytest.approx(slow_voc(row, total))
        assert voc_cut == pytest.approx(slow_voc(head, min(k, total)))


def ranked(scores: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    return np.take_along_axis(relevance, np.argsort(-scores, axis=1, kind="stable"), axis=1)


def test_average_precision_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    relevance, scores = rng.random((30, 200)) < 0.1, rng.normal(size=(30, 200))
    assert (scores < 0).any()
    theirs = [average_precision_score(r, s) for r, s in zip(relevance, scores, strict=True)]
    np.testing.assert_allclose(average_precision(ranked(scores, relevance), relevance.sum(1)), theirs)


@pytest.mark.parametrize("tied", [False, True])
def test_agrees_with_trec_eval(tied: bool) -> None:
    rng = np.random.default_rng(2)
    relevance, scores = rng.random((20, 150)) < 0.1, rng.normal(size=(20, 150))
    if tied:
        scores = np.round(scores)
    # trec_eval puts the greater document name first among ties.
    names = [f"{999 - item:03d}" for item in range(150)]
    qrels = [ir_measures.Qrel(str(q), names[i], int(relevance[q, i])) for q in range(20) for i in range(150)]
    run = [ir_measures.ScoredDoc(str(q), names[i], float(scores[q, i])) for q in range(20) for i in range(150)]
    pairs = {
        "AP": Metric("AP"),
        "AP@20": Metric("AP", 20),
        "P@5": Metric("P", 5),
        "P@200": Metric("P", 200),
        "R@10": Metric("R", 10),
        "RR": Metric("MRR"),
        "Rprec": Metric("R-precision"),
        "nDCG": Metric("nDCG"),
        "nDCG@10": Metric("nDCG", 10),
        "Success@3": Metric("CMC", 3),
    }
    measures = {name: ir_measures.parse_measure(name) for name in pairs}
    theirs = ir_measures.calc_aggregate(measures.values(), qrels, run)
    for name, metric in pairs.items():
        ours = metric_values(metric, ranked(scores, relevance), relevance.sum(1)).mean()
        assert ours == pytest.approx(theirs[measures[name]], abs=1e-6), name


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.integers(1, 12), st.data())
def test_one_class_only_gives_one_everywhere(queries: int, items: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, items))
    relevance, n_rel = np.ones((queries, items), bool), np.full(queries, items)
    for metric in (
        Metric("AP"),
        Metric("AP", k, "min"),
        Metric("AP", k, "hits", interpolation="voc"),
        Metric("P", k),
        Metric("P", k, "min"),
        Metric("R", items),
        Metric("CMC", k),
        Metric("MRR"),
        Metric("nDCG", k),
        Metric("R-precision"),
    ):
        np.testing.assert_allclose(metric_values(metric, relevance, n_rel), 1)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_chunks_equal_the_full_matrix(chunk: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    relevance = rng.random((13, 9)) < 0.3
    relevance[0, 0] = True
    n_rel, classes = relevance.sum(1) + rng.integers(0, 2, 13), rng.integers(-1, 3, 13)
    classes[0] = 0
    metrics = [Metric("AP"), Metric("P", 4, "min", average="micro"), Metric("nDCG", 5, average="class")]
    whole, parts = MetricAccumulator(metrics), MetricAccumulator(metrics)
    whole.update(relevance, n_rel, gallery_size=9, classes=classes)
    for start in range(0, 13, chunk):
        rows = slice(start, start + chunk)
        parts.update(relevance[rows], n_rel[rows], gallery_size=9, classes=classes[rows])
    assert parts.compute() == whole.compute()
    for key, values in whole.per_query().items():
        np.testing.assert_array_equal(parts.per_query()[key], values)


def test_a_prefix_is_enough_for_cut_metrics_only() -> None:
    prefix = np.array([A])[:, :3]
    assert average_precision(prefix, [3], 3) == pytest.approx([0.388889], abs=1e-6)
    judged = JudgedRanks(prefix, [3], gallery_size=5)
    assert judged.sums(Metric("P", 3))[0] == pytest.approx([2 / 3])
    for metric in (Metric("P", 4), Metric("AP"), Metric("R-precision")):
        with pytest.raises(EvaluationError, match="needs more ranks than the 3 given of a gallery of 5"):
            judged.sums(metric)
    with pytest.raises(EvaluationError, match="needs all ranks"):
        judged.interpolated_precision()


def test_interpolated_precision() -> None:
    curves = JudgedRanks([A, [0] * 5], [3, 0]).interpolated_precision()
    assert curves.shape == (2, 101)
    np.testing.assert_allclose(curves[0, [0, 33, 34, 66, 67, 100]], [2 / 3, 2 / 3, 2 / 3, 2 / 3, 0.6, 0.6])
    assert not curves[1].any()
    # Recall 0.07 of 100 items is reached by hit 7, although 0.07 * 100 > 7 in floating point.
    relevance = np.zeros((1, 200), bool)
    relevance[0, :7] = relevance[0, 107:] = True
    assert JudgedRanks(relevance, [100]).interpolated_precision()[0, 7] == 1


def test_curve_averages_over_queries_with_relevant_items() -> None:
    accumulator = MetricAccumulator([Metric("P", 1)], curve=True)
    assert accumulator.curve() is None
    accumulator.update([A, [0] * 5], [3, 0])
    accumulator.update([B], [2])
    curves = JudgedRanks([A, B], [3, 2]).interpolated_precision()
    np.testing.assert_allclose(accumulator.curve(), curves.mean(axis=0))


def test_bad_input_is_explained() -> None:
    with pytest.raises(EvaluationError, match=r"n_rel \(Q,\)"):
        average_precision([A], [3, 2])
    with pytest.raises(EvaluationError, match="n_rel must count all"):
        average_precision([A], [2])
    with pytest.raises(EvaluationError, match="needs the scores"):
        metric_values(Metric("AP", ties="expected"), [A], [3])
    with pytest.raises(EvaluationError, match="differ in shape"):
        metric_values(Metric("AP"), [A], [3], scores=[[1, 2]])
    with pytest.raises(EvaluationError, match="tag"):
        MetricAccumulator([Metric("AP", 3), Metric("AP", 3, "hits")])
    with pytest.raises(EvaluationError, match="at least one metric"):
        MetricAccumulator([])
    with pytest.raises(EvaluationError, match="class of every query"):
        MetricAccumulator([Metric("AP", average="class")]).update([A], [3])
    with pytest.raises(EvaluationError, match="one code for each"):
        MetricAccumulator([Metric("AP")]).update([A], [3], classes=[1, 2])
