"""The ``pairs`` protocol: every pair of domains, ranked both ways."""

from __future__ import annotations

from itertools import combinations

from crosslens.encoder import Encoder
from crosslens.evaluation.measured import Evaluation, encode_domain, labelled_part, rank_directions
from crosslens.evaluation.plan import Plan
from crosslens.features.of_encoder import features_of_encoder
from crosslens.support.errors import EvaluationError


def evaluate_pairs(encoder: Encoder, plan: Plan) -> Evaluation:
    """The ``pairs`` protocol (UCDIR): every unordered pair of domains, ranked both ways, all images on both sides.

    An image asks and answers as its role says. One without a label does neither, since nobody knows whether it is
    of a query's class. A distractor, which is known to be of none, needs a label of its own.

    Args:
        encoder: gives unit vectors.
        plan: with labelled images of at least two domains.

    Raises:
        EvaluationError: for fewer than two domains, an unknown convention, or domains without labels or
            without a common class.
    """
    how, metrics = plan.how, plan.how.metrics()
    domains = plan.chosen_domains
    if len(domains) < 2:
        raise EvaluationError(
            f"the pairs protocol needs at least two domains, and here is {', '.join(domains) or 'none'}"
        )
    catalog, unlabelled = labelled_part(plan.images(), domains)
    found = features_of_encoder(catalog, encoder, folder=how.features, device=how.device)
    sides = {domain: encode_domain(encoder, found.of_domain(domain), domain) for domain in domains}
    order = [(sides[a], sides[b]) for pair in combinations(domains, 2) for a, b in (pair, pair[::-1])]
    ranked = rank_directions(order, metrics, how.convention, how.depth, how.goal)
    return ranked.evaluation(
        "pairs", how.convention, encoder, marks=plan.marks, skipped=len(found.skipped), unlabelled=unlabelled
    )
