"""How many clusters there are, told by how well clusters are separated: silhouette and gap statistic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from crosslens.ops.kmeans import kmeans
from crosslens.support.errors import TrainingError

RESTARTS = 10
"""Of k-means: one merged and one split pair of clusters looks like another count."""


def best_silhouette(points: Tensor, counts: Sequence[int], *, seed: int = 0, sample: int = 1000) -> int:
    """The count whose k-means clusters have the largest mean silhouette (Rousseeuw, 1987).

    Args:
        points: ``(N, d)``.
        counts: ascending, each at least 2 and below N.
        seed: of k-means and of the sample.
        sample: points that the silhouette is taken of, at most.

    Raises:
        TrainingError: when all points are equal, so that no count has two clusters.
    """
    from sklearn.metrics import silhouette_score

    rows = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))[:sample]
    chosen = points[rows].numpy()
    best, best_score = 0, -np.inf
    for count in counts:
        labels = kmeans(points, count, seed=seed, restarts=RESTARTS).assignments[rows].numpy()
        if not 2 <= len(np.unique(labels)) < len(labels):
            continue
        score = float(silhouette_score(chosen, labels))
        if score > best_score:
            best, best_score = count, score
    if not best:
        raise TrainingError("the images form no two clusters; give their number yourself (--set clusters=N)")
    return best


def gap_statistic(points: Tensor, counts: Sequence[int], *, seed: int = 0, references: int = 5) -> int:
    """The smallest count whose gap is within one standard error of the next one's (Tibshirani et al., 2001).

    The gap is the mean log error of k-means on ``references`` clouds without clusters, uniform in the box of the
    points' principal components, less the log error on the points.

    Args:
        points: ``(N, d)``.
        counts: ascending.
        seed: of k-means and of the clouds.
        references: clouds.

    Returns:
        One of ``counts``; the one of the largest gap when no count meets the rule.
    """
    centred = points - points.mean(0)
    axes = torch.linalg.svd(centred, full_matrices=False)[2]
    turned = centred @ axes.t()
    low, high = turned.min(0).values, turned.max(0).values
    generator = torch.Generator().manual_seed(seed)
    clouds = [low + (high - low) * torch.rand(turned.shape, generator=generator) for _ in range(references)]

    def log_error(rows: Tensor, count: int) -> float:
        return float(np.log(max(kmeans(rows, count, seed=seed, restarts=RESTARTS).objective, 1e-12)))

    own = np.array([log_error(turned, count) for count in counts])
    other = np.array([[log_error(cloud, count) for count in counts] for cloud in clouds])
    gaps = other.mean(0) - own
    errors = other.std(0) * np.sqrt(1 + 1 / references)
    for i in range(len(counts) - 1):
        if gaps[i] >= gaps[i + 1] - errors[i + 1]:
            return int(counts[i])
    return int(counts[int(np.argmax(gaps))])
