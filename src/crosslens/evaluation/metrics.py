"""How it is measured: metric values of ranked queries, one chunk or a stream of chunks.

A query is described by its relevance in rank order, a row of ``relevance (Q, W) bool``, and by the number of
relevant items in its gallery, ``n_rel (Q,)``. ``W`` may be less than the gallery size when no metric looks
beyond rank ``W``. Everything is vectorised over queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crosslens.evaluation.conventions import Denominator, Empty, Interpolation, Metric, ratio
from crosslens.ops.ranking import NO_POSITION, positions
from crosslens.support.errors import EvaluationError

Array = NDArray[Any]

CURVE_POINTS = 101


def average_precision(
    relevance: ArrayLike,
    n_rel: ArrayLike,
    k: int | None = None,
    denominator: Denominator = "n_rel",
    interpolation: Interpolation = "none",
    *,
    empty: Empty = "neg",
) -> Array:
    """``(Q,)`` average precision: sum of the precisions at the hits of the top k, over the denominator.

    With ``n_rel`` this is trec_eval's, with ``hits`` sem-pcyc's and SnMpNet's, with ``min`` and voc ZSE-SBIR's.
    Arguments and errors are those of `metric_values` and `Metric`.
    """
    metric = Metric("AP", k, denominator, interpolation=interpolation, empty=empty)
    return metric_values(metric, relevance, n_rel)


def precision_at(
    relevance: ArrayLike,
    n_rel: ArrayLike,
    k: int,
    denominator: Denominator = "k",
    *,
    gallery_size: ArrayLike | None = None,
    empty: Empty = "neg",
) -> Array:
    """``(Q,)`` precision: hits in the top k over k (trec_eval), or both cut at min(k, n_rel) (ZSE-SBIR, UCDIR).

    ``gallery`` divides by min(k, gallery size) (sem-pcyc). Arguments and errors as in `metric_values`.
    """
    return metric_values(Metric("P", k, denominator, empty=empty), relevance, n_rel, gallery_size=gallery_size)


def recall_at(relevance: ArrayLike, n_rel: ArrayLike, k: int, *, empty: Empty = "neg") -> Array:
    """``(Q,)`` recall: hits in the top k over n_rel (trec_eval); arguments as in `metric_values`."""
    return metric_values(Metric("R", k, empty=empty), relevance, n_rel)


def cmc_at(relevance: ArrayLike, n_rel: ArrayLike, k: int, *, empty: Empty = "neg") -> Array:
    """``(Q,)`` 1 where the top k hold a hit, else 0 (CMC of person re-identification, "Acc@k")."""
    return metric_values(Metric("CMC", k, empty=empty), relevance, n_rel)


def reciprocal_rank(
    relevance: ArrayLike, n_rel: ArrayLike, k: int | None = None, *, empty: Empty = "neg"
) -> Array:
    """``(Q,)`` 1 / rank of the first hit, 0 when the top k hold none (trec_eval recip_rank)."""
    return metric_values(Metric("MRR", k, empty=empty), relevance, n_rel)


def ndcg(relevance: ArrayLike, n_rel: ArrayLike, k: int | None = None, *, empty: Empty = "neg") -> Array:
    """``(Q,)`` sum of 1 / log2(rank + 1) over the hits of the top k, over that of a perfect list (trec_eval)."""
    return metric_values(Metric("nDCG", k, empty=empty), relevance, n_rel)


def r_precision(relevance: ArrayLike, n_rel: ArrayLike, *, empty: Empty = "neg") -> Array:
    """``(Q,)`` precision at rank n_rel (trec_eval Rprec)."""
    return metric_values(Metric("R-precision", empty=empty), relevance, n_rel)


def metric_values(
    metric: Metric,
    relevance: ArrayLike,
    n_rel: ArrayLike,
    *,
    gallery_size: ArrayLike | None = None,
    scores: ArrayLike | None = None,
) -> Array:
    """``(Q,)`` values in [0, 1] of one metric, NaN for queries that do not count.

    Args:
        relevance: ``(Q, W)`` bool in rank order.
        n_rel: ``(Q,)`` relevant items in the whole gallery.
        gallery_size: items in the gallery, one number or ``(Q,)``; ``W`` when left out.
        scores: ``(Q, W)`` in rank order; needed for ``ties="expected"`` alone.

    Raises:
        EvaluationError: shapes that do not fit, ``n_rel`` below the hits seen, ``W`` too short for the metric,
            missing scores, or a query without relevant items under ``empty="error"``.
    """
    return ratio(*JudgedRanks(relevance, n_rel, gallery_size=gallery_size, scores=scores).sums(metric))


class MetricAccumulator:
    """Metrics over a stream of chunks: the stateful twin of `metric_values`.

    Args:
        metrics: what to compute; their keys must differ.
        curve: also average the precision-recall curve (needs all ranks in every chunk).

    Raises:
        EvaluationError: two metrics with one key, or no metric.
    """

    def __init__(self, metrics: Sequence[Metric], *, curve: bool = False) -> None:
        keys = [metric.key for metric in metrics]
        if not keys:
            raise EvaluationError("give at least one metric")
        for key in keys:
            if keys.count(key) > 1:
                raise EvaluationError(f"two metrics have the key {key}; give one of them a tag")
        self.metrics = tuple(metrics)
        self._sums: dict[str, list[tuple[Array, Array]]] = {key: [] for key in keys}
        self._classes: list[Array] = []
        self._curve = np.zeros(CURVE_POINTS) if curve else None
        self._curve_queries = 0

    def update(
        self,
        relevance: ArrayLike,
        n_rel: ArrayLike,
        *,
        gallery_size: ArrayLike | None = None,
        scores: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> None:
        """Add a chunk of queries; ``classes (Q,)`` integer codes (-1 = none) are needed for class averages.

        The other arguments and the errors are those of `metric_values`.
        """
        judged = JudgedRanks(relevance, n_rel, gallery_size=gallery_size, scores=scores)
        if classes is None and any(metric.average == "class" for metric in self.metrics):
            raise EvaluationError("average='class' needs the class of every query")
        codes = np.full(len(judged.n_rel), -1) if classes is None else np.asarray(classes)
        if codes.shape != judged.n_rel.shape:
            raise EvaluationError(f"classes must hold one code for each of {len(judged.n_rel)} queries")
        for metric in self.metrics:
            self._sums[metric.key].append(judged.sums(metric))
        self._classes.append(codes)
        if self._curve is not None:
            counted = judged.n_rel > 0
            self._curve += judged.interpolated_precision()[counted].sum(axis=0)
            self._curve_queries += int(counted.sum())

    def sums(self, key: str) -> tuple[Array, Array]:
        """``(Q,)`` numerators and denominators of one metric over all chunks so far (see `Metric.settle`)."""
        if not self._classes:
            raise EvaluationError("no query has been added; call update first")
        numerators, denominators = zip(*self._sums[key], strict=True)
        return np.concatenate(numerators), np.concatenate(denominators)

    def per_query(self) -> dict[str, Array]:
        """``(Q,)`` values of every metric, NaN for queries that do not count."""
        return {key: ratio(*self.sums(key)) for key in self._sums}

    def compute(self) -> dict[str, float]:
        """The average of every metric over all chunks so far.

        Raises:
            EvaluationError: when no query counts (all are skipped), or none was added.
        """
        values = {}
        for metric in self.metrics:
            value = metric.aggregate(*self.sums(metric.key), np.concatenate(self._classes))
            if np.isnan(value):
                raise EvaluationError(
                    f"{metric.key} is undefined: no query has a relevant item in the gallery; check that both "
                    "sides share class names, or count such queries with empty='neg'"
                )
            values[metric.key] = value
        return values

    def curve(self) -> Array | None:
        """``(101,)`` interpolated precision at recall 0, 0.01, ..., 1: mean over queries with relevant items."""
        if self._curve is None or not self._curve_queries:
            return None
        return self._curve / self._curve_queries


class JudgedRanks:
    """A checked chunk of ranked queries, and the sums behind every metric; arguments as in `metric_values`."""

    def __init__(
        self,
        relevance: ArrayLike,
        n_rel: ArrayLike,
        *,
        gallery_size: ArrayLike | None = None,
        scores: ArrayLike | None = None,
    ) -> None:
        self.relevance = np.asarray(relevance).astype(bool, copy=False)
        self.n_rel = np.asarray(n_rel)
        if self.relevance.ndim != 2 or self.n_rel.shape != self.relevance.shape[:1]:
            raise EvaluationError(
                f"relevance must be (Q, W) and n_rel (Q,), not {self.relevance.shape} and {self.n_rel.shape}"
            )
        self.width = self.relevance.shape[1]
        sizes = self.width if gallery_size is None else gallery_size
        self.gallery_size = np.broadcast_to(np.asarray(sizes), self.n_rel.shape)
        self.all_ranks = self.width >= self.gallery_size.max(initial=0)
        self.scores = None if scores is None else np.asarray(scores)
        if self.scores is not None and self.scores.shape != self.relevance.shape:
            raise EvaluationError(
                f"scores {self.scores.shape} and relevance {self.relevance.shape} differ in shape"
            )
        if (self.stable.hits_at(self.width) > self.n_rel).any():
            raise EvaluationError("n_rel must count all relevant items of the gallery, but the ranks hold more")

    @cached_property
    def stable(self) -> _StableHits:
        """The hits in the order given."""
        return _StableHits(self.relevance)

    @cached_property
    def expected(self) -> _ExpectedHits:
        """The hits as means over the orders of tied items."""
        if self.scores is None:
            raise EvaluationError("ties='expected' needs the scores in rank order")
        return _ExpectedHits(self.relevance, self.scores)

    def sums(self, metric: Metric) -> tuple[Array, Array]:
        """Settled ``(Q,)`` numerators and denominators of one metric (see `Metric.settle`).

        Raises:
            EvaluationError: too few ranks for the metric, or what `Metric.settle` raises.
        """
        if not self.all_ranks and (metric.needs_all_ranks or (metric.k or 0) > self.width):
            raise EvaluationError(
                f"{metric.key} needs more ranks than the {self.width} given of a gallery of "
                f"{int(self.gallery_size.max())} items"
            )
        hits = self.stable if metric.ties == "stable" else self.expected
        k = max(self.width, 1) if metric.k is None else metric.k
        one = np.ones(len(self.n_rel))
        if metric.name == "AP":
            numerators = hits.precision_sum(k, envelope=metric.interpolation == "voc")
            denominators = hits.hits_at(k) if metric.denominator == "hits" else self._cut(metric, k)
        elif metric.name == "P":
            denominators = self._cut(metric, k)
            numerators = hits.hits_at(denominators)
        elif metric.name == "R":
            numerators, denominators = hits.hits_at(k), self.n_rel
        elif metric.name == "R-precision":
            numerators, denominators = hits.hits_at(self.n_rel), self.n_rel
        elif metric.name == "CMC":
            numerators, denominators = hits.any_hit(k), one
        elif metric.name == "MRR":
            numerators, denominators = hits.reciprocal(k), one
        else:
            ideal = np.cumsum(_discount(np.arange(1, max(int(self.n_rel.max(initial=0)), 1) + 1)))
            numerators = hits.discounted(k)
            denominators = np.append(0.0, ideal)[np.minimum(k, self.n_rel)]
        return metric.settle(numerators, denominators, self.n_rel)

    def _cut(self, metric: Metric, k: int) -> Array:
        if metric.denominator == "n_rel":
            return self.n_rel
        limit = {"min": self.n_rel, "gallery": self.gallery_size}.get(metric.denominator or "", k)
        return np.broadcast_to(np.minimum(k, limit), self.n_rel.shape)

    def interpolated_precision(self) -> Array:
        """``(Q, 101)`` best precision at recall 0, 0.01, ..., 1 or above it; 0 for queries without relevant items.

        Raises:
            EvaluationError: when not all ranks are given.
        """
        if not self.all_ranks:
            raise EvaluationError("a precision-recall curve needs all ranks")
        envelope = self.stable.envelope(self.width)
        # Integer arithmetic: the hit that reaches recall p % is number ceil(p n_rel / 100).
        hit = -(-np.arange(CURVE_POINTS) * self.n_rel[:, None] // (CURVE_POINTS - 1))
        return np.take_along_axis(envelope, np.clip(hit - 1, 0, envelope.shape[1] - 1), axis=1)


class _StableHits:
    """Hits in the order given; ``ranks (Q, M)`` holds the 1-based rank of each, then fillers beyond any rank.

    The i-th hit stands at rank i or later, so a cut at rank k never needs more than the first k columns.
    """

    def __init__(self, relevance: Array) -> None:
        columns = positions(relevance)
        self.ranks = np.where(columns == NO_POSITION, NO_POSITION, columns + 1)
        self.precisions = np.arange(1, columns.shape[1] + 1) / self.ranks

    def hits_at(self, cut: Array | int) -> Array:
        return (self.ranks[:, : np.max(cut, initial=0)] <= np.reshape(cut, (-1, 1))).sum(axis=1)

    def envelope(self, cut: int) -> Array:
        """``(Q, min(M, cut))`` best precision at each hit of the top ``cut`` or a later one of them."""
        kept = np.where(self.ranks[:, :cut] <= cut, self.precisions[:, :cut], 0.0)
        return np.maximum.accumulate(kept[:, ::-1], axis=1)[:, ::-1]

    def precision_sum(self, cut: int, envelope: bool) -> Array:
        precisions = self.envelope(cut) if envelope else self.precisions[:, :cut]
        return precisions.sum(axis=1, where=self.ranks[:, :cut] <= cut)

    def any_hit(self, cut: int) -> Array:
        return (self.ranks[:, 0] <= cut).astype(np.float64)

    def reciprocal(self, cut: int) -> Array:
        return np.where(self.ranks[:, 0] <= cut, 1 / self.ranks[:, 0], 0.0)

    def discounted(self, cut: int) -> Array:
        ranks = self.ranks[:, :cut]
        return _discount(ranks).sum(axis=1, where=ranks <= cut)


class _ExpectedHits:
    """The same sums as means over all orders of tied items (McSherry and Najork, ECIR 2008).

    In a group of n tied items at ranks s+1 ... s+n with R relevant ones among them and c before them, the item at
    rank s+i is relevant with probability R/n, and then (i-1)(R-1)/(n-1) of the group are expected before it.
    """

    def __init__(self, relevance: Array, scores: Array) -> None:
        n_rows, width = relevance.shape
        rank = np.arange(width)
        starts = np.ones((n_rows, width + 1), dtype=bool)
        starts[:, 1:-1] = scores[:, 1:] != scores[:, :-1]
        self.start = np.maximum.accumulate(np.where(starts[:, :-1], rank, 0), axis=1)
        ends = np.where(starts[:, 1:], rank + 1, width)
        end = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
        seen = np.zeros((n_rows, width + 1))
        np.cumsum(relevance, axis=1, out=seen[:, 1:])
        self.size = end - self.start
        self.before = np.take_along_axis(seen, self.start, axis=1)
        self.inside = np.take_along_axis(seen, end, axis=1) - self.before
        self.chance = self.inside / self.size
        self.rank = rank + 1
        self.log_factorial = np.append(0.0, np.cumsum(np.log(np.arange(1, width + 1))))

    def hits_at(self, cut: Array | int) -> Array:
        expected = np.pad(np.cumsum(self.chance, axis=1), ((0, 0), (1, 0)))
        cuts = np.broadcast_to(np.reshape(cut, (-1, 1)), (len(expected), 1))
        return np.take_along_axis(expected, np.minimum(cuts, expected.shape[1] - 1), axis=1)[:, 0]

    def precision_sum(self, cut: int, envelope: bool) -> Array:
        if envelope:
            raise EvaluationError("ties='expected' has no closed form under the precision envelope")
        place = self.rank - 1 - self.start
        found = self.before + 1 + place * (self.inside - 1) / np.maximum(self.size - 1, 1)
        return (self.chance * found / self.rank)[:, :cut].sum(axis=1)

    def any_hit(self, cut: int) -> Array:
        """1 - probability that the group at the cut puts none of its relevant items above it."""
        last = min(cut, len(self.rank)) - 1
        size, inside = self.size[:, last], self.inside[:, last].astype(np.int64)
        drawn = last + 1 - self.start[:, last]
        none = np.exp(self._log_choose(size - drawn, inside) - self._log_choose(size, inside))
        return np.where(self.before[:, last] > 0, 1.0, 1.0 - none)

    def reciprocal(self, cut: int) -> Array:
        place = self.rank - self.start
        inside = self.inside.astype(np.int64)
        first = self._log_choose(self.size - place, inside - 1) - self._log_choose(self.size, inside)
        chance = np.where((self.before == 0) & (inside > 0), np.exp(first), 0.0)
        return (chance / self.rank)[:, :cut].sum(axis=1)

    def discounted(self, cut: int) -> Array:
        return (self.chance * _discount(self.rank))[:, :cut].sum(axis=1)

    def _log_choose(self, n: Array, r: Array) -> Array:
        """Log of the binomial coefficient, minus infinity where it is 0."""
        possible = (r >= 0) & (r <= n)
        n, r = np.where(possible, n, 0), np.where(possible, r, 0)
        table = self.log_factorial
        return np.where(possible, table[n] - table[r] - table[n - r], -np.inf)


def _discount(rank: Array) -> Array:
    return 1 / np.log2(rank + 1.0)
