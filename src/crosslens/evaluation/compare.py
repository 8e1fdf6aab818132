"""Two evaluations of the same queries, held against each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from crosslens.errors import EvaluationError
from crosslens.evaluation.measured import Evaluation
from crosslens.evaluation.significance import paired_randomisation


@dataclass(frozen=True)
class Comparison:
    """How one encoder differs from another on the same queries.

    Attributes:
        metric: what is compared.
        difference: other minus base, the mean over directions.
        p_value: of the paired randomisation test over all queries of all directions.
        gained, lost: queries that are better and worse than with the base.
        directions: per direction the difference and its p-value.
        classes: per class the mean difference over its queries, all directions together.
        flipped: the queries that changed most, best gains first.
    """

    metric: str
    difference: float
    p_value: float
    gained: int
    lost: int
    directions: tuple[dict[str, Any], ...]
    classes: dict[str, float]
    flipped: tuple[dict[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {**vars(self), "directions": list(self.directions), "flipped": list(self.flipped)}


def compare_evaluations(base: Evaluation, other: Evaluation, metric: str, *, most: int = 20) -> Comparison:
    """Compare two evaluations query by query.

    Args:
        base, other: of the same protocol, images and convention.
        metric: a metric key with per-query values, such as ``map@all``.
        most: how many flipped queries to name at either end.

    Raises:
        EvaluationError: when the two do not hold the same queries and galleries, or lack the metric.
    """
    differences, names, classes = [], [], []
    directions = []
    if len(base.directions) != len(other.directions):
        raise EvaluationError("the two evaluations do not rank the same directions")
    for first, second in zip(base.directions, other.directions, strict=True):
        if not np.array_equal(first.query_ids, second.query_ids) or set(first.gallery_ids) != set(
            second.gallery_ids
        ):
            raise EvaluationError(
                f"{first.query_domain} -> {first.gallery_domain}: the two evaluations do not hold the same images"
            )
        if metric not in first.per_query or metric not in second.per_query:
            known = ", ".join(first.per_query)
            raise EvaluationError(f"there is no per-query {metric!r} to compare; there are {known}")
        # NaN is a query that counts in neither; one that counts in one only is refused by the test below.
        delta = np.nan_to_num(second.per_query[metric] - first.per_query[metric])
        test = paired_randomisation(second.per_query[metric], first.per_query[metric])
        directions.append(
            {
                "query": first.query_domain,
                "gallery": first.gallery_domain,
                "difference": second.metrics[metric] - first.metrics[metric],
                "p_value": test.p_value,
            }
        )
        differences.append(delta)
        names += [(str(i), first.query_domain, first.gallery_domain) for i in first.query_ids]
        classes.append(first.query_labels if first.query_labels is not None else np.full(len(delta), ""))
    joined, labels = np.concatenate(differences), np.concatenate(classes)
    zero = np.zeros_like(joined)
    order = np.argsort(-joined, kind="stable")
    chosen = [i for i in [*order[:most], *order[-most:]] if joined[i]]
    return Comparison(
        metric=metric,
        difference=float(np.mean([d["difference"] for d in directions])),
        p_value=paired_randomisation(joined, zero).p_value,
        gained=int((joined > 0).sum()),
        lost=int((joined < 0).sum()),
        directions=tuple(directions),
        classes={str(c): float(joined[labels == c].mean()) for c in sorted(set(labels.tolist())) if c},
        flipped=tuple(
            {"id": names[i][0], "query": names[i][1], "gallery": names[i][2], "difference": float(joined[i])}
            for i in dict.fromkeys(map(int, chosen))
        ),
    )
