"""The distance-of-distance loss (UCDIR ``builder.py``): alignment without matching clusters."""

from __future__ import annotations

from collections.abc import Sequence

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
    features: Sequence[Tensor], prototypes: tuple[Tensor, Tensor], temperature: float = 0.01
) -> Tensor:
    """L_DD: samples must be as far apart as seen by A's prototypes as they are seen by B's.

    With ``D`` the cosine distances ``1 - S S^T`` between the samples' assignments S, per feature domain:
    ``mean_i sum_j (D^A_ij - D^B_ij + 1e-6)^2``; then the mean over the feature domains. The sum over j makes the
    value grow with the batch.

    Args:
        features: per domain ``(B, d)``, unit rows.
        prototypes: of domain A ``(C_A, d)`` and of domain B ``(C_B, d)``, unit rows.
        temperature: T > 0; 0.01 in the authors' code.

    Returns:
        A scalar >= 0, at most about B.
    """
    together = torch.cat(tuple(features))
    sizes = [len(q) for q in features]
    seen_by = [unit_assignments(together, p, temperature).split(sizes) for p in prototypes]
    terms = []
    for by_a, by_b in zip(*seen_by, strict=True):
        # D^A - D^B without the two ones; 1e-6 is what torch's pairwise_distance adds to a difference.
        difference = by_b @ by_b.t() - by_a @ by_a.t() + 1e-6
        terms.append(difference.square().sum(1).mean())
    return torch.stack(terms).mean()
