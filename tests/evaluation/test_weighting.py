"""The number, its intervals and its weights are one statistic, in every convention and average."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosslens.evaluation.conventions import CONVENTIONS, Metric
from crosslens.evaluation.results import RetrievalResults, evaluate_retrieval
from crosslens.evaluation.weighting import intervals, query_weights

BY_CLASS = [
    Metric("AP", average="class", interpolation="voc", tag="voc-class"),
    Metric("AP", average="class", empty="skip", tag="class"),
    Metric("P", 3, "min", average="class", empty="skip", tag="class"),
    Metric("R", 3, average="micro", empty="skip"),
    Metric("CMC", 1),
]
"""What no convention has by itself: means over classes, with and without queries that do not count."""


def imbalanced(seed: int, convention: str) -> RetrievalResults:
    """Few classes of very different sizes, some without a gallery item or without a label."""
    rng = np.random.default_rng(seed)
    names = np.array(["a", "b", "c", "d", "lonely", ""])
    left = names[rng.choice(6, 40, p=[0.6, 0.2, 0.05, 0.05, 0.05, 0.05])]
    right = names[rng.choice([0, 1, 2, 3, 5], 30, p=[0.5, 0.2, 0.1, 0.1, 0.1])]
    left[:4], right[:4] = names[:4], names[:4]
    if convention == "trec":
        left[np.isin(left, ["lonely", ""])] = "a"
    codes = {name: number for number, name in enumerate(names)}
    centres = np.eye(6, 8)
    queries = centres[[codes[n] for n in left]] + rng.normal(size=(40, 8)) * rng.uniform(0.1, 1, (40, 1))
    gallery = centres[[codes[n] for n in right]] + rng.normal(size=(30, 8)) * 0.5
    own = BY_CLASS if convention == "by class" else CONVENTIONS[convention].metrics((1, 5, 20))
    if convention != "by class":
        own = [*own, *(metric for metric in BY_CLASS[:1])]
    return evaluate_retrieval(queries, gallery, left, right, metrics=own, convention="checked")


def recomputed(result: RetrievalResults, key: str, rows: np.ndarray) -> float:
    """The metric of these queries, as its definition says, with a loop over classes."""
    metric = next(m for m in result.definitions if m.key == key)
    values, weights = result.per_query[key], result.weights.get(key, np.ones(len(result.query_ids)))
    rows = rows[np.isfinite(values[rows])]
    if metric.average != "class":
        return float((values[rows] * weights[rows]).sum() / weights[rows].sum())
    names = [name for name in sorted(set(result.query_labels[rows].tolist())) if name]
    return float(np.mean([values[rows][result.query_labels[rows] == name].mean() for name in names]))


@pytest.mark.parametrize("convention", [*CONVENTIONS, "by class"])
@settings(max_examples=12)
@given(st.integers(0, 2**32 - 1))
def test_every_number_lies_in_its_intervals(convention: str, seed: int) -> None:
    result = imbalanced(seed, convention)
    for key, value in result.metrics.items():
        weights = query_weights(result, key)
        assert weights.sum() == pytest.approx(1)
        assert (weights * np.nan_to_num(result.per_query[key])).sum() == pytest.approx(value, abs=1e-12)
        assert recomputed(result, key, np.arange(40)) == pytest.approx(value, abs=1e-12)
        for interval in intervals(result, key, resamples=300).values():
            assert 0 <= interval.low <= value <= interval.high <= 1


@pytest.mark.parametrize("metric", BY_CLASS, ids=lambda metric: metric.key)
def test_intervals_resample_the_metric_itself(metric: Metric) -> None:
    """Against a bootstrap that draws query rows and computes the definition anew for every draw."""
    result = imbalanced(3, "by class")
    key, rng = metric.key, np.random.default_rng(1)
    counted = np.flatnonzero(query_weights(result, key) > 0)
    labels = result.query_labels[counted]
    names = sorted(set(labels.tolist()))
    values = []
    for _ in range(1500):
        groups = [counted[labels == name] for name in names] if metric.average == "class" else [counted]
        values.append(recomputed(result, key, np.concatenate([rng.choice(g, len(g)) for g in groups])))
    found = intervals(result, key)["queries"]
    assert [found.low, found.high] == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.03)


def test_a_mean_over_classes_is_resampled_as_one() -> None:
    """95 queries of one class are right, 5 of another half right: 0.75 over classes, 0.975 over queries."""
    left = ["big"] * 95 + ["small"] * 5
    queries = np.repeat(np.eye(2), [95, 5], axis=0)
    gallery = np.array([[1.0, 0.9], [0.5, 0.8]])
    result = evaluate_retrieval(
        queries, gallery, left, ["big", "small"], metrics=[Metric("AP", average="class")], convention="classes"
    )
    assert result.metrics["map@all"] == 0.75
    found = intervals(result, "map@all")
    assert (found["queries"].low, found["queries"].high) == (0.75, 0.75)
    assert (found["classes"].low, found["classes"].high) == (0.5, 1.0)


@pytest.mark.parametrize("convention", [name for name in CONVENTIONS if name != "trec"])
def test_queries_without_a_label_change_nothing(convention: str) -> None:
    rng = np.random.default_rng(0)
    left, right = ["a", "b", "a", "c"], ["a", "b", "b", "a", "c"]
    queries, gallery = rng.normal(size=(4, 6)), rng.normal(size=(5, 6))
    known = evaluate_retrieval(queries, gallery, left, right, convention=convention)
    more = evaluate_retrieval(
        np.concatenate([rng.normal(size=(20, 6)), queries]), gallery, [None, ""] * 10 + left, right,
        convention=convention,
    )  # fmt: skip
    assert more.metrics == known.metrics
    assert all(np.isnan(values[:20]).all() for values in more.per_query.values())
    for key in known.metrics:
        assert intervals(more, key) == intervals(known, key)
