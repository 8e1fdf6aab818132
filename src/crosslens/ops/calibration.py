"""Has this query a counterpart here? A calibrated probability, from the gallery and unlabelled queries alone.

Three scores can be told from features: the largest cosine to the gallery, the energy over the gallery's
prototypes, and the ratio of neighbour densities. A score becomes a probability without labels in one of two ways:

- from unlabelled queries, by a gentle curve over their scores whose mean is the expected share of counterparts
  (one half unless told), or, where the two kinds lie clearly apart, by a mixture of two normal distributions;
- from the gallery alone, by a rehearsal: every item asks the gallery once without itself (it has a counterpart)
  and once without its whole cluster (it has none), and a logistic curve is fitted to the two.

The rehearsal knows nothing of the gap between the domains, so queries, where at hand, are the better source.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from crosslens.ops.cluster_count import estimate_clusters
from crosslens.ops.faiss_kmeans import faiss_kmeans
from crosslens.ops.ranking import top_k_chunks
from crosslens.ops.rounding import NOISE
from crosslens.ops.sampling import drawn_rows
from crosslens.ops.screen import Screen, make_screen
from crosslens.support.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

Score = Literal["cosine", "energy", "density"]
SCORES: tuple[Score, ...] = get_args(Score)
LEAST = 10
"""Fewest gallery items, and fewest unlabelled queries, that a calibration can be made of."""
_LEAP = 2.0
_COUNTED = 2000
"""Most items that the number of clusters is estimated from."""


def centre_features(features: NDArray[np.floating[Any]]) -> Array:
    """Backbone features ``(N, D)`` of one domain without their mean, as unit rows; longer ones weigh more in it.

    They tell a missing counterpart better than a trained encoder's vectors do: training pulls every query to
    something in the gallery, whether it has a counterpart or not.
    """
    rows = np.asarray(features, np.float32) - np.asarray(features, np.float32).mean(0)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float32)


def largest_cosine(
    queries: Array,
    gallery: Array,
    neighbours: int = 1,
    numbers: Array | None = None,
    screen: Screen | None = None,
) -> Array:
    """Mean cosine to the nearest gallery items ``(Q,)``; with one neighbour the largest cosine.

    Args:
        queries: ``(Q, d)``, unit rows.
        gallery: ``(G, d)``, unit rows.
        neighbours: how many, at most G; 1 with ``numbers``.
        numbers: what is taken from the cosines of each gallery item ``(G,)``; nothing by default.
        screen: of the gallery; it saves time where there is one neighbour and nothing is taken away.
    """
    if neighbours == 1 and screen is not None:
        return np.array([_largest_by(screen, query, gallery) for query in queries], np.float32)
    if neighbours == 1 and len(gallery):
        less = np.float32(0) if numbers is None else numbers
        # A search asks this of one query at a time; a ranking would take a hundred times as long.
        if len(queries) == 1:
            # One query is bound by memory: threads of BLAS gain little and stall on a busy machine.
            return np.asarray((np.einsum("nd,d->n", gallery, queries[0]) - less).max(keepdims=True))
        steps = range(0, len(queries), 1024)
        parts = [(queries[start : start + 1024] @ gallery.T - less).max(1) for start in steps]
        return np.concatenate(parts) if parts else np.empty(0, np.float32)
    return _nearest(queries, gallery, neighbours)[1].mean(1)


def _largest_by(screen: Screen, query: Array, gallery: Array) -> float:
    scores, most = next(screen.bounds(query[None]))
    floor = float(np.einsum("d,d", gallery[int(scores.argmax())], query))
    near = np.flatnonzero(most >= floor)
    near = screen.narrow(query, near, floor)
    return float(np.einsum("nd,d->n", gallery[near], query).max())


def prototype_energy(queries: Array, prototypes: Array, temperature: float = 0.07) -> Array:
    """``T log sum_c exp(q.p_c / T)`` over the gallery's prototypes ``(Q,)``: the negative free energy.

    Args:
        queries: ``(Q, d)``, unit rows.
        prototypes: ``(C, d)``, unit rows.
        temperature: T > 0.
    """
    return _energy(queries @ prototypes.T, temperature)


def density_ratio(
    queries: Array, gallery: Array, reference: Array, neighbours: int = 10, own: bool = True
) -> Array:
    """How near the gallery is, in units of how near the query's own kind is ``(Q,)``.

    ``log(mean distance to the nearest references) - log(mean distance to the nearest gallery items)``. Where a
    whole domain is far from the gallery, all its distances are large; the ratio takes that out.

    Args:
        queries: ``(Q, d)``, unit rows.
        gallery: ``(G, d)``, unit rows.
        reference: ``(R, d)``, unit rows: unlabelled queries.
        neighbours: how many, at most G and R.
        own: whether the queries are among the references, whose nearest one is then left out.
    """
    to_gallery = np.sqrt(np.maximum(2 - 2 * _nearest(queries, gallery, neighbours)[1], 1e-8)).mean(1)
    cosines = _nearest(queries, reference, neighbours + own)[1]
    to_own = np.sqrt(np.maximum(2 - 2 * cosines[:, int(own) :], 1e-8)).mean(1)
    return np.asarray(np.log(to_own) - np.log(to_gallery), np.float32)


def expected_calibration_error(probability: Array, truth: NDArray[np.bool_], bins: int = 10) -> float:
    """``sum_b n_b / N |mean probability - share of true|`` over bins of equal width, in [0, 1].

    Args:
        probability: ``(N,)`` in [0, 1].
        truth: ``(N,)``.
        bins: how many.
    """
    place = np.minimum((np.asarray(probability) * bins).astype(int), bins - 1)
    gaps = np.bincount(place, probability - truth.astype(float), minlength=bins)
    return float(np.abs(gaps).sum() / len(truth))


@dataclass(frozen=True)
class Logistic:
    """``1 / (1 + exp(-(slope s + offset)))``, rising in the score."""

    slope: float
    offset: float

    def __call__(self, scores: NDArray[np.floating[Any]]) -> Array:
        """Probabilities ``(N,)`` of scores ``(N,)``."""
        return np.asarray(1 / (1 + np.exp(-np.clip(self.slope * scores + self.offset, -15, 15))), np.float32)


def mixture_curve(scores: Array) -> Logistic:
    """The curve of two normal distributions of one width fitted to unlabelled scores ``(N,)`` by EM.

    With equal widths the probability of the upper one is a logistic curve of the score, so it never falls where
    the score rises.

    Raises:
        ConfigError: for fewer than 10 scores, or scores without spread.
    """
    s = np.asarray(scores, np.float64)
    _check_spread(s)
    low, high = np.quantile(s, [0.25, 0.75])
    variance, share = float(s.var()) / 2, 0.5
    if high - low < 1e-9:
        low, high = float(s.min()), float(s.max())
    for _ in range(200):
        curve = _posterior(low, high, variance, share)
        upper = np.asarray(curve(s), np.float64)
        weight = np.array([(1 - upper).sum(), upper.sum()])
        if weight.min() < 1e-6 * len(s):
            break
        low, high = float((1 - upper) @ s / weight[0]), float(upper @ s / weight[1])
        spread = (1 - upper) @ (s - low) ** 2 + upper @ (s - high) ** 2
        variance, share = max(float(spread) / len(s), 1e-12), float(weight[1] / len(s))
    return _posterior(low, high, variance, share)


def _check_spread(s: NDArray[np.float64]) -> None:
    if len(s) < LEAST or float(s.std()) < NOISE:
        raise ConfigError(f"{len(s)} scores cannot be split in two; give at least {LEAST} different queries")


def standard_curve(scores: Array, share: float = 0.5) -> Logistic:
    """A curve for scores ``(N,)`` whose two kinds overlap: as steep as their spread says, right on average.

    ``sigmoid((s - m) / standard deviation)`` with m such that the mean probability is ``share``.

    Raises:
        ConfigError: for fewer than 10 scores, or scores without spread.
    """
    s = np.asarray(scores, np.float64)
    _check_spread(s)
    slope = 1 / float(s.std())
    low, high = -slope * s.max() - 15, -slope * s.min() + 15
    for _ in range(60):
        middle = (low + high) / 2
        mean = float((1 / (1 + np.exp(-np.clip(slope * s + middle, -30, 30)))).mean())
        low, high = (middle, high) if mean < share else (low, middle)
    return Logistic(slope, (low + high) / 2)


def platt_curve(scores: Array, truth: NDArray[np.bool_]) -> Logistic:
    """A logistic curve fitted to scores ``(N,)`` whose answer ``(N,)`` is known; its slope is never negative."""
    centre, width = float(scores.mean()), max(float(scores.std()), 1e-9)
    steepness, offset = _fit_logistic((np.asarray(scores, np.float64) - centre) / width, truth.astype(np.float64))
    slope = max(steepness, 0.0) / width
    return Logistic(slope, offset - slope * centre)


def _fit_logistic(x: NDArray[np.float64], truth: NDArray[np.float64]) -> tuple[float, float]:
    """Slope w and offset b of the least ``sum log loss + w^2 / 2``, by Newton's method (C = 1)."""
    solution = np.zeros(2)
    design = np.stack([x, np.ones_like(x)], axis=1)
    ridge = np.array([1.0, 0.0])
    for _ in range(100):
        chance = 1 / (1 + np.exp(-np.clip(design @ solution, -500, 500)))
        gradient = design.T @ (chance - truth) + ridge * solution
        curvature = (design * (chance * (1 - chance))[:, None]).T @ design + np.diag(ridge + 1e-12)
        step = np.linalg.solve(curvature, gradient)
        # Far from the solution a whole step may leap over it.
        solution -= step * min(1.0, _LEAP / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-10:
            break
    return float(solution[0]), float(solution[1])


def _posterior(low: float, high: float, variance: float, share: float) -> Logistic:
    slope = (high - low) / variance
    odds = np.log(max(share, 1e-9) / max(1 - share, 1e-9))
    return Logistic(slope, float(odds - slope * (high + low) / 2))


@dataclass(frozen=True, eq=False)
class MatchCalibration:
    """Turns queries into the probability that they have a counterpart in one gallery; make one with ``fit``.

    Attributes:
        score: which score it rests on.
        curve: how a score becomes a probability.
        source: ``queries`` or ``gallery``, what the curve was fitted to.
        gallery: ``(G, d)``, unit rows.
        prototypes: of the gallery ``(C, d)``, unit rows; none where the score does without.
        reference: unlabelled queries ``(R, d)``, unit rows, or None.
        smooth: nearest references whose scores are averaged with a query's own; 0 takes it alone.
        drawn: positions of the references among all unlabelled queries that were given ``(R,)``.
        given: how many those were.
        screen: of the gallery, where many queries are to be told; see ``quickened``.
        numbers: what is taken from the cosines of each gallery item ``(G,)``, as ``crosslens.ops.hubs`` has it.
    """

    score: Score
    curve: Logistic
    source: str
    gallery: Array = field(repr=False)
    prototypes: Array = field(repr=False)
    reference: Array | None = field(repr=False, default=None)
    smooth: int = 0
    drawn: NDArray[np.int64] | None = field(repr=False, default=None)
    given: int = 0
    numbers: Array | None = field(repr=False, default=None)
    screen: Screen | None = field(repr=False, default=None)

    @classmethod
    def fit(
        cls,
        gallery: Array,
        queries: Array | None = None,
        *,
        score: str = "cosine",
        smooth: int | None = None,
        clusters: int | None = None,
        curve: Literal["standard", "mixture"] = "standard",
        share: float = 0.5,
        most: int = 20_000,
        seed: int = 0,
        numbers: Array | None = None,
    ) -> MatchCalibration:
        """Calibrate on unlabelled queries where there are at least 10, else on the gallery alone, without labels.

        Args:
            gallery: ``(G, d)``, unit rows, at least 10.
            queries: ``(R, d)``, unit rows, with and without counterparts, as they come.
            score: ``cosine``, ``energy`` or ``density``; the last needs queries.
            smooth: see above; None takes 30, or a tenth of the queries where that is less.
            clusters: of the gallery; estimated where left out.
            curve: what is fitted to unlabelled queries; ``mixture`` where the two kinds lie clearly apart.
            share: of the queries that are expected to have a counterpart, for the standard curve.
            most: rows kept of each side, drawn at random where there are more.
            seed: of the draw and of k-means.
            numbers: what is taken from the cosines of each gallery item ``(G,)``, for the score ``cosine`` alone.

        Raises:
            ConfigError: for an unknown score, ``density`` without queries, or ``numbers`` with another than
            cosine. StoreError: for a gallery of fewer than 10 items, or one that forms a single cluster.
        """
        if score not in SCORES:
            raise ConfigError(f"there is no score {score!r}; use {', '.join(SCORES)}")
        if len(gallery) < LEAST:
            raise StoreError(f"{len(gallery)} items are too few to tell what is missing; index at least {LEAST}")
        if numbers is not None and score != "cosine":
            raise ConfigError(f"numbers are taken from cosines, not from the score {score!r}")
        rows = _rows(gallery, most, seed)
        less = None if numbers is None else np.ascontiguousarray(numbers[drawn_rows(len(gallery), most, seed)])
        prototypes, cluster = rows[:0], np.empty(0, np.int64)
        if score == "energy" or queries is None or len(queries) < LEAST:
            if not np.isfinite(rows).all():
                raise StoreError("the items hold NaN or infinity, so nothing can be rehearsed")
            count = clusters or estimate_clusters(_rows(rows, _COUNTED, seed), seed=seed)
            found = faiss_kmeans(rows, min(count, len(rows)), seed=seed)
            lengths = np.linalg.norm(found.centroids, axis=1, keepdims=True)
            prototypes, cluster = found.centroids / np.maximum(lengths, 1e-12), found.assignments
        if queries is not None and len(queries) >= LEAST:
            drawn = drawn_rows(len(queries), most, seed + 1)
            reference = np.ascontiguousarray(queries[drawn], np.float32)
            near = min(30, len(reference) // 10) if smooth is None else smooth
            made = cls(
                score, Logistic(0, 0), "queries", rows, prototypes, reference, near, drawn, len(queries), less
            )
            among = made._among_themselves()
            return replace(
                made, curve=standard_curve(among, share) if curve == "standard" else mixture_curve(among)
            )
        if score == "density":
            raise ConfigError(f"the score 'density' needs at least {LEAST} unlabelled queries; take 'cosine'")
        present, absent = _rehearse(score, rows, cluster, prototypes, less)
        truth = np.arange(len(present) + len(absent)) < len(present)
        rehearsed = platt_curve(np.concatenate([present, absent]), truth)
        return cls(score, rehearsed, "gallery", rows, prototypes, numbers=less)

    def among(self, left: NDArray[np.bool_]) -> MatchCalibration:
        """The same curve for the gallery items ``(G,)`` that are left."""
        numbers = None if self.numbers is None else self.numbers[left]
        return replace(self, gallery=self.gallery[left], numbers=numbers, screen=None)

    def scores(self, queries: Array, *, own: bool = False) -> Array:
        """The score of each query ``(Q,)``, higher for likelier matches.

        Args:
            queries: ``(Q, d)``, unit rows.
            own: whether they are all the unlabelled queries of ``fit``, in its order; none then counts as its own
                neighbour.

        Raises:
            ConfigError: for ``own`` with another number of queries.
        """
        if not own:
            return self._scores(queries)
        if self.reference is None or self.drawn is None or len(queries) != self.given:
            raise ConfigError(
                f"{len(queries)} queries are not the {self.given} that this was calibrated on; leave own=True out"
            )
        if len(self.drawn) == self.given:
            return self._among_themselves()
        scores = self._scores(queries)
        scores[self.drawn] = self._among_themselves()
        return scores

    def _scores(self, queries: Array) -> Array:
        alone = self._alone(queries, False)
        if not self.smooth or self.reference is None:
            return alone
        neighbours = _nearest(queries, self.reference, self.smooth)[0]
        return np.asarray((self._references[neighbours].sum(1) + alone) / (self.smooth + 1), np.float32)

    def _among_themselves(self) -> Array:
        """The scores of the references, each smoothed with its neighbours and itself."""
        assert self.reference is not None
        if not self.smooth:
            return self._references
        neighbours = _nearest(self.reference, self.reference, self.smooth + 1)[0]
        return np.asarray(self._references[neighbours].mean(1), np.float32)

    @cached_property
    def _references(self) -> Array:
        """The score of each reference alone ``(R,)``, which every query's smoothing needs."""
        assert self.reference is not None
        return self._alone(self.reference, True)

    def quickened(self) -> MatchCalibration:
        """The same, with codes of the gallery in memory where its score looks at every item."""
        plain = self.score == "cosine" and self.numbers is None
        return replace(self, screen=make_screen(self.gallery)) if plain else self

    def probability(self, queries: Array, *, own: bool = False) -> Array:
        """Probability ``(Q,)`` in (0, 1) that each query has a counterpart; arguments are those of ``scores``."""
        return self.curve(self.scores(queries, own=own))

    def _alone(self, queries: Array, own: bool) -> Array:
        if self.score == "cosine":
            return largest_cosine(queries, self.gallery, numbers=self.numbers, screen=self.screen)
        if self.score == "energy":
            return prototype_energy(queries, self.prototypes)
        assert self.reference is not None
        return density_ratio(queries, self.gallery, self.reference, own=own)


def _rehearse(
    score: str,
    gallery: Array,
    cluster: NDArray[np.int64],
    prototypes: Array,
    numbers: Array | None = None,
    chunk: int = 1024,
) -> tuple[Array, Array]:
    """Scores of gallery items that ask for their own kind: with it there, and with their cluster gone.

    Raises:
        StoreError: when there is one cluster only.
    """
    if len(np.unique(cluster)) < 2:
        raise StoreError("the items form one cluster, so nothing can be rehearsed; index more images")
    present: list[Array] = []
    absent: list[Array] = []
    kind = np.arange(len(prototypes)) if score == "energy" else cluster
    others = prototypes if score == "energy" else gallery
    for start in range(0, len(gallery), chunk):
        rows = np.arange(start, min(start + chunk, len(gallery)))
        cosines = gallery[rows] @ others.T
        if numbers is not None:
            cosines -= numbers
        if score == "cosine":
            cosines[np.arange(len(rows)), rows] = -1
        gone = np.where(kind[None, :] == cluster[rows][:, None], -1.0, cosines)
        for kept, values in ((cosines, present), (gone, absent)):
            values.append(kept.max(1) if score == "cosine" else _energy(kept, 0.07))
    return np.concatenate(present), np.concatenate(absent)


def _energy(cosines: Array, temperature: float) -> Array:
    logits = cosines / temperature
    largest = logits.max(1, keepdims=True)
    summed = largest[:, 0] + np.log(np.exp(logits - largest).sum(1))
    return np.asarray(temperature * summed, np.float32)


def _nearest(queries: Array, gallery: Array, count: int) -> tuple[NDArray[np.int32], Array]:
    """Positions and cosines ``(Q, min(count, G))`` of the nearest gallery rows, best first."""
    chunks = list(top_k_chunks(queries, gallery, min(count, len(gallery))))
    return np.concatenate([c.order for c in chunks]), np.concatenate([c.scores for c in chunks])


def _rows(vectors: Array, most: int, seed: int) -> Array:
    return np.ascontiguousarray(vectors[drawn_rows(len(vectors), most, seed)], dtype=np.float32)
