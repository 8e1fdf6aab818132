"""Intervals, the paired test and seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosslens.evaluation.conventions import CONVENTIONS
from crosslens.evaluation.results import evaluate_retrieval
from crosslens.evaluation.significance import (
    Interval,
    bootstrap_classes,
    bootstrap_queries,
    mean_and_std,
    paired_randomisation,
)
from crosslens.support.errors import EvaluationError


def test_golden_intervals(recipe: tuple[np.ndarray, ...], golden: dict[str, Any]) -> None:
    results = evaluate_retrieval(*recipe)
    numerators, denominators = results.sums("map@all")
    by_query = bootstrap_queries(numerators, denominators)
    by_class = bootstrap_classes(numerators, results.query_labels, denominators)
    expected = golden["recipe_intervals"]
    assert (by_query.low, by_query.high) == pytest.approx(expected["queries"], abs=0.004)
    assert (by_class.low, by_class.high) == pytest.approx(expected["classes"], abs=0.004)
    assert (by_query.method, by_class.method, by_query.level) == ("queries", "classes", 0.95)
    assert (by_class.high - by_class.low) / (by_query.high - by_query.low) == pytest.approx(3.2, abs=0.3)
    # Leaving the denominators out is the plain mean.
    assert bootstrap_queries(results.per_query["map@all"]) == by_query


def test_micro_average(recipe: tuple[np.ndarray, ...]) -> None:
    results = evaluate_retrieval(*recipe, metrics=CONVENTIONS["ucdir"].metrics((200,)), convention="ucdir")
    for interval in (
        bootstrap_queries(*results.sums("p@200")),
        bootstrap_classes(results.sums("p@200")[0], results.query_labels, results.sums("p@200")[1]),
    ):
        assert interval.low < results.metrics["p@200"] < interval.high


def test_class_average() -> None:
    values, classes = np.array([0.0, 0, 0, 1]), np.array(["a", "a", "a", "b"])
    interval = bootstrap_classes(values, classes, average="class")
    assert (interval.low, interval.high) == (0, 1)
    assert bootstrap_classes(values, classes, average="class", level=0.1).low == 0.5
    # Drawing a and b gives 1 / 4 over queries, 1 / 2 over classes.
    assert bootstrap_classes(values, classes, level=0.1).low == 0.25


def test_skipped_queries_are_never_drawn() -> None:
    values = np.array([0.5, np.nan, 0.5])
    assert bootstrap_queries(values) == Interval(0.5, 0.5, 0.95, "queries")
    assert bootstrap_queries([1, 9, 1], [2, 0, 2]) == Interval(0.5, 0.5, 0.95, "queries")
    assert bootstrap_classes(values, ["a", "b", "c"]) == Interval(0.5, 0.5, 0.95, "classes")


def test_memory_bound_does_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random(50)
    whole = bootstrap_queries(values, resamples=300)
    paired = paired_randomisation(values, values[::-1], patterns=500)
    monkeypatch.setattr("crosslens.evaluation.significance._DRAWS", 1000)
    assert bootstrap_queries(values, resamples=300) == whole
    assert paired_randomisation(values, values[::-1], patterns=500).p_value == pytest.approx(
        paired.p_value, abs=0.1
    )
    assert bootstrap_queries(values, seed=1) != bootstrap_queries(values, seed=2)


def test_golden_paired_test() -> None:
    outcome = paired_randomisation([0.3, 0.2, 0.1], [0, 0, 0])
    assert outcome.p_value == 0.25
    assert outcome.mean_difference == pytest.approx(0.2)
    assert (outcome.exact, outcome.patterns, outcome.queries) == (True, 8, 3)


def test_no_difference_is_certain() -> None:
    assert paired_randomisation([0.5] * 4, [0.5] * 4).p_value == 1
    assert paired_randomisation([0.5] * 40, [0.5] * 40).p_value == 1


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=9))
def test_enumeration_against_brute_force(differences: list[int]) -> None:
    d = np.array(differences) / 10
    signs = 1 - 2 * ((np.arange(2 ** len(d))[:, None] >> np.arange(len(d))) & 1)
    extreme = (np.abs((signs * np.array(differences)).sum(1)) >= abs(sum(differences))).mean()
    assert paired_randomisation(d, np.zeros(len(d))).p_value == pytest.approx(extreme)


def test_random_patterns_approach_the_enumeration() -> None:
    d = np.random.default_rng(3).normal(0.25, 1, 14)
    exact = paired_randomisation(d, np.zeros(14))
    sampled = paired_randomisation(d, np.zeros(14), exact_up_to=10, patterns=20_000)
    assert not sampled.exact
    assert sampled.p_value == pytest.approx(exact.p_value, abs=0.02)
    far = paired_randomisation(np.ones(300), np.zeros(300), patterns=999)
    assert far.p_value == 1 / 1000


def test_mean_and_std() -> None:
    spread = mean_and_std([0.1, 0.2, 0.3])
    assert (spread.mean, spread.std, spread.runs) == (pytest.approx(0.2), pytest.approx(0.1), 3)
    assert np.isnan(mean_and_std([0.1]).std)


def test_bad_input_is_explained() -> None:
    with pytest.raises(EvaluationError, match="no query counts"):
        bootstrap_queries([np.nan])
    with pytest.raises(EvaluationError, match="must both be"):
        bootstrap_queries([1, 2], [1])
    with pytest.raises(EvaluationError, match="not negative"):
        bootstrap_queries([1, 2], [1, -1])
    with pytest.raises(EvaluationError, match="resamples"):
        bootstrap_queries([1, 2], resamples=0)
    with pytest.raises(EvaluationError, match="level"):
        bootstrap_queries([1, 2], level=95)
    with pytest.raises(EvaluationError, match="class of each of 2"):
        bootstrap_classes([1, 2], ["a"])
    with pytest.raises(EvaluationError, match="queries or class"):
        bootstrap_classes([1, 2], ["a", "b"], average="macro")  # type: ignore[arg-type]
    with pytest.raises(EvaluationError, match="one value a query"):
        paired_randomisation([1], [1, 2])
    with pytest.raises(EvaluationError, match="one run only"):
        paired_randomisation([1, np.nan], [1, 2])
    with pytest.raises(EvaluationError, match="at least one query"):
        paired_randomisation([np.nan], [np.nan])
    with pytest.raises(EvaluationError, match="exact_up_to"):
        paired_randomisation([1], [2], exact_up_to=40)
    with pytest.raises(EvaluationError, match="one finite value a run"):
        mean_and_std([])
