"""How far a number can be trusted: bootstraps, a paired randomisation test, spread over seeds.

The bootstraps take numerators and denominators ``(Q,)``, whose sums give the metric (`RetrievalResults.sums`), so
that they serve macro and micro averages alike; with ``average="class"`` they resample a mean over classes. A query
with denominator 0 does not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosslens.evaluation.conventions import ratio
from crosslens.support.errors import EvaluationError

Array = NDArray[Any]
Average = Literal["queries", "class"]

# Numbers drawn at once, so that memory does not grow with the resamples: 8 MiB an array.
_DRAWS = 2**20


@dataclass(frozen=True)
class Interval:
    """A percentile interval ``[low, high]`` that holds ``level`` of the resampled values."""

    low: float
    high: float
    level: float
    method: Literal["queries", "classes"]


@dataclass(frozen=True)
class PairedTest:
    """Outcome of `paired_randomisation`.

    Attributes:
        p_value: share of sign patterns at least as extreme as the one observed, in (0, 1].
        mean_difference: mean of the differences.
        queries: how many were compared.
        patterns: sign patterns tried.
        exact: whether these were all there are.
    """

    p_value: float
    mean_difference: float
    queries: int
    patterns: int
    exact: bool


@dataclass(frozen=True)
class MeanStd:
    """Mean and sample standard deviation (n - 1; NaN for one run) over ``runs`` seeds."""

    mean: float
    std: float
    runs: int


def bootstrap_queries(
    numerators: ArrayLike,
    denominators: ArrayLike | None = None,
    *,
    classes: ArrayLike | None = None,
    average: Average = "queries",
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval of ``sum(numerators) / sum(denominators)`` under resampling of queries.

    Too optimistic when classes differ, because queries of one class are not independent: print
    `bootstrap_classes` beside it.

    Args:
        numerators: ``(Q,)`` per-query values; NaN for a query that does not count.
        denominators: ``(Q,)``, all 1 when left out.
        classes: ``(Q,)`` class names or codes, needed where ``average`` is ``class``.
        average: ``class`` for a mean over classes of the class mean: queries are then drawn within their class.
        resamples: at least 1; queries are drawn with replacement, as many as count.
        level: share of resampled values inside, in (0, 1).
        seed: same seed, same interval.

    Raises:
        EvaluationError: no query counts, lengths differ, or an argument out of range.
    """
    top, bottom = _sums(numerators, denominators)
    strata = _class_codes(top, classes, average) if average != "queries" else np.zeros(len(top), dtype=np.int64)
    counted = (bottom > 0) & (strata >= 0)
    top, bottom, strata = top[counted], bottom[counted], strata[counted]
    parts = [(top[strata == code], bottom[strata == code]) for code in np.unique(strata)]
    return _bootstrap(parts, resamples, level, seed, "queries")


