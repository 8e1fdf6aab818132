"""Inter-domain contrast: images against the other domain (CLAIR; a reconstruction).

Pseudo-classes have names, so both domains share them and a positive in the other domain is known without matching.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from crosslens.losses.instance import bank_logits
from crosslens.losses.inter_cluster import inter_cluster_contrast


def inter_domain_contrast(
    q: Tensor, other_prototypes: Tensor, labels: Tensor, weights: Tensor, temperature: float = 0.07
) -> Tensor:
    """Level ``prototype``: ``l_i = -log softmax_c(q_i.mu'_c / T)`` with the other domain's prototypes mu'.

    Averaging over a class is what suppresses label noise, so this level is the default.

    Args:
        q: queries ``(B, d)`` of one domain, unit rows; the gradient flows here alone.
        other_prototypes: prototypes ``(C, d)`` of the other domain; rows of zeros are empty classes.
        labels: pseudo-label ``(B,)`` of the queries.
        weights: confidence ``(B,)`` in [0, 1].
        temperature: T > 0.

    Returns:
        A scalar >= 0; anchors whose class is empty in the other domain drop out.
    """
    return inter_cluster_contrast(q, other_prototypes, labels, weights, temperature)


def inter_domain_instances(
    q: Tensor,
    labels: Tensor,
    weights: Tensor,
    other_bank: Tensor,
    other_labels: Tensor,
    other_weights: Tensor,
    temperature: float = 0.07,
) -> Tensor:
    """Level ``instance``: every kept entry of the other domain's bank with the own pseudo-class is a positive.

    ``l_i = lse_j(s_ij) - sum_{j: y_j = y_i} w_j s_ij / sum_{j: y_j = y_i} w_j`` over the kept entries j of
    the other bank; a weighted mean over the anchors whose class occurs there.

    Args:
        q: queries ``(B, d)``, unit rows; the gradient flows here alone.
        labels, weights: pseudo-label and confidence ``(B,)`` of the queries.
        other_bank: ``(N', d)``, unit rows.
        other_labels, other_weights: pseudo-label and confidence ``(N',)`` of its entries.
        temperature: T > 0.

    Returns:
        A scalar >= 0; 0 when no anchor takes part.
    """
    other_bank = other_bank.detach()
    entries = other_weights.to(q.dtype)
    count = int(max(labels.max(), other_labels.max())) + 1
    members = F.one_hot(other_labels, count).to(q.dtype) * entries[:, None]
    mass = members.sum(0)
    means = members.t() @ other_bank / mass.clamp_min(1e-8)[:, None]
    anchors = weights.to(q.dtype) * (mass[labels] > 0)
    if not bool((anchors > 0).any()):
        return q.sum() * 0
    scores = bank_logits(q, other_bank, temperature).masked_fill(entries <= 0, -torch.inf)
    losses = torch.logsumexp(scores, dim=1) - (q * means[labels]).sum(1) / temperature
    return (anchors * losses).sum() / anchors.sum().clamp_min(1e-8)
