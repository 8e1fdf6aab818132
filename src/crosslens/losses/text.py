"""Losses of TKI (reconstruction), on texts alone: domain words that differ, keep the class, and are then dropped.

TKI's abstract names its parts; their forms are those of PromptStyler and its relatives, since the paper's own were
not available (docs/methods/tki.md). Shapes: K domain words, N classes, D dimensions, B texts a step.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def diversity(features: Tensor, others: Tensor, own: Tensor | None = None) -> Tensor:
    """L_div: mean absolute cosine of words' class-free features with those of other words.

    Args:
        features: ``(B, D)`` unit rows, one a word being learned.
        others: ``(M, D)`` unit rows; all words before it when they are learned one after the other.
        own: ``(B,)`` the row of ``others`` that is the word itself and does not count; None when none is.

    Returns:
        A scalar in [0, 1]; 0 when there are no others.
    """
    cosines = (features @ others.t()).abs()
    if own is not None:
        cosines = cosines * (1 - F.one_hot(own, len(others)).to(cosines.dtype))
    count = len(features) * (len(others) - (own is not None))
    return cosines.sum() / max(count, 1)


def consistency(texts: Tensor, classes: Tensor, index: Tensor, temperature: float = 1.0) -> Tensor:
    """L_sem: a text with a domain word must stay nearest to its own class.

    Args:
        texts: ``(B, D)`` unit rows, "a [w] style of a [c]".
        classes: ``(N, D)`` unit rows, "[c]".
        index: ``(B,)`` class of each text.
        temperature: tau_e > 0; 1 in the published relatives.

    Returns:
        A scalar >= 0; about log N at temperature 1.
    """
    return F.cross_entropy(texts @ classes.t() / temperature, index)


def proxy_nca(distances: Tensor, index: Tensor, temperature: float, margin: float = 0.0) -> Tensor:
    """L_agg: softmax over the class proxies of minus the distance.

    Args:
        distances: ``(B, N)`` of each text to every proxy.
        index: ``(B,)`` class of each text.
        temperature: tau > 0.
        margin: taken off the distance to every other proxy.

    Returns:
        A scalar >= 0.
    """
    if margin:
        distances = distances - margin * (1 - F.one_hot(index, distances.shape[1]).to(distances.dtype))
    return F.cross_entropy(-distances / temperature, index)


def proxy_anchor(distances: Tensor, index: Tensor, scale: float = 32.0, margin: float = 0.1) -> Tensor:
    """L_agg as Proxy-Anchor (Kim et al., 2020) on distances, first divided by the batch's mean distance.

    ``1/|P+| sum_(p in P+) log(1 + sum_(x of p) exp(scale (d - margin)))
    + 1/N sum_p log(1 + sum_(x not of p) exp(-scale (d + margin)))``

    Args:
        distances: ``(B, N)`` of each text to every proxy.
        index: ``(B,)`` class of each text.
        scale: alpha > 0.
        margin: delta.

    Returns:
        A scalar >= 0.
    """
    scaled = distances / distances.detach().mean().clamp_min(1e-8)
    own = F.one_hot(index, distances.shape[1]).bool()
    zero = scaled.new_zeros(1, scaled.shape[1])
    near = (scale * (scaled - margin)).masked_fill(~own, -math.inf)
    far = (-scale * (scaled + margin)).masked_fill(own, -math.inf)
    positive = torch.logsumexp(torch.cat([zero, near]), dim=0)
    negative = torch.logsumexp(torch.cat([zero, far]), dim=0)
    return positive[own.any(0)].mean() + negative.mean()


def arcface(cosines: Tensor, index: Tensor, scale: float = 5.0, margin: float = 0.5) -> Tensor:
    """ArcFace (Deng et al., 2019) with PromptStyler's scale and margin, on cosines to normalised class weights.

    Args:
        cosines: ``(B, N)`` in [-1, 1].
        index: ``(B,)`` class of each text.
        scale: > 0.
        margin: added to the angle of the own class, in radians.
    """
    angles = torch.acos(cosines.clamp(-1 + 1e-7, 1 - 1e-7))
    own = F.one_hot(index, cosines.shape[1]).to(cosines.dtype)
    return F.cross_entropy(scale * torch.cos(angles + margin * own), index)


def relation_keeping(texts: Tensor, distances: Tensor, temperature: float, sharpness: float = 0.05) -> Tensor:
    """Keeps neighbourhoods of classes: ``KL(softmax(<t_n, t_m> / sharpness) || softmax(-d(p_n, p_m) / tau))``.

    Args:
        texts: ``(N, D)`` unit class features before the projection.
        distances: ``(N, N)`` between their projections.
        temperature: tau of the projected side.
        sharpness: temperature of the text side.

    Returns:
        A scalar >= 0, the mean over classes; every class is left out of its own row.
    """
    itself = torch.eye(len(texts), dtype=torch.bool, device=texts.device)
    before = (texts @ texts.t() / sharpness).masked_fill(itself, -torch.inf)
    after = (-distances / temperature).masked_fill(itself, -torch.inf)
    wanted = torch.log_softmax(before, dim=1).masked_fill(itself, 0)
    found = torch.log_softmax(after, dim=1).masked_fill(itself, 0)
    share = wanted.exp().masked_fill(itself, 0)
    return (share * (wanted - found)).sum(1).mean()
