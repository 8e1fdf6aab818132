"""Protocols: who asks, who answers, and how it is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crosslens.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.errors import EvaluationError
from crosslens.evaluation.conventions import CONVENTIONS, DEFAULT_KS, Metric
from crosslens.evaluation.results import RetrievalResults, evaluate_retrieval
from crosslens.evaluation.scenarios import KINDS as SCENARIOS
from crosslens.evaluation.significance import bootstrap_classes, bootstrap_queries
from crosslens.evaluation.ucdr import UNIVERSAL
from crosslens.features.load import Features
from crosslens.features.of_encoder import features_of_encoder

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


def evaluate_pairs(
    encoder: Encoder,
    catalog: Catalog,
    *,
    domains: Sequence[str] | None = None,
    convention: str = "standard",
    ks: Sequence[int] = DEFAULT_KS,
    depth: int = 100,
    only: set[str] | None = None,
    features: Path | None = None,
    device: str | None = None,
    marks: Sequence[str] = (),
) -> Evaluation:
    """The ``pairs`` protocol (UCDIR): every unordered pair of domains, ranked both ways, all images on both sides.

    Args:
        encoder: gives unit vectors.
        catalog: labelled images of at least two domains.
        domains: the domains to pair; all of the catalog's by default.
        convention: a name in ``CONVENTIONS``.
        ks: cuts of P@k.
        depth: ranks kept for grids and further use.
        only: ids to evaluate on, where training saw labels of the others.
        features: a feature folder, or None for the cache.
        device: see ``crosslens.backbones.engine.make_engine``.
        marks: what must be said beside the numbers.

    Raises:
        EvaluationError: for fewer than two domains, an unknown convention, or domains without labels or
            without a common class.
    """
    metrics = convention_metrics(convention, ks)
    chosen = list(domains) if domains else catalog.domains
    if len(chosen) < 2:
        raise EvaluationError(
            f"the pairs protocol needs at least two domains, and here is {', '.join(chosen) or 'none'}"
        )
    catalog = catalog.select(domains=chosen)
    if only is not None:
        catalog = catalog.where(np.array([image in only for image in catalog.ids], dtype=bool))
    found = features_of_encoder(catalog, encoder, folder=features, device=device)
    vectors = {domain: encode_domain(encoder, found.of_domain(domain), domain) for domain in chosen}
    directions = []
    for pair in combinations(chosen, 2):
        for query, gallery in (pair, pair[::-1]):
            directions.append(rank(vectors[query], vectors[gallery], metrics, convention, depth))
    return Evaluation("pairs", convention, encoder.name, tuple(directions), tuple(marks), len(found.skipped))


def evaluate_zero_shot(encoder: Encoder, catalog: Catalog, **options: Any) -> Evaluation:
    """The ``zero-shot`` protocol; see ``crosslens.evaluation.zero_shot``."""
    from crosslens.evaluation import zero_shot

    return zero_shot.evaluate_zero_shot(encoder, catalog, **options)


def _evaluate_scenario(encoder: Encoder, catalog: Catalog, **options: Any) -> Evaluation:
    # That module builds on this one.
    from crosslens.evaluation.universal import evaluate_scenario

    return evaluate_scenario(encoder, catalog, **options)


PROTOCOLS: dict[str, Callable[..., Evaluation]] = {
    "pairs": evaluate_pairs,
    "zero-shot": evaluate_zero_shot,
    **UNIVERSAL,
    **dict.fromkeys(SCENARIOS, _evaluate_scenario),
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

    def of_classes(self, names: Sequence[str]) -> Side:
        """The images whose label is among ``names``."""
        rows = [row for row, label in enumerate(self.labels) if label in set(names)]
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
