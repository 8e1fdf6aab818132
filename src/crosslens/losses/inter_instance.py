"""Inter-instance contrast with pseudo-labels (CLAIR; a reconstruction).

The paper states the term's name and purpose; the form is UCDIR's cluster-wise contrast with the pseudo-class in
the place of the cluster, and a confidence on every image.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from crosslens.losses.instance import bank_logits


def inter_instance_contrast(
    q: Tensor,
    keys: Tensor,
    bank: Tensor,
    index: Tensor,
    labels: Tensor,
    weights: Tensor,
    temperature: float = 0.07,
    logits: Tensor | None = None,
) -> Tensor:
    """Every kept bank entry of the own pseudo-class is a positive, by its confidence; the own key always is.

    With candidates A_i = own key and kept entries j != i, positives P_i = own key and those of A_i with i's label,
    and w = 1 for the own key:
    ``l_i = lse_{a in A_i}(s_ia) - sum_{j in P_i} w_j s_ij / sum_{j in P_i} w_j``,
    ``L = sum_i w_i l_i / sum_i w_i``. s is linear in the bank, so the sum over positives is a product with the
    class's weighted sum of entries: no ``(B, N)`` mask of positives is built.

    Args:
        q: queries ``(B, d)``, unit rows; the gradient flows here alone.
        keys: keys ``(B, d)`` of the same images, unit rows.
        bank: memory bank ``(N, d)`` of this domain, with the keys already written to their slots.
        index: slots ``(B,)`` of the images.
        labels: pseudo-label ``(N,)`` of every slot, in 0..C-1.
        weights: confidence ``(N,)`` in [0, 1] of every slot; 0 leaves the image out as anchor, positive and
            negative.
        temperature: T > 0.
        logits: ``bank_logits(q, bank, temperature)`` when already at hand.

    Returns:
        A scalar >= 0; 0 when no image of the batch is kept.
    """
    bank, keys = bank.detach(), keys.detach()
    weights = weights.to(bank.dtype)
    scores = bank_logits(q, bank, temperature) if logits is None else logits
    own = (q * keys).sum(1) / temperature
    scores = scores.masked_fill(weights <= 0, -torch.inf).scatter(1, index[:, None], own[:, None])
    mine, anchors = labels[index], weights[index]
    classes = F.one_hot(labels).to(bank.dtype) * weights[:, None]
    # Sums over a class less the own slot, whose place the own key takes with weight 1.
    sums = (classes.t() @ bank)[mine] - anchors[:, None] * bank[index] + keys
    mass = classes.sum(0)[mine] - anchors + 1
    attraction = (q * sums).sum(1) / mass / temperature
    losses = torch.logsumexp(scores, dim=1) - attraction
    return (anchors * losses).sum() / anchors.sum().clamp_min(1e-8)
