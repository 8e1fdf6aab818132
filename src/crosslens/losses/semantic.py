"""UEM's losses that keep and carry category structure (UEM, NeurIPS 2024, eq. 6, 7, 11, 14 and 17)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Negatives = Literal["batch", "bank"]
Reduction = Literal["mean", "sum"]


def slow_bank_contrast(
    z: Tensor,
    bank: Tensor,
    index: Tensor,
    temperature: float = 0.07,
    negatives: Negatives = "batch",
    reduction: Reduction = "mean",
) -> Tensor:
    """Instance part L_INCE: every image against the slow memory rows of its own domain (eq. 6).

    ``mean_i -log( exp(z_i.m_i/T) / sum_j exp(z_i.m_j/T) )``. The printed sum runs over the rows of the batch, the
    sentence around it speaks of all images. An image that is in the batch twice counts once in the sum.

    Args:
        z: features ``(B, d)``, unit rows; the gradient flows here alone.
        bank: memory bank ``(N, d)`` of this domain, from before this step.
        index: slots ``(B,)`` of the images.
        temperature: T > 0.
        negatives: ``batch``, the equation; ``bank``, the sentence.
        reduction: over the batch; the equation prints a sum, beside means in others.

    Returns:
        A scalar >= 0.
    """
    bank = bank.detach()
    if negatives == "bank":
        return F.cross_entropy(z @ bank.t() / temperature, index, reduction=reduction)
    slots, place = torch.unique(index, return_inverse=True)
    return F.cross_entropy(z @ bank[slots].t() / temperature, place, reduction=reduction)


def prototype_loss(
    z: Tensor, prototypes: Tensor, own: Tensor, temperature: float = 0.07, reduction: Reduction = "mean"
) -> Tensor:
    """Prototype part L_PNCE over one domain's unified prototypes (eq. 7).

    ``mean_i -log( exp(z_i.p_u(i)/T) / sum_c exp(z_i.p_c/T) )``.

    Args:
        z: features ``(B, d)``, unit rows; the gradient flows here alone.
        prototypes: ``(U, d)``, unit rows.
        own: position ``(B,)`` of each image's cluster among the unified prototypes.
        temperature: T > 0.
        reduction: over the batch; the equation prints a sum.

    Returns:
        A scalar >= 0.
    """
    return F.cross_entropy(z @ prototypes.detach().t() / temperature, own, reduction=reduction)


def semantic_enhanced(
    z: Tensor, prototypes: Tensor, temperature: float = 0.07, *, detach_weights: bool = False
) -> Tensor:
    """Semantic-enhanced loss L_SEL: a softly weighted pull to every prototype (eq. 11).

    ``mean_i sum_c softmax_c(z_i.p_c/T) |z_i - p_c|``, the distance not squared.

    Args:
        z: features ``(B, d)``, unit rows.
        prototypes: ``(U, d)`` of any length; no gradient reaches them.
        temperature: T > 0.
        detach_weights: treat the weights as constants.

    Returns:
        A scalar >= 0; at most 2 with unit prototypes.
    """
    prototypes = prototypes.detach()
    products = z @ prototypes.t()
    weights = torch.softmax(products / temperature, dim=1)
    if detach_weights:
        weights = weights.detach()
    squares = z.square().sum(1, keepdim=True) + prototypes.square().sum(1)
    distances = (squares - 2 * products).clamp_min(1e-12).sqrt()
    return (weights * distances).sum(1).mean()


def semantic_preserving(z: Tensor, frozen: Tensor) -> Tensor:
    """Semantic-preserving regulariser L_SPR: pairwise relations stay what the frozen encoder made them (eq. 14).

    ``1/B^2 sum_ij [cos(z_i, z_j) - cos(z'_i, z'_j)]^2 + [|z_i - z_j| - |z'_i - z'_j|]^2`` within one domain.
    A common rotation of the features changes nothing.

    Args:
        z: features ``(B, d)``, unit rows; the gradient flows here alone.
        frozen: features ``(B, d)`` of the same inputs by the frozen encoder, unit rows.

    Returns:
        A scalar >= 0.
    """
    cosines, before = z @ z.t(), frozen.detach() @ frozen.detach().t()
    distances, distances_before = _unit_distances(cosines), _unit_distances(before)
    return (cosines - before).square().mean() + (distances - distances_before).square().mean()


def switchable_match_loss(
    z: Tensor,
    prototypes: Tensor,
    bank: Tensor,
    target: Tensor,
    neighbour: Tensor,
    reliable: Tensor,
    temperature: float = 0.07,
    excluded: Tensor | None = None,
) -> Tensor:
    """L_SN2M: pull an anchor to its cluster's counterpart and, when it is reliable, to its neighbour (eq. 17).

    ``mean_i -log( D_i / (sum_c exp(z_i.p_c/T) + sum_j exp(z_i.f_j/T)) )`` with ``D_i = exp(z_i.p_t/T)``, plus
    ``exp(z_i.f_n/T)`` for a reliable anchor. Everything but z belongs to the other domain.

    Args:
        z: anchors ``(B, d)`` of one domain, unit rows; the gradient flows here alone.
        prototypes: unified prototypes ``(U, d)`` of the other domain, unit rows.
        bank: features ``(N, d)`` of the other domain's images, unit rows.
        target: position ``(B,)`` of the anchors' counterparts among the prototypes.
        neighbour: nearest image ``(B,)`` of the other domain.
        reliable: ``(B,)`` bool, whether the neighbour's prototype is the counterpart.
        temperature: T > 0.
        excluded: ``(B, N)`` bool, images left out of the denominator (a deviation from the paper); a neighbour
            that is a positive always stays in.

    Returns:
        A scalar >= 0.
    """
    to_prototypes = z @ prototypes.detach().t() / temperature
    to_images = z @ bank.detach().t() / temperature
    to_target = to_prototypes.gather(1, target[:, None])
    to_neighbour = to_images.gather(1, neighbour[:, None])
    silent = torch.finfo(z.dtype).min
    positives = torch.cat([to_target, to_neighbour.masked_fill(~reliable[:, None], silent)], dim=1)
    if excluded is not None:
        keep = torch.zeros_like(excluded).scatter(1, neighbour[:, None], reliable[:, None])
        to_images = to_images.masked_fill(excluded & ~keep, silent)
    everything = torch.cat([to_prototypes, to_images], dim=1)
    return (torch.logsumexp(everything, dim=1) - torch.logsumexp(positives, dim=1)).mean()


def neighbour_match_loss(z: Tensor, bank: Tensor, neighbour: Tensor, temperature: float = 0.07) -> Tensor:
    """What stands in for L_SN2M in the paper's ablation: the nearest neighbour as an always-on positive.

    ``mean_i -log( exp(z_i.f_n/T) / sum_j exp(z_i.f_j/T) )``; the paper says only "the nearest-neighbour search of
    UCDIR", whose code has none, so this form is a reconstruction.

    Args:
        z: anchors ``(B, d)``, unit rows; the gradient flows here alone.
        bank: features ``(N, d)`` of the other domain's images, unit rows.
        neighbour: nearest image ``(B,)`` of the other domain.
        temperature: T > 0.

    Returns:
        A scalar >= 0.
    """
    return F.cross_entropy(z @ bank.detach().t() / temperature, neighbour)


def _unit_distances(cosines: Tensor) -> Tensor:
    """Distances of unit rows from their cosines, with a finite gradient where two rows coincide."""
    return (2 - 2 * cosines).clamp_min(1e-8).sqrt()
