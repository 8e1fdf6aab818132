"""How the methods of a suite stand: means with intervals, paired tests, ranks, and the way to the ceiling.

A number of a method on a data set is the mean over the *parts* of what was measured, one part a direction and
seed, each the mean over its queries. An image asks in several directions and under several seeds; what it adds to
all of them is resampled, or turned round, together, since these are not independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crosslens.evaluation.significance import paired_randomisation
from crosslens.evaluation.suite_results import Direction, Measured, SuiteResults
from crosslens.support.errors import EvaluationError
from crosslens.support.tables import Estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_RESAMPLES = 2000
_ROWS = 250
"""Resamples drawn at once: some 4 MB of counts for 2,000 images."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One method on one data set, over all its seeds.

    Attributes:
        method, data: their names in the suite.
        cells: one a seed.
    """

    method: str
    data: str
    cells: tuple[Measured, ...]

    @property
    def parts(self) -> list[Direction]:
        """All directions of all seeds."""
        return [one for measured in self.cells for one in measured.directions]

    @property
    def marks(self) -> tuple[str, ...]:
        """What must be said beside the numbers."""
        return tuple(dict.fromkeys(mark for measured in self.cells for mark in measured.facts.get("marks", ())))

    @property
    def is_ceiling(self) -> bool:
        """Whether it learned from labels, so that it is no rival of the others."""
        return any("labels" in measured.facts.get("learns_from", ()) for measured in self.cells)

    def mean(self, metric: str) -> float:
        """The number."""
        return mean_of(self.parts, metric)

    def by_seed(self, metric: str) -> dict[int, float]:
        """The number of each seed alone."""
        return {measured.cell.seed: mean_of(measured.directions, metric) for measured in self.cells}

    def by_route(self, metric: str) -> dict[str, float]:
        """The number of each direction, the mean over seeds."""
        routes = dict.fromkeys(one.route for one in self.parts)
        return {r: mean_of([one for one in self.parts if one.route == r], metric) for r in routes}

    def by_class(self, metric: str) -> dict[str, float]:
        """The mean over all queries of a class, directions and seeds together."""
        labels = np.concatenate([one.labels for one in self.parts])
        values = np.concatenate([one.values[metric] for one in self.parts]).astype(np.float64)
        counted = np.isfinite(values) & (labels != "")
        known, codes = np.unique(labels[counted], return_inverse=True)
        means = np.bincount(codes, values[counted]) / np.bincount(codes)
        return {str(name): float(value) for name, value in zip(known, means, strict=True)}


@dataclass(frozen=True)
class Paired:
    """One method against another on the same queries.

    Attributes:
        difference: other minus base, over the seeds that both have.
        p_value: of the paired randomisation test over images.
        gained, lost: queries (a mean over seeds) that are better and worse than with the base.
        flipped: ``(query domain, gallery domain, query, difference)``, the best gain of every class first, then
            the worst losses.
    """

    difference: float
    p_value: float
    gained: int
    lost: int
    flipped: tuple[tuple[str, str, str, float], ...]


@dataclass(frozen=True, eq=False)
class Chapter:
    """All that may be compared: one protocol, goal and backbone.

    Attributes:
        protocol, goal, backbone: which.
        methods, data: names in the suite's order, of those that were measured.
        entries: by method and data set.
        metric: the headline.
    """

    protocol: str
    goal: str
    backbone: str
    methods: tuple[str, ...]
    data: tuple[str, ...]
    entries: Mapping[tuple[str, str], Entry]
    metric: str

    @property
    def title(self) -> str:
        """Protocol, and what else tells it apart."""
        return ", ".join(filter(None, [self.protocol, self.goal, self.backbone]))

    @property
    def rivals(self) -> list[str]:
        """Methods that saw no label."""
        return [m for m in self.methods if not any(self.entries[m, d].is_ceiling for d in self._where(m))]

    def ranks(self) -> dict[str, float]:
        """The mean rank of every rival over the data sets on which all of them were measured; 1 is the best."""
        from scipy.stats import rankdata

        rivals = self.rivals
        common = [d for d in self.data if all((m, d) in self.entries for m in rivals)]
        if not common or len(rivals) < 2:
            return {}
        table = np.array([[self.entries[m, d].mean(self.metric) for m in rivals] for d in common])
        return dict(zip(rivals, rankdata(-table, axis=1).mean(axis=0).tolist(), strict=True))

    def shares(self, data: str) -> dict[str, float]:
        """How far each rival is on the way from the frozen backbone to the ceiling on one data set.

        The length of the way is measured on the images that the ceiling did not learn from, for both of its ends.
        """
        found = [self.entries[m, data] for m in self._on(data)]
        ceiling = next((e for e in found if e.is_ceiling), None)
        frozen = next((e for e in found if e.cells[0].facts.get("registered") == "frozen"), None)
        if ceiling is None or frozen is None:
            return {}
        floors = [m.facts["floor"][self.metric] for m in ceiling.cells if self.metric in m.facts.get("floor", {})]
        if not floors:
            return {}
        way = ceiling.mean(self.metric) - float(np.mean(floors))
        start = frozen.mean(self.metric)
        if way <= 0:
            return {}
        return {e.method: (e.mean(self.metric) - start) / way for e in found if not e.is_ceiling}

    def best(self, data: str) -> str | None:
        """The rival with the highest mean on a data set."""
        here = [m for m in self._on(data) if m in self.rivals]
        return max(here, key=lambda m: self.entries[m, data].mean(self.metric), default=None)

    def _where(self, method: str) -> list[str]:
        return [d for d in self.data if (method, d) in self.entries]

    def _on(self, data: str) -> list[str]:
        return [m for m in self.methods if (m, data) in self.entries]


def chapters_of(results: SuiteResults) -> list[Chapter]:
    """The results by protocol, goal and backbone, in the suite's order."""
    metric = results.metric
    groups: dict[tuple[str, str, str], list[Measured]] = {}
    for measured in results.cells:
        groups.setdefault(measured.cell.chapter, []).append(measured)
    found = []
    for (protocol, goal, backbone), cells in groups.items():
        by_entry: dict[tuple[str, str], list[Measured]] = {}
        for measured in cells:
            by_entry.setdefault((measured.cell.method, measured.cell.data), []).append(measured)
        entries = {
            key: Entry(*key, tuple(sorted(own, key=lambda m: m.cell.seed))) for key, own in by_entry.items()
        }
        methods = tuple(m for m in results.suite["methods"] if any(key[0] == m for key in entries))
        data = tuple(d for d in results.suite["data"] if any(key[1] == d for key in entries))
        found.append(Chapter(protocol, goal, backbone, methods, data, entries, metric))
    return found


