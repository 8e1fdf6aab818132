"""Domain-adversarial loss (UEM, eq. 13)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from crosslens.losses.semantic import Reduction


def domain_adversarial(logits_a: Tensor, logits_b: Tensor, reduction: Reduction = "mean") -> Tensor:
    """L_DAL: binary cross-entropy of a domain classifier, domain A being 1 and domain B 0.

    The classifier minimises it; behind ``reverse_gradient`` the encoder maximises it.

    Args:
        logits_a: the classifier's logits ``(B,)`` for images of domain A.
        logits_b: the same for domain B.
        reduction: over both domains' images; the equation prints a sum.

    Returns:
        A scalar >= 0; log 2 an image when the classifier knows nothing.
    """
    each = torch.cat([F.softplus(-logits_a), F.softplus(logits_b)])
    return each.mean() if reduction == "mean" else each.sum()


@torch.no_grad()
def domain_accuracy(logits_a: Tensor, logits_b: Tensor) -> Tensor:
    """Mean over the domains of the share the classifier gets right, a scalar in [0, 1]; 0.5 is chance."""
    return ((logits_a > 0).float().mean() + (logits_b <= 0).float().mean()) / 2
