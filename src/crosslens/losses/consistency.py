"""Consistency with the frozen model: what keeps a tuned encoder open to new classes (CLAIR, after CoPrompt)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def consistency(
    student: Tensor,
    teacher: Tensor,
    vocabulary: Tensor | None = None,
    vocabulary_weight: float = 0.0,
    temperature: float = 0.01,
) -> Tensor:
    """L_gen: ``mean_i (1 - z_i.f_i) + beta mean_i KL(softmax(f_i V^T / T) || softmax(z_i V^T / T))``.

    It needs no label, so images that the confidence filter drops take part too. The teacher's features are those
    of the centre views while the student sees an augmented one; that is meant.

    Args:
        student: ``(B, d)``, unit rows; the gradient flows here alone.
        teacher: features ``(B, d)`` of the frozen model for the same images, unit rows.
        vocabulary: V, text embeddings ``(T, d)`` of many nouns without any name of a test class; None leaves the
            second part out.
        vocabulary_weight: beta >= 0.
        temperature: T > 0.

    Returns:
        A scalar >= 0.
    """
    teacher = teacher.detach()
    loss = (1 - (student * teacher).sum(1)).mean()
    if vocabulary is None or not vocabulary_weight:
        return loss
    expected = torch.softmax(teacher @ vocabulary.t() / temperature, dim=1)
    found = torch.log_softmax(student @ vocabulary.t() / temperature, dim=1)
    return loss + vocabulary_weight * F.kl_div(found, expected, reduction="batchmean")
