"""Domain-adversarial loss (UEM, eq. 13)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from crosslens.losses.semantic import Reduction


def domain_adversarial(logits: Sequence[Tensor], reduction: Reduction = "mean") -> Tensor:
    """L_DAL: cross-entropy of a domain classifier.

    The classifier minimises it; behind ``reverse_gradient`` the encoder maximises it. The paper has two domains
    and the binary form, the first domain being 1; more than two take the softmax over all (our extension).

    Args:
        logits: the classifier's for the images of each domain: of two domains ``(B,)``, else ``(B, domains)``.
        reduction: over all domains' images; the equation prints a sum.

    Returns:
        A scalar >= 0; log(domains) an image when the classifier knows nothing.
    """
    if len(logits) == 2:
        each = torch.cat([F.softplus(-logits[0]), F.softplus(logits[1])])
    else:
        each = torch.cat([-rows.log_softmax(1)[:, domain] for domain, rows in enumerate(logits)])
    return each.mean() if reduction == "mean" else each.sum()


@torch.no_grad()
def domain_accuracy(logits: Sequence[Tensor]) -> Tensor:
    """Mean over the domains of the share the classifier gets right, a scalar in [0, 1]; 1 / domains is chance."""
    if len(logits) == 2:
        right = [logits[0] > 0, logits[1] <= 0]
    else:
        right = [rows.argmax(1) == domain for domain, rows in enumerate(logits)]
    return torch.stack([share.float().mean() for share in right]).mean()
