"""The distance-of-distance loss (UCDIR ``builder.py``): alignment without matching clusters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def assignment_distances(q: Tensor, prototypes: Tensor, temperature: float) -> Tensor:
    """Cosine distances between the samples' soft assignments to a set of prototypes.

    Args:
        q: features ``(B, d)``, unit rows.
        prototypes: ``(C, d)``, unit rows; no gradient reaches them.
        temperature: T > 0.

    Returns:
        ``(B, B)`` in [0, 1], about 0 on the diagonal.
    """
    assignment = torch.softmax(q @ prototypes.detach().t() / temperature, dim=1)
    unit = F.normalize(assignment, dim=1)
    return 1 - unit @ unit.t()


def distance_of_distance(
    features: Sequence[Tensor], prototypes: tuple[Tensor, Tensor], temperature: float = 0.01
) -> Tensor:
    """L_DD: samples must be as far apart as seen by A's prototypes as they are seen by B's.

    Per feature domain: ``mean_i sum_j (D^A_ij - D^B_ij + 1e-6)^2``, where ``D`` are ``assignment_distances``;
    then the mean over the feature domains. The sum over j makes the value grow with the batch.

    Args:
        features: per domain ``(B, d)``, unit rows.
        prototypes: of domain A ``(C_A, d)`` and of domain B ``(C_B, d)``, unit rows.
        temperature: T > 0; 0.01 in the authors' code.

    Returns:
        A scalar >= 0, at most about B.
    """
    terms = []
    for q in features:
        first, second = (assignment_distances(q, p, temperature) for p in prototypes)
        # 1e-6 is what torch.nn.functional.pairwise_distance adds to a difference.
        terms.append((first - second + 1e-6).square().sum(1).mean())
    return torch.stack(terms).mean()
