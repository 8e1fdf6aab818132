"""Losses of learnable text contexts (CLAIR, as in CoOp): images against class texts, texts near written ones."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def text_contrast(q: Tensor, texts: Tensor, labels: Tensor, weights: Tensor, temperature: float = 0.2) -> Tensor:
    """``-log softmax_c(q_i.t_c / T)`` at the pseudo-class, a weighted mean (CoOp's classification).

    Unlike prototypes, texts are learned: the gradient flows to both sides.

    Args:
        q: image vectors ``(B, d)``, unit rows.
        texts: class texts ``(C, d)``, unit rows.
        labels: pseudo-label ``(B,)``.
        weights: confidence ``(B,)`` in [0, 1].
        temperature: T > 0.

    Returns:
        A scalar >= 0; 0 when no image takes part.
    """
    losses = F.cross_entropy(q @ texts.t() / temperature, labels, reduction="none")
    weights = weights.to(q.dtype)
    return (weights * losses).sum() / weights.sum().clamp_min(1e-8)


def text_consistency(texts: Tensor, written: Tensor) -> Tensor:
    """``mean_c (1 - t_c.w_c)`` of learned class texts ``(C, d)`` and those of written prompts, unit rows."""
    return (1 - (texts * written.detach()).sum(1)).mean()
