"""Inter-cluster contrast: images against the prototypes of pseudo-classes (CLAIR; a reconstruction)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def class_prototypes(bank: Tensor, labels: Tensor, weights: Tensor, classes: int) -> Tensor:
    """Prototypes of the pseudo-classes of one domain, ``mu_c = normalise(sum_{i: y_i = c} w_i M_i)``.

    Args:
        bank: ``(N, d)``, unit rows.
        labels: pseudo-label ``(N,)`` in 0..C-1.
        weights: confidence ``(N,)`` in [0, 1]; 0 leaves the image out.
        classes: C.

    Returns:
        ``(C, d)`` unit rows; a row of zeros where no image is kept.
    """
    members = F.one_hot(labels, classes).to(bank.dtype) * weights.to(bank.dtype)[:, None]
    return F.normalize(members.t() @ bank, dim=1)


def inter_cluster_contrast(
    q: Tensor, prototypes: Tensor, labels: Tensor, weights: Tensor, temperature: float = 0.07
) -> Tensor:
    """Cross-entropy over the prototypes: ``l_i = -log softmax_c(q_i.mu_c / T)`` at the own class, a weighted mean.

    With the prototypes of the own domain this is CLAIR's inter-cluster term, with those of the other domain its
    inter-domain term (``losses.inter_domain``). Empty classes leave the denominator; anchors of an empty class
    drop out.

    Args:
        q: queries ``(B, d)``, unit rows; the gradient flows here alone.
        prototypes: ``class_prototypes(...)``, ``(C, d)``; rows of zeros are empty classes.
        labels: pseudo-label ``(B,)``.
        weights: confidence ``(B,)`` in [0, 1].
        temperature: T > 0.

    Returns:
        A scalar >= 0; 0 when no anchor takes part.
    """
    prototypes = prototypes.detach()
    present = prototypes.abs().sum(1) > 0
    weights = weights.to(q.dtype) * present[labels]
    # An absent anchor's row would be -inf - -inf; a finite stand-in keeps its (weightless) gradient finite.
    logits = (q @ prototypes.t() / temperature).masked_fill(~present, torch.finfo(q.dtype).min / 4)
    losses = F.cross_entropy(logits, labels, reduction="none")
    losses = torch.where(weights > 0, losses, torch.zeros_like(losses))
    return (weights * losses).sum() / weights.sum().clamp_min(1e-8)


def prototype_separation(
    q: Tensor, prototypes: Tensor, labels: Tensor, weights: Tensor, temperature: float = 0.07
) -> Tensor:
    """The other reading of "inter-cluster": a batch's class centroids against the prototypes of other classes.

    With ``b_c = normalise(sum_{i: y_i = c} w_i q_i)``: the mean over the classes of the batch of
    ``log mean_{c' != c} exp(b_c.mu_c' / T)``, which falls as classes part.

    Args:
        q: queries ``(B, d)``, unit rows; the gradient flows here alone.
        prototypes: ``class_prototypes(...)``, ``(C, d)``; rows of zeros are empty classes.
        labels: pseudo-label ``(B,)``.
        weights: confidence ``(B,)`` in [0, 1].
        temperature: T > 0.

    Returns:
        A scalar in [-1 / T, 1 / T]; 0 when there are no two classes to part.
    """
    prototypes = prototypes.detach()
    classes = len(prototypes)
    members = F.one_hot(labels, classes).to(q.dtype) * weights.to(q.dtype)[:, None]
    here = (members.sum(0) > 0).nonzero().squeeze(1)
    present = prototypes.abs().sum(1) > 0
    others = present[None, :] & (here[:, None] != torch.arange(classes, device=q.device))
    count = others.sum(1)
    here, others, count = here[count > 0], others[count > 0], count[count > 0]
    if not len(here):
        return q.sum() * 0
    centroids = F.normalize(members.t()[here] @ q, dim=1)
    scores = (centroids @ prototypes.t() / temperature).masked_fill(~others, -torch.inf)
    return (torch.logsumexp(scores, dim=1) - count.to(q.dtype).log()).mean()
