"""Instance contrast against a memory bank (InfoNCE per domain; UCDIR ``builder.py``)."""

from __future__ import annotations

import torch
from torch import Tensor


def bank_logits(q: Tensor, bank: Tensor, temperature: float) -> Tensor:
    """Similarities of queries with a whole bank, over the temperature: ``s = q M^T / T``.

    Args:
        q: queries ``(B, d)``, unit rows.
        bank: memory bank ``(N, d)``, unit rows, one per image; no gradient reaches it.
        temperature: T > 0.

    Returns:
        ``(B, N)``.
    """
    return (q / temperature) @ bank.detach().t()


def instance_contrast(
    q: Tensor,
    keys: Tensor,
    bank: Tensor,
    index: Tensor,
    temperature: float = 0.2,
    logits: Tensor | None = None,
    log_total: Tensor | None = None,
) -> Tensor:
    """Instance contrast L_I: each image against every other image of its own domain.

    ``mean_i -log( exp(q_i.k_i/T) / (exp(q_i.k_i/T) + sum_{j != index_i} exp(q_i.M_j/T)) )``. Only the image's own
    slot leaves the negatives; other images of the batch stay. An image that is in the batch twice keeps its own
    key as the positive, whichever of the two the slot holds.

    Args:
        q: queries ``(B, d)``, unit rows; the gradient flows here alone.
        keys: keys ``(B, d)`` of the same images, unit rows.
        bank: memory bank ``(N, d)`` of this domain, with the keys already written to their slots.
        index: slots ``(B,)`` of the images.
        temperature: T > 0.
        logits: ``bank_logits(q, bank, temperature)`` when already at hand.
        log_total: ``logsumexp(logits, dim=1)`` ``(B,)`` when already at hand; it is the denominator unless an
            image is in the batch twice.

    Returns:
        A scalar >= 0.
    """
    own = (q * keys.detach()).sum(1) / temperature
    if log_total is not None and torch.equal(bank[index], keys):
        return (log_total - own).mean()
    scores = bank_logits(q, bank, temperature) if logits is None else logits
    # Replacing the own slot by q.k is the plain formula; without repeated images it changes nothing.
    scores = scores.scatter(1, index[:, None], own[:, None])
    return (torch.logsumexp(scores, dim=1) - own).mean()
