"""Losses of TKI (reconstruction), on texts alone: domain words that differ, keep the class, and are then dropped.

TKI's abstract names its parts; their forms are those of PromptStyler and its relatives, since the paper's own were
not available (docs/methods/tki.md). Shapes: K domain words, N classes, D dimensions, B texts a step.
"""

from __future__ import annotations

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
