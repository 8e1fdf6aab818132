"""Two evaluations of the same queries, held against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from crosslens.evaluation.conventions import ratio
from crosslens.evaluation.measured import Evaluation
from crosslens.evaluation.results import RetrievalResults
from crosslens.evaluation.significance import paired_randomisation
from crosslens.evaluation.weighting import definition_of, query_weights
from crosslens.support.errors import EvaluationError
from crosslens.support.near_names import did_you_mean
from crosslens.support.tables import Cell, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Comparison:
    """How one encoder differs from another on the same queries.

    Attributes:
        base, other: the names of the two.
        metric: what is compared.
        values: the metric of the base and of the other, means over directions.
        difference: other minus base, the mean over directions.
        p_value: of the paired randomisation test of ``difference``. What an image changes in all the directions it
            asks in is turned round together, since these are not independent.
        gained, lost: queries that are better and worse than with the base.
        directions: per direction the difference and its p-value.
        classes: per class the difference of the metric over those of its queries that count, all directions
            together; without the classes where none does.
        flipped: the queries that changed most, best gains first.
    """

    base: str
    other: str
    metric: str
    values: tuple[float, float]
    difference: float
    p_value: float
    gained: int
    lost: int
    directions: tuple[dict[str, Any], ...]
    classes: dict[str, float]
    flipped: tuple[dict[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        lists = {name: list(getattr(self, name)) for name in ("values", "directions", "flipped")}
        return vars(self) | lists


class Comparisons(NamedTuple):
    """Several encoders on the same images, each held against the first.

    Attributes:
        evaluations: of all encoders, the base first.
        comparisons: of all but the base.
    """

    evaluations: list[Evaluation]
    comparisons: list[Comparison]

    @property
    def metric(self) -> str:
        """What is compared."""
        return self.comparisons[0].metric

    @property
    def names(self) -> list[str]:
        """Of all encoders, the base first."""
        return [self.comparisons[0].base, *(comparison.other for comparison in self.comparisons)]

    def table(self) -> Table:
        """Encoders by the metric, its difference from the base, the p-value and the queries that changed."""
        rows: list[tuple[Cell, ...]] = [(self.names[0], self.comparisons[0].values[0], None, None, None, None)]
        rows += [
            (found.other, found.values[1], found.difference, found.p_value, found.gained, found.lost)
            for found in self.comparisons
        ]
        columns = ("encoder", self.metric, "difference", "p", "queries better", "queries worse")
        return Table(columns, tuple(rows), f"{self.metric} ({self.evaluations[0].convention})")

    def __repr__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table().to_html()

    def to_csv(self) -> str:
        """``table`` as CSV."""
        return self.table().to_csv()

    def to_markdown(self) -> str:
        """``table`` as Markdown."""
        return self.table().to_markdown()

    def to_latex(self) -> str:
        """``table`` as LaTeX, for the package booktabs."""
        return self.table().to_latex()


@dataclass(frozen=True)
class _Pair:
    """One direction in both evaluations, of the queries ``(Q,)`` that count.

    Attributes:
        names: query id, query domain and gallery domain.
        labels: class names, "" where unknown.
        changes: other minus base, per query.
        shares: what each adds to the difference of the metric; their sum is that difference.
        sums: numerators of the change and denominators, whose quotient is the metric's over any queries.
    """

    names: list[tuple[str, str, str]]
    labels: NDArray[np.str_]
    changes: NDArray[np.float64]
    shares: NDArray[np.float64]
    sums: tuple[NDArray[np.float64], NDArray[np.float64]]


def compare_evaluations(
    base: Evaluation, other: Evaluation, metric: str, *, names: tuple[str, str] | None = None, most: int = 20
) -> Comparison:
    """Compare two evaluations query by query.

    Args:
        base, other: of the same protocol, images and convention.
        metric: a metric key with per-query values, such as ``map@all``.
        names: what the two are called; as their encoders by default.
        most: how many flipped queries to name at either end.

    Raises:
        EvaluationError: when the two do not hold the same queries and galleries, or lack the metric.
    """
    if len(base.directions) != len(other.directions):
        raise EvaluationError("the two evaluations do not rank the same directions")
    ends = list(zip(base.directions, other.directions, strict=True))
    pairs = [_paired(first, second, metric) for first, second in ends]
    directions = tuple(
        {
            "query": first.query_domain,
            "gallery": first.gallery_domain,
            "difference": float(pair.shares.sum()),
            "p_value": paired_randomisation(pair.shares, np.zeros(len(pair.shares))).p_value,
        }
        for (first, _), pair in zip(ends, pairs, strict=True)
    )
    by_image = _by_image(pairs)
    asked = [name for pair in pairs for name in pair.names]
    changes = np.concatenate([pair.changes for pair in pairs])
    order = np.argsort(-changes, kind="stable")
    chosen = [i for i in [*order[:most], *order[-most:]] if changes[i]]
    called = names or (base.encoder, other.encoder)
    return Comparison(
        base=called[0],
        other=called[1],
        metric=metric,
        values=(base.metrics[metric], other.metrics[metric]),
        difference=float(by_image.sum()),
        p_value=paired_randomisation(by_image, np.zeros(len(by_image))).p_value,
        gained=int((changes > 0).sum()),
        lost=int((changes < 0).sum()),
        directions=directions,
        classes=_by_class(pairs),
        flipped=tuple(
            {"id": asked[i][0], "query": asked[i][1], "gallery": asked[i][2], "difference": float(changes[i])}
            for i in dict.fromkeys(map(int, chosen))
        ),
    )


def require_metric(result: RetrievalResults, metric: str) -> None:
    """Refuse a metric that a result does not have for each query.

    Raises:
        EvaluationError: naming those it has.
    """
    if metric not in result.per_query:
        known = ", ".join(result.per_query)
        near = did_you_mean(metric, result.per_query)
        raise EvaluationError(f"there is no per-query {metric!r} to compare; there are {known}{near}")


def _paired(first: RetrievalResults, second: RetrievalResults, metric: str) -> _Pair:
    route = f"{first.query_domain} -> {first.gallery_domain}"
    if not np.array_equal(first.query_ids, second.query_ids) or set(first.gallery_ids) != set(second.gallery_ids):
        raise EvaluationError(f"{route}: the two evaluations do not hold the same images")
    require_metric(first, metric)
    require_metric(second, metric)
    weights = query_weights(first, metric)
    same = definition_of(first, metric) == definition_of(second, metric)
    if not same or not np.allclose(weights, query_weights(second, metric), rtol=0, atol=1e-12):
        raise EvaluationError(
            f"{route}: the two evaluations define {metric} in two ways, or some queries count in one of them only;"
            " compare encoders under one convention and with the same labels"
        )
    counted = weights > 0
    changes = (second.per_query[metric] - first.per_query[metric])[counted]
    bottoms = first.sums(metric)[1][counted]
    labels = np.full(len(weights), "") if first.query_labels is None else first.query_labels
    ids = first.query_ids[counted].tolist()
    return _Pair(
        names=[(image, first.query_domain, first.gallery_domain) for image in ids],
        labels=labels[counted],
        changes=changes,
        shares=changes * weights[counted],
        sums=(changes * bottoms, bottoms),
    )


def _by_image(pairs: Sequence[_Pair]) -> NDArray[np.float64]:
    """What each query image adds to the mean difference over the directions."""
    ids = [(domain, image) for pair in pairs for image, domain, _ in pair.names]
    number = {key: row for row, key in enumerate(dict.fromkeys(ids))}
    shares = np.concatenate([pair.shares for pair in pairs]) / len(pairs)
    return np.bincount([number[key] for key in ids], shares).astype(np.float64)


def _by_class(pairs: Sequence[_Pair]) -> dict[str, float]:
    known, codes = np.unique(np.concatenate([pair.labels for pair in pairs]), return_inverse=True)
    tops, bottoms = (np.concatenate([pair.sums[part] for pair in pairs]) for part in (0, 1))
    values = ratio(np.bincount(codes, tops), np.bincount(codes, bottoms))
    return {str(name): float(value) for name, value in zip(known, values, strict=True) if name}
