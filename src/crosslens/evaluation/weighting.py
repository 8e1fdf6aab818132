"""What a number of a direction is: a weighted sum of its queries' values.

The printed number, its intervals and the test between two encoders all take the weights from here, so that they
speak of one quantity: a mean over queries, pooled hits over pooled denominators, or a mean over classes.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crosslens.evaluation.conventions import Metric
from crosslens.evaluation.results import RetrievalResults, label_codes
from crosslens.evaluation.significance import Interval, bootstrap_classes, bootstrap_queries

Array = NDArray[Any]

# Sums that are equal on paper differ in the last bits.
_ROUNDING = 1e-12


def definition_of(result: RetrievalResults, key: str) -> Metric:
    """The metric behind a key that has per-query values.

    Raises:
        EvaluationError: see ``RetrievalResults.sums``.
    """
    result.sums(key)
    return next(metric for metric in result.definitions if metric.key == key)


def query_weights(result: RetrievalResults, key: str) -> Array:
    """``(Q,)`` weights, sum 1, whose products with the per-query values sum to the metric.

    A query that does not count weighs 0. Where the metric is a mean over classes, a query weighs
    1 / (classes x queries of its class), and nothing without a class.

    Raises:
        EvaluationError: no per-query values under that key.
    """
    _, weights = result.sums(key)
    if definition_of(result, key).average == "class" and result.query_labels is not None:
        codes = label_codes(result.query_labels)[0]
        weights = np.where(codes >= 0, weights, 0.0)
        of_class = np.bincount(codes + 1, weights)[codes + 1]
        weights = np.divide(weights, of_class, out=np.zeros(len(weights)), where=of_class > 0)
    return weights / weights.sum()


def intervals(result: RetrievalResults, key: str, *, resamples: int = 2000, seed: int = 0) -> dict[str, Interval]:
    """95 % intervals of one metric of a direction, over ``queries`` and, where labels are known, over ``classes``.

    The statistic of every resample is the metric's own, so the number lies inside.

    Args:
        result: with per-query values under ``key``.
        key: of the metric.
        resamples, seed: see ``bootstrap_queries``.

    Raises:
        EvaluationError: no per-query values under that key.
    """
    numerators, denominators = result.sums(key)
    labels = result.query_labels
    by_class = definition_of(result, key).average == "class" and labels is not None
    average: Literal["queries", "class"] = "class" if by_class else "queries"
    found = {
        "queries": bootstrap_queries(
            numerators, denominators, classes=labels, average=average, resamples=resamples, seed=seed
        )
    }
    if labels is not None and (labels[denominators > 0] != "").any():
        found["classes"] = bootstrap_classes(
            numerators, labels, denominators, average=average, resamples=resamples, seed=seed
        )
    return {kind: _around(interval, result.metrics[key]) for kind, interval in found.items()}


def _around(interval: Interval, value: float) -> Interval:
    """The interval with an end that is the number but for rounding put on it."""
    low, high = (value if abs(end - value) < _ROUNDING else end for end in (interval.low, interval.high))
    return Interval(low, high, interval.level, interval.method)
