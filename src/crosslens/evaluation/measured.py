"""What every protocol shares: encoded sides, the ranking of a direction, and the evaluation that comes of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from crosslens.encoder import Encoder
from crosslens.errors import EvaluationError
from crosslens.evaluation.conventions import CONVENTIONS, Metric
from crosslens.evaluation.results import RetrievalResults, evaluate_retrieval
from crosslens.evaluation.significance import bootstrap_classes, bootstrap_queries
from crosslens.features.load import Features

if TYPE_CHECKING:
    from numpy.typing import NDArray

WITH_CODA = " and CoDA"
CODA_DESCRIPTION = "map@all-voc-class as CoDA's scorer has it: interpolated, and a mean over classes."


@dataclass(frozen=True)
class Evaluation:
    """What one encoder reached on one catalog under one protocol.

    Attributes:
        protocol: its name.
        convention: how the metrics are defined.
        encoder: name of the encoder.
        directions: one result per ranked direction.
        marks: what must be said beside every number, such as ``oracle``.
        skipped: images that could not be embedded.
    """

    protocol: str
    convention: str
    encoder: str
    directions: tuple[RetrievalResults, ...]
    marks: tuple[str, ...] = ()
    skipped: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, float]:
        """Every metric's mean over the directions."""
        keys = self.directions[0].metrics
        return {key: float(np.mean([result.metrics[key] for result in self.directions])) for key in keys}

    def to_json(self, *, intervals: bool = True) -> dict[str, Any]:
        """The evaluation as plain values: means, and per direction the metrics, intervals and classes."""
        return {
            "protocol": self.protocol,
            "convention": self.convention,
            "convention_description": describe_convention(self.convention),
            "encoder": self.encoder,
            "marks": list(self.marks),
            "skipped": self.skipped,
            "metrics": self.metrics,
            "directions": [_direction_json(result, intervals) for result in self.directions],
            **self.extra,
        }


def convention_metrics(convention: str, ks: Sequence[int]) -> list[Metric]:
    """The metrics of a named convention at these cuts.

    Raises:
        EvaluationError: for an unknown convention, listing the known ones.
    """
    if convention not in CONVENTIONS:
        raise EvaluationError(f"there is no convention {convention!r}; known: {', '.join(CONVENTIONS)}")
    return CONVENTIONS[convention].metrics(ks)


def describe_convention(convention: str) -> str:
    """One sentence on how a convention divides and averages."""
    if convention.endswith(WITH_CODA):
        known = convention.removesuffix(WITH_CODA)
        return f"{describe_convention(known)} {CODA_DESCRIPTION}"
    return CONVENTIONS[convention].description if convention in CONVENTIONS else convention


@dataclass(frozen=True)
class Side:
    """One domain's encoded images: ids, labels and unit vectors ``(N, d)``."""

    domain: str
    ids: list[str]
    labels: list[str | None]
    vectors: NDArray[np.float32]
    queries: NDArray[np.float32]

    def of_classes(self, names: Collection[str | None]) -> Side:
        """The images whose label is among ``names``."""
        wanted = set(names)
        rows = [row for row, label in enumerate(self.labels) if label in wanted]
        return Side(
            self.domain,
            [self.ids[r] for r in rows],
            [self.labels[r] for r in rows],
            self.vectors[rows],
            self.queries[rows],
        )


def encode_domain(encoder: Encoder, features: Features, domain: str) -> Side:
    """Encode one domain's labelled images.

    Raises:
        EvaluationError: when none has a label.
    """
    labels = features.catalog.labels
    if not any(labels):
        raise EvaluationError(
            f"no image of the domain {domain!r} has a label, so nothing can be measured; give a labelled folder"
            " (root/<domain>/<class>/*) or a manifest with labels"
        )
    vectors = encoder.encode_features(features.centre, domain)
    return Side(domain, features.catalog.ids, labels, vectors, encoder.similarity.as_queries(vectors))


def rank(query: Side, gallery: Side, metrics: Sequence[Metric], convention: str, depth: int) -> RetrievalResults:
    """Rank one direction.

    Raises:
        EvaluationError: when the two sides share no class.
    """
    if not set(filter(None, query.labels)) & set(filter(None, gallery.labels)):
        raise EvaluationError(
            f"{query.domain} and {gallery.domain} have no class in common; nothing can be measured"
        )
    return evaluate_retrieval(
        query.queries,
        gallery.vectors,
        query.labels,
        gallery.labels,
        query_ids=query.ids,
        gallery_ids=gallery.ids,
        metrics=metrics,
        convention=convention,
        depth=depth,
        query_domain=query.domain,
        gallery_domain=gallery.domain,
    )


def _direction_json(result: RetrievalResults, intervals: bool) -> dict[str, Any]:
    value: dict[str, Any] = {
        "query": result.query_domain,
        "gallery": result.gallery_domain,
        "queries": len(result.query_ids),
        "gallery_size": len(result.gallery_ids),
        "metrics": dict(result.metrics),
        "per_class": {
            name: {key: value if np.isfinite(value) else None for key, value in row.items()}
            for name, row in result.per_class().items()
        },
    }
    if intervals:
        value["intervals"] = {key: _intervals(result, key) for key in result.metrics}
    return value


def _intervals(result: RetrievalResults, key: str) -> dict[str, list[float]]:
    numerators, denominators = result.sums(key)
    queries = bootstrap_queries(numerators, denominators)
    labels = result.query_labels
    classes = None if labels is None else bootstrap_classes(numerators, labels, denominators)
    value = {"queries": [queries.low, queries.high]}
    if classes is not None:
        value["classes"] = [classes.low, classes.high]
    return value
