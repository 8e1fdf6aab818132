"""The ``pairs`` protocol: every pair of domains, ranked both ways."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.evaluation.conventions import DEFAULT_KS, Ties
from crosslens.evaluation.measured import (
    Evaluation,
    convention_metrics,
    encode_domain,
    labelled_part,
    rank_directions,
)
from crosslens.features.of_encoder import features_of_encoder
from crosslens.support.errors import EvaluationError


def evaluate_pairs(
    encoder: Encoder,
    catalog: Catalog,
    *,
    domains: Sequence[str] | None = None,
    convention: str = "standard",
    ks: Sequence[int] = DEFAULT_KS,
    depth: int = 100,
    ties: Ties = "stable",
    only: set[str] | None = None,
    features: Path | None = None,
    device: str | None = None,
    marks: Sequence[str] = (),
) -> Evaluation:
    """The ``pairs`` protocol (UCDIR): every unordered pair of domains, ranked both ways, all images on both sides.

    An image asks and answers as its role says. One without a label does neither, since nobody knows whether it is
    of a query's class. A distractor, which is known to be of none, needs a label of its own.

    Args:
        encoder: gives unit vectors.
        catalog: labelled images of at least two domains.
        domains: the domains to pair; all of the catalog's by default.
        convention: a name in ``CONVENTIONS``.
        ks: cuts of P@k.
        depth: ranks kept for grids and further use.
        ties: ``stable`` ranks items with equal scores in the gallery's order, as the published codes do;
            ``expected`` takes the mean over all their orders.
        only: ids to evaluate on, where training saw labels of the others.
        features: a feature folder, or None for the cache.
        device: see ``crosslens.backbones.engine.make_engine``.
        marks: what must be said beside the numbers.

    Raises:
        EvaluationError: for fewer than two domains, an unknown convention, or domains without labels or
            without a common class.
    """
    metrics = convention_metrics(convention, ks, ties)
    chosen = list(catalog.domains_named(domains)) if domains else catalog.domains
    if len(chosen) < 2:
        raise EvaluationError(
            f"the pairs protocol needs at least two domains, and here is {', '.join(chosen) or 'none'}"
        )
    catalog = catalog.select(domains=chosen)
    if only is not None:
        catalog = catalog.with_ids(only)
    catalog, unlabelled = labelled_part(catalog, chosen)
    found = features_of_encoder(catalog, encoder, folder=features, device=device)
    sides = {domain: encode_domain(encoder, found.of_domain(domain), domain) for domain in chosen}
    order = [(sides[a], sides[b]) for pair in combinations(chosen, 2) for a, b in (pair, pair[::-1])]
    ranked = rank_directions(order, metrics, convention, depth)
    return ranked.evaluation(
        "pairs", convention, encoder, marks=marks, skipped=len(found.skipped), unlabelled=unlabelled
    )
