"""Labels and confidences from a vision-language model's scores, without any true label (CLAIR)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from crosslens.ops.rounding import difference
from crosslens.support.errors import TrainingError

Calibration = Literal["none", "centre", "standardise"]
Confidence = Literal["share", "cosine", "margin"]


@dataclass(frozen=True)
class PseudoLabels:
    """What is believed of the N images of one domain.

    Attributes:
        posteriors: ``(N, C)``, rows sum to 1.
        labels: ``(N,)``, the likeliest class.
        confidence: ``(N,)`` in [0, 1].
        kept: ``(N,)`` bool: confident enough to teach.
    """

    posteriors: Tensor
    labels: Tensor
    confidence: Tensor
    kept: Tensor

    @property
    def weights(self) -> Tensor:
        """``(N,)``: the confidence where kept, else 0."""
        return self.confidence * self.kept

    def account(self, names: tuple[str, ...]) -> dict[str, Any]:
        """What a reader should know: shares, classes without an image, effective number of classes.

        Args:
            names: the C class names.
        """
        counts = torch.bincount(self.labels, minlength=len(names))
        kept = torch.bincount(self.labels[self.kept], minlength=len(names))
        shares = counts[counts > 0].double() / counts.sum()
        return {
            "images": len(self.labels),
            "kept_share": float(self.kept.double().mean()),
            "mean_confidence": float(self.confidence.mean()),
            "effective_classes": float(torch.exp(-(shares * shares.log()).sum())),
            "empty_classes": [name for name, count in zip(names, kept.tolist(), strict=True) if count == 0],
            "classes": {
                name: {"labelled": all_, "kept": some}
                for name, all_, some in zip(names, counts.tolist(), kept.tolist(), strict=True)
            },
        }


def calibrated(scores: Tensor, calibration: Calibration) -> Tensor:
    """Take from one domain's scores what its look alone puts there.

    A look lifts or lowers a class's score on every image of the domain: all line drawings resemble the text of one
    class a little. ``centre`` subtracts each class's mean over the domain, ``standardise`` also divides by its
    standard deviation, so that no class wins by its scale.

    Args:
        scores: ``(N, C)`` of one domain's images.
        calibration: see above; ``none`` leaves them.

    Returns:
        ``(N, C)``; with ``standardise`` every column has mean 0 and deviation 1 (0 where it is constant).
    """
    if calibration == "none":
        return scores
    centred = difference(scores, scores.mean(0), dim=0)
    if calibration == "centre" or len(scores) < 2:
        return centred
    deviation = centred.std(0)
    return torch.where(deviation > 1e-8, centred / deviation.clamp_min(1e-8), torch.zeros_like(centred))


def pseudo_labels(
    scores: Tensor,
    temperature: float,
    *,
    keep: float = 0.7,
    floor: float = 0.1,
    fixed: float | None = None,
    confidence: Confidence = "share",
    is_weighted: bool = True,
) -> PseudoLabels:
    """Labels, confidences and the filter for one domain.

    ``p = softmax(s / T)``, label argmax, confidence ``w`` the label's share, kept where ``w >= max(delta, floor)``
    with delta the (1 - keep) quantile of w over the domain's images of the same label: every label keeps its best
    share, so that neither an easy class nor an easy domain takes everything.

    Args:
        scores: ``(N, C)``, finite; cosines or calibrated scores.
        temperature: T > 0; 0.01 for CLIP's cosines.
        keep: share of each label's images that is kept, in (0, 1].
        floor: least confidence of a kept image.
        fixed: one threshold for all instead of the quantile.
        confidence: ``share`` of the softmax; ``cosine``, the score scaled to [0, 1] over the domain; or ``margin``
            between the two best shares.
        is_weighted: whether kept images count by their confidence, or all alike.

    Raises:
        TrainingError: when a score is not finite or there is no class.
    """
    if scores.ndim != 2 or not scores.shape[1]:
        raise TrainingError(f"scores must be (images, classes), not {tuple(scores.shape)}")
    if not torch.isfinite(scores).all():
        bad = int((~torch.isfinite(scores).all(1)).sum())
        raise TrainingError(f"the class scores of {bad} of {len(scores)} images are NaN or infinite")
    posteriors = torch.softmax(scores.double() / temperature, dim=1)
    shares, labels = posteriors.max(dim=1)
    trust = shares
    if confidence == "cosine":
        best = scores.double().gather(1, labels[:, None]).squeeze(1)
        above = difference(best[:, None], best.min().view(1, 1), dim=0).squeeze(1)
        trust = above / above.max() if bool(above.any()) else above
    elif confidence == "margin" and scores.shape[1] > 1:
        two = posteriors.topk(2, dim=1).values
        trust = two[:, 0] - two[:, 1]
    if fixed is not None:
        kept = trust >= fixed
    else:
        kept = trust >= floor
        for label in labels.unique():
            own = labels == label
            kept &= ~own | (trust >= torch.quantile(trust[own], 1 - keep))
    weights = trust if is_weighted else torch.ones_like(trust)
    return PseudoLabels(posteriors.float(), labels, weights.float(), kept)


def refreshed_scores(prior: Tensor, rows: Tensor, prototypes: Tensor, temperature: float) -> Tensor:
    """Scores for labelling anew: log of ``0.5 p_i + 0.5 softmax_c(M_i.mu_c / T)``, to be used with temperature 1.

    Args:
        prior: posteriors ``(N, C)``.
        rows: features ``(N, d)``, unit rows.
        prototypes: ``(C, d)``; rows of zeros are empty classes and get no share.
        temperature: T > 0.
    """
    present = prototypes.abs().sum(1) > 0
    logits = (rows @ prototypes.t() / temperature).masked_fill(~present, -torch.inf)
    found = torch.softmax(logits, dim=1) if bool(present.any()) else prior
    return (0.5 * prior + 0.5 * found).clamp_min(1e-12).log()
