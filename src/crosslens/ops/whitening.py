"""Closed-form steps of the parts beside a head: whitening within pseudo-classes, shares, powers of features."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from crosslens.ops.rounding import NOISE


def within_class_whitening(
    rows: Tensor, labels: Tensor, weights: Tensor, classes: int, ridge: float = 10.0
) -> Tensor:
    """``(S_w + r (tr T / d) I)^-1/2``: shrinks directions in which images of one class differ.

    S_w is the weighted scatter of the rows about their class's mean over all domains together, T their total
    second moment. What varies within classes says little about any class, new ones too, so the map serves classes
    it never saw (linear discriminant analysis without the projection on known classes).

    Args:
        rows: ``(N, d)``, unit rows of all domains, each domain centred.
        labels: pseudo-labels ``(N,)`` in 0..C-1.
        weights: confidence ``(N,)``; 0 leaves an image out.
        classes: C.
        ridge: r > 0.

    Returns:
        ``(d, d)``, symmetric, float32; scaled to a mean eigenvalue of 1. Directions in which rows hold nothing but
        rounding are 0.
    """
    rows, weights = rows.double(), weights.double()
    shares = F.one_hot(labels, classes).double() * weights[:, None]
    means = (shares / shares.sum(0).clamp_min(1e-12)).t() @ rows
    residual = (rows - means[labels]) * weights.sqrt()[:, None]
    scatter = residual.t() @ residual / weights.sum().clamp_min(1e-12)
    scale = rows.square().sum() / rows.numel()
    values, vectors = torch.linalg.eigh(scatter + ridge * scale * torch.eye(rows.shape[1], dtype=torch.float64))
    # Without rows that differ there is nothing to shrink, and nothing to tell the directions apart by.
    there = (values > NOISE**2 * values[-1]) | (values[-1] <= 0)
    roots = torch.where(there & (values > 0), values, 1.0).rsqrt() * there
    return ((vectors * (roots / roots.mean())) @ vectors.t()).float()


def balanced_share(
    main: Tensor, base: Tensor, other_main: Tensor, other_base: Tensor, ratio: float = 1.0
) -> float:
    """The share w of a second part beside a first by how much each moves scores.

    With cosines s between two domains' images: ``(1 - w) std(s_main) = r w std(s_base)``.

    Args:
        main, base: unit rows ``(N, d)`` and ``(N, e)`` of one domain.
        other_main, other_base: the same of the other domain.
        ratio: r > 0; 1 lets both move scores alike, less gives the second part more.

    Returns:
        w in [0, 1].
    """
    first, second = float((main @ other_main.t()).std()), float((base @ other_base.t()).std())
    total = first + ratio * second
    return first / total if total > NOISE else 0.0


def join_shares(main: Tensor, base: Tensor, share: float) -> Tensor:
    """Unit rows ``(N, d)`` and ``(N, e)`` as unit rows ``(N, d + e)``.

    The cosine of two of these is ``(1 - w)`` times that of the first parts and w times that of the second.

    Args:
        main, base: unit rows.
        share: w in [0, 1]; see ``balanced_share``.
    """
    return torch.cat([(1 - share) ** 0.5 * main, share**0.5 * base], dim=1)


def powered(features: Tensor, power: float) -> Tensor:
    """``sign(x) |x|^p`` of features ``(N, D)``, unit rows: below 1 a few large entries outshine the rest less.

    Power normalisation of Fisher vectors (Perronnin et al., 2010); p = 1/2 on non-negative features is the
    Hellinger kernel.
    """
    return F.normalize(features if power == 1 else features.sign() * features.abs() ** power, dim=1)
