"""The distance-of-distance loss (UCDIR ``builder.py``): alignment without matching clusters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F


def unit_assignments(q: Tensor, prototypes: Tensor, temperature: float) -> Tensor:
    """Soft assignments to a set of prototypes, scaled to unit rows; their products are cosines.

    Args:
        q: features ``(B, d)``, unit rows.
        prototypes: ``(C, d)``, unit rows; no gradient reaches them.
        temperature: T > 0.

    Returns:
        ``(B, C)``, non-negative.
    """
    return F.normalize(torch.softmax(q @ prototypes.detach().t() / temperature, dim=1), dim=1)


def distance_of_distance(
    features: Sequence[Tensor], prototypes: Sequence[Tensor], temperature: float = 0.01
) -> Tensor:
    """L_DD: samples must be as far apart as seen by A's prototypes as they are seen by B's.

    With ``D`` the cosine distances ``1 - S S^T`` between the samples' assignments S, per feature domain:
    ``mean_i sum_j (D^A_ij - D^B_ij + 1e-6)^2``; then the mean over the feature domains. The sum over j makes the
    value grow with the batch. Of more than two domains it is the mean over every two of them (our extension).

    Args:
        features: per domain ``(B, d)``, unit rows.
        prototypes: of two or more domains ``(C, d)``, unit rows.
        temperature: T > 0; 0.01 in the authors' code.

    Returns:
        A scalar >= 0, at most about B.
    """
    together = torch.cat(tuple(features))
    sizes = [len(q) for q in features]
    seen_by = [unit_assignments(together, p, temperature).split(sizes) for p in prototypes]
    terms = []
    for by_each in zip(*seen_by, strict=True):
        cosines = [seen @ seen.t() for seen in by_each]
        for of_a, of_b in combinations(cosines, 2):
            # D^A - D^B without the two ones; 1e-6 is what torch's pairwise_distance adds to a difference.
            difference = of_b - of_a + 1e-6
            terms.append(difference.square().sum(1).mean())
    return torch.stack(terms).mean()