def mean_of(parts: Sequence[Direction], metric: str) -> float:
    """The mean over parts of the mean over their queries that count; NaN where none does."""
    means = [float(np.mean(v[np.isfinite(v)], dtype=np.float64)) for v in _values(parts, metric) if _any(v)]
    return float(np.mean(means)) if means else float("nan")


def estimate_of(parts: Sequence[Direction], metric: str, *, seed: int = 0) -> Estimate:
    """``mean_of`` with its 95 % percentile interval, images being drawn with replacement within their domain."""
    parts = [one for one in parts if _any(one.values[metric])]
    if not parts:
        return Estimate(float("nan"), float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    sums = np.zeros(_RESAMPLES)
    for domain in dict.fromkeys(one.query_domain for one in parts):
        own = [one for one in parts if one.query_domain == domain]
        images = {
            name: row for row, name in enumerate(dict.fromkeys(q for one in own for q in one.queries.tolist()))
        }
        tops = np.zeros((len(images), len(own)))
        bottoms = np.zeros_like(tops)
        for column, one in enumerate(own):
            rows = np.array([images[name] for name in one.queries.tolist()])
            values = one.values[metric].astype(np.float64)
            counted = np.isfinite(values)
            tops[rows[counted], column] = values[counted]
            bottoms[rows[counted], column] = 1.0
        for start in range(0, _RESAMPLES, _ROWS):
            draws = rng.integers(0, len(images), size=(min(_ROWS, _RESAMPLES - start), len(images)))
            counts = np.stack([np.bincount(draw, minlength=len(images)) for draw in draws])
            with np.errstate(invalid="ignore"):
                sums[start : start + len(draws)] += ((counts @ tops) / (counts @ bottoms)).sum(axis=1)
    low, high = np.nanquantile(sums / len(parts), (0.025, 0.975))
    return Estimate(mean_of(parts, metric), float(low), float(high))


def compare_entries(base: Entry, other: Entry, metric: str, *, most: int = 6) -> Paired:
    """Hold one method against another on a data set.

    Args:
        base, other: of one chapter and data set; seeds that only one of them has are left out.
        metric: of both.
        most: how many flipped queries to name at either end.

    Raises:
        EvaluationError: when they have no query in common, as where one was measured on a part of the images.
    """
    known = {(one.seed, one.route): one for one in base.parts}
    pairs = [(known[key], one) for one in other.parts if (key := (one.seed, one.route)) in known]
    pairs = [(a, b) for a, b in pairs if np.array_equal(a.queries, b.queries)]
    if not pairs:
        raise EvaluationError(f"{base.method} and {other.method} were not measured on the same queries")
    shares: dict[tuple[str, str], float] = {}
    changes: dict[tuple[str, str, str], list[float]] = {}
    labels: dict[str, str] = {}
    for a, b in pairs:
        change = b.values[metric].astype(np.float64) - a.values[metric].astype(np.float64)
        counted = np.flatnonzero(np.isfinite(change))
        if not len(counted):
            continue
        for row, query in zip(counted.tolist(), a.queries[counted].tolist(), strict=True):
            share = float(change[row]) / len(counted) / len(pairs)
            shares[a.query_domain, query] = shares.get((a.query_domain, query), 0.0) + share
            changes.setdefault((a.query_domain, a.gallery_domain, query), []).append(float(change[row]))
            labels[query] = str(a.labels[row])
    found = np.array(list(shares.values()))
    test = paired_randomisation(found, np.zeros(len(found)))
    means = {key: float(np.mean(values)) for key, values in changes.items()}
    order = sorted(means, key=lambda key: (-means[key], key))
    ends = [*_one_a_class(order, labels, most), *_one_a_class(order[::-1], labels, most)[::-1]]
    flipped = tuple((*key, means[key]) for key in dict.fromkeys(ends) if means[key])
    values = list(means.values())
    gained, lost = sum(value > 0 for value in values), sum(value < 0 for value in values)
    return Paired(float(found.sum()), test.p_value, gained, lost, flipped)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: what each p-value is worth as one of so many that were looked at."""
    order = np.argsort(p_values, kind="stable")
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _one_a_class(
    order: Sequence[tuple[str, str, str]], labels: Mapping[str, str], most: int
) -> list[tuple[str, str, str]]:
    """The first of every class, and then others, ``most`` in all."""
    seen: set[str] = set()
    firsts: list[tuple[str, str, str]] = []
    for key in order:
        if len(firsts) < most and labels[key[2]] not in seen:
            seen.add(labels[key[2]])
            firsts.append(key)
    rest = (key for key in order if key not in firsts)
    return firsts + [key for key, _ in zip(rest, range(most - len(firsts)), strict=False)]


def _values(parts: Sequence[Direction], metric: str) -> list[Array]:
    return [one.values[metric] for one in parts]


def _any(values: Array) -> bool:
    return bool(np.isfinite(values).any())