def bootstrap_classes(
    numerators: ArrayLike,
    classes: ArrayLike,
    denominators: ArrayLike | None = None,
    *,
    average: Average = "queries",
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval under resampling of classes, keeping all queries of each class drawn.

    Args:
        numerators: ``(Q,)`` as in `bootstrap_queries`, like the remaining arguments and errors.
        classes: ``(Q,)`` class names or codes; every distinct value is a class, but for "" and -1, which stand for
            none: such queries take no part.
        denominators: ``(Q,)``, all 1 when left out.
        average: ``queries`` for macro and micro metrics, ``class`` for a mean over classes of the class mean.

    Raises:
        EvaluationError: as in `bootstrap_queries`.
    """
    top, bottom = _sums(numerators, denominators)
    codes = _class_codes(top, classes, average)
    named = codes >= 0
    top, bottom = np.bincount(codes[named], top[named]), np.bincount(codes[named], bottom[named])
    counted = bottom > 0
    top, bottom = top[counted], bottom[counted]
    if average == "class":
        top, bottom = top / bottom, np.ones(len(bottom))
    return _bootstrap([(top, bottom)], resamples, level, seed, "classes")


def paired_randomisation(
    first: ArrayLike,
    second: ArrayLike,
    *,
    exact_up_to: int = 20,
    patterns: int = 10_000,
    seed: int = 0,
) -> PairedTest:
    """Fisher's paired randomisation test: do two runs differ on the same queries?

    ``p`` is the share of sign patterns of the differences whose ``|sum|`` is at least the observed one. Where
    queries do not weigh alike, as in a micro average or a mean over classes, pass values times weights
    (`weighting.query_weights`); values that belong to one image are summed first, since they are not independent.

    Args:
        first: ``(Q,)`` per-query values of one run, in the order of the other's queries. Queries that are NaN
            in both runs do not count.
        second: ``(Q,)`` values of the other run; the mean difference is first - second.
        exact_up_to: enumerate all patterns up to this many queries (at most 24).
        patterns: random patterns beyond that. The observed one is added to them, so p is never 0.
        seed: of the random patterns.

    Raises:
        EvaluationError: different lengths, a NaN in one run only, infinity, no query, an argument out of range.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise EvaluationError(f"both runs need one value a query in the same order, not {a.shape} and {b.shape}")
    if not 0 <= exact_up_to <= 24 or patterns < 1:
        raise EvaluationError("exact_up_to must lie in 0..24 and patterns be at least 1")
    if (np.isnan(a) != np.isnan(b)).any():
        raise EvaluationError("some queries count in one run only; compare runs with one gallery and one policy")
    differences = (a - b)[~np.isnan(a)]
    if not len(differences) or not np.isfinite(differences).all():
        raise EvaluationError("the paired test needs at least one query, and finite values")
    # Sums that are equal on paper differ in the last bits.
    observed = abs(differences.sum()) - 1e-9 * np.abs(differences).sum()
    exact = len(differences) <= exact_up_to
    if exact:
        sums = np.zeros(1)
        for difference in differences:
            sums = np.concatenate([sums - difference, sums + difference])
        extreme, tried = int((np.abs(sums) >= observed).sum()), len(sums)
    else:
        extreme, tried = 1 + _random_signs(differences, observed, patterns, seed), patterns + 1
    return PairedTest(extreme / tried, float(differences.mean()), len(differences), tried, exact)


def mean_and_std(values: Sequence[float] | Array) -> MeanStd:
    """Mean and sample standard deviation over runs with different seeds; ``values (runs,)``.

    Raises:
        EvaluationError: no value, or one that is not finite.
    """
    runs = np.asarray(values, dtype=np.float64)
    if runs.ndim != 1 or not len(runs) or not np.isfinite(runs).all():
        raise EvaluationError("give one finite value a run")
    return MeanStd(float(runs.mean()), float(runs.std(ddof=1)) if len(runs) > 1 else float("nan"), len(runs))


def _sums(numerators: ArrayLike, denominators: ArrayLike | None) -> tuple[Array, Array]:
    top = np.asarray(numerators, dtype=np.float64)
    bottom = np.ones_like(top) if denominators is None else np.asarray(denominators, dtype=np.float64)
    if top.ndim != 1 or bottom.shape != top.shape:
        raise EvaluationError(f"numerators and denominators must both be (Q,), not {top.shape} and {bottom.shape}")
    bottom = np.where(np.isnan(top), 0.0, bottom)
    top = np.where(bottom > 0, top, 0.0)
    if not (np.isfinite(top).all() and np.isfinite(bottom).all() and (bottom >= 0).all()):
        raise EvaluationError("numerators and denominators must be finite, and denominators not negative")
    return top, bottom


def _class_codes(top: Array, classes: ArrayLike | None, average: str) -> Array:
    """``(Q,)`` integer class codes, -1 for a query without a class."""
    if average not in ("queries", "class"):
        raise EvaluationError(f"average must be queries or class, not {average!r}")
    names = np.asarray("" if classes is None else classes)
    if names.shape != top.shape:
        raise EvaluationError(f"classes must name the class of each of {len(top)} queries, not {names.shape}")
    nameless = names == ("" if names.dtype.kind == "U" else -1)
    codes: Array = np.unique(names, return_inverse=True)[1]
    return np.where(nameless, -1, codes)


def _bootstrap(
    parts: Sequence[tuple[Array, Array]],
    resamples: int,
    level: float,
    seed: int,
    method: Literal["queries", "classes"],
) -> Interval:
    """Interval of the mean over ``parts`` of each one's ratio of sums, drawing within each."""
    if resamples < 1 or not 0 < level < 1:
        raise EvaluationError("resamples must be at least 1 and level lie between 0 and 1")
    if not sum(len(top) for top, _ in parts):
        raise EvaluationError("no query counts, so there is nothing to resample")
    rng = np.random.default_rng(seed)
    values = np.mean([_resampled(top, bottom, resamples, rng) for top, bottom in parts], axis=0)
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(low), float(high), level, method)


def _resampled(top: Array, bottom: Array, resamples: int, rng: np.random.Generator) -> Array:
    """``(resamples,)`` ratios of the sums of as many draws with replacement as there are."""
    rows = max(1, _DRAWS // len(top))
    values = []
    for start in range(0, resamples, rows):
        drawn = rng.integers(0, len(top), (min(rows, resamples - start), len(top)))
        values.append(ratio(top[drawn].sum(axis=1), bottom[drawn].sum(axis=1)))
    return np.concatenate(values)


def _random_signs(differences: Array, observed: float, patterns: int, seed: int) -> int:
    """How many of ``patterns`` random sign patterns reach the observed ``|sum|``."""
    rng = np.random.default_rng(seed)
    rows, extreme = max(1, _DRAWS // len(differences)), 0
    width = -(-len(differences) // 8)
    for start in range(0, patterns, rows):
        packed = rng.integers(0, 256, (min(rows, patterns - start), width), dtype=np.uint8)
        flipped = np.unpackbits(packed, axis=1, count=len(differences)).astype(np.float64) @ differences
        extreme += int((np.abs(differences.sum() - 2 * flipped) >= observed).sum())
    return extreme
