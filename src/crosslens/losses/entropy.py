"""Self-entropy of prototype assignments, within and across domains (UCDIR ``builder.py``)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def assignment_entropy(q: Tensor, prototypes: Tensor, temperature: float) -> Tensor:
    """Mean entropy of soft assignments, ``H = mean_i -sum_c p_ic log p_ic`` with ``p = softmax(q P^T / T)``.

    Args:
        q: features ``(B, d)``, unit rows.
        prototypes: ``(C, d)``, unit rows; no gradient reaches them.
        temperature: T > 0; 0.01 on Office-Home and 0.1 on DomainNet in the authors' scripts.

    Returns:
        A scalar in [0, log C], in nats.
    """
    logs = torch.log_softmax(q @ prototypes.detach().t() / temperature, dim=1)
    return -(logs.exp() * logs).sum(1).mean()


def self_entropy(features: Sequence[Tensor], prototypes: Sequence[Tensor], temperature: float) -> Tensor:
    """L_SE: the mean of ``assignment_entropy`` over every pair of feature domain and prototype domain.

    Args:
        features: per domain ``(B, d)``, unit rows; the same B in each, so that they go through one product.
        prototypes: per domain ``(C, d)``, unit rows.
        temperature: T > 0.

    Returns:
        A scalar >= 0; with two domains ``(H(A,A) + H(A,B) + H(B,A) + H(B,B)) / 4``, with one ``H(A,A)``.
    """
    together = torch.cat(tuple(features))
    return torch.stack([assignment_entropy(together, p, temperature) for p in prototypes]).mean()
