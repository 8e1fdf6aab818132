"""Euclidean k-means: faiss on a CPU with the papers' settings, a batched Lloyd in torch on a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from crosslens.ops.faiss_kmeans import faiss_kmeans
from crosslens.support.errors import TrainingError

First = Literal["random", "k-means++"]


@dataclass(frozen=True)
class Clusters:
    """A k-means solution of N points.

    Attributes:
        assignments: nearest centroid of each point ``(N,)`` int64.
        centroids: plain means ``(C, d)``.
        objective: sum of squared distances of the points to their centroids.
    """

    assignments: Tensor
    centroids: Tensor
    objective: float

    @property
    def prototypes(self) -> Tensor:
        """The centroids with unit rows ``(C, d)``, as the contrastive losses use them."""
        return F.normalize(self.centroids, dim=1)


def kmeans(
    points: Tensor,
    clusters: int,
    *,
    seed: int = 0,
    iterations: int = 20,
    restarts: int = 5,
    start: Tensor | None = None,
    first: First = "random",
) -> Clusters:
    """Euclidean k-means of ``points``; the best of ``restarts`` runs.

    UCDIR's settings are the defaults: 20 iterations, 5 restarts, seed 0, random distinct points as first
    centroids, no spherical normalisation. The same input and seed give the same clusters.

    Args:
        points: ``(N, d)`` float32, finite.
        clusters: C, at most N.
        seed: of the first centroids.
        iterations: Lloyd steps of a run.
        restarts: runs from other first centroids; one with ``start``.
        start: first centroids ``(C, d)``, such as the previous epoch's (warm start).
        first: how first centroids are chosen without ``start``; ``k-means++`` is ``spread_start``.

    Raises:
        TrainingError: when C < 1, C > N, or a value is not finite.
    """
    _check_points(points, clusters)
    if start is None and first == "k-means++":
        generator = torch.Generator().manual_seed(seed)
        starts = [spread_start(points, clusters, generator) for _ in range(restarts)]
        runs = [kmeans(points, clusters, seed=seed, iterations=iterations, start=chosen) for chosen in starts]
        return min(runs, key=lambda run: run.objective)
    if points.device.type == "cuda":
        return lloyd(points, clusters, seed=seed, iterations=iterations, restarts=restarts, start=start)
    rows, first_rows = points.detach().numpy(), None if start is None else start.detach().numpy()
    found = faiss_kmeans(rows, clusters, seed=seed, iterations=iterations, restarts=restarts, start=first_rows)
    return Clusters(torch.from_numpy(found.assignments), torch.from_numpy(found.centroids), found.objective)


def spread_start(points: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """First centroids far from each other: k-means++ (Arthur and Vassilvitskii, SODA 2007).

    The first is any point; each next one is drawn with a probability in proportion to its squared distance to the
    nearest one chosen before.

    Args:
        points: ``(N, d)``, finite.
        clusters: C, at most N.
        generator: on the CPU, so that all devices draw alike.

    Returns:
        Rows of ``points`` ``(C, d)``; distinct as long as there are distinct points left.
    """
    points = points.detach()
    chosen = [int(torch.randint(len(points), (1,), generator=generator))]
    nearest = (points - points[chosen[0]]).square().sum(1)
    for _ in range(clusters - 1):
        weights = nearest.double().cpu()
        if not weights.any():  # nothing but copies of chosen points is left
            weights = torch.ones_like(weights)
        chosen.append(int(torch.multinomial(weights, 1, generator=generator)))
        nearest = torch.minimum(nearest, (points - points[chosen[-1]]).square().sum(1))
    return points[chosen]


def lloyd(
    points: Tensor,
    clusters: int,
    *,
    seed: int = 0,
    iterations: int = 20,
    restarts: int = 5,
    start: Tensor | None = None,
    chunk: int = 65536,
) -> Clusters:
    """The same k-means in torch, on any device: restarts share one batched product, points go in chunks.

    Empty clusters take the point farthest from its centroid. Same algorithm as faiss, other random numbers.
    """
    _check_points(points, clusters)
    points = points.detach().float()
    generator = torch.Generator().manual_seed(seed)
    if start is not None:
        centroids = start.to(points)[None].clone()
    else:
        picks = torch.stack([torch.randperm(len(points), generator=generator)[:clusters] for _ in range(restarts)])
        centroids = points[picks.to(points.device)]
    for _ in range(iterations):
        sums = torch.zeros_like(centroids)
        counts = torch.zeros(centroids.shape[:2], device=points.device)
        farthest = []
        for part in points.split(chunk):
            distance, nearest = _nearest(part, centroids)
            sums.scatter_add_(
                1, nearest[:, :, None].expand(-1, -1, points.shape[1]), part.expand(len(sums), -1, -1)
            )
            counts.scatter_add_(1, nearest, torch.ones_like(distance))
            farthest.append(distance)
        distances = torch.cat(farthest, dim=1)
        centroids = torch.where(counts[:, :, None] > 0, sums / counts.clamp_min(1)[:, :, None], centroids)
        for run in range(len(centroids)):
            empty = (counts[run] == 0).nonzero().squeeze(1)
            if len(empty):
                centroids[run, empty] = points[distances[run].topk(len(empty)).indices]
    totals, assignments = [], []
    for run in range(len(centroids)):
        parts = [_nearest(part, centroids[run : run + 1]) for part in points.split(chunk)]
        totals.append(sum(float(distance.sum()) for distance, _ in parts))
        assignments.append(torch.cat([nearest[0] for _, nearest in parts]))
    best = int(np.argmin(totals))
    return Clusters(assignments[best], centroids[best], totals[best])


def _check_points(points: Tensor, clusters: int) -> None:
    """Check that ``points (N, d)`` can be split into ``clusters``.

    Raises:
        TrainingError: when C < 1, C > N, or a value is not finite.
    """
    if clusters < 1:
        raise TrainingError(f"the number of clusters must be at least 1, not {clusters}")
    if clusters > len(points):
        raise TrainingError(
            f"{clusters} clusters cannot be made of {len(points)} images; give fewer clusters (--set clusters=N)"
        )
    if not torch.isfinite(points).all():
        bad = int((~torch.isfinite(points).all(1)).sum())
        raise TrainingError(f"{bad} of {len(points)} features are NaN or infinite; clustering cannot go on")


def _nearest(points: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distance ``(R, n)`` and index ``(R, n)`` of the nearest of ``centroids (R, C, d)``."""
    squared = (
        points.square().sum(1)[None, :, None]
        - 2 * points[None] @ centroids.transpose(1, 2)
        + centroids.square().sum(2)[:, None, :]
    )
    distance, nearest = squared.min(dim=2)
    return distance.clamp_min(0), nearest


def concentration(points: Tensor, clusters: Clusters, temperature: float, smooth: float = 10.0) -> Tensor:
    """PCL's concentration phi of each cluster (PCL, eq. 12): small for large and tight clusters.

    ``phi_c = sum_i |x_i - c| / (n_c log(n_c + smooth))``, clipped to its 10th and 90th percentile and scaled to
    the mean ``temperature``. Clusters of one point take the largest phi.

    Args:
        points: ``(N, d)``.
        clusters: their k-means solution.
        temperature: T > 0, the mean of the result.
        smooth: keeps small clusters from a huge phi.

    Returns:
        ``(C,)``, positive.
    """
    count = len(clusters.centroids)
    distances = (points - clusters.centroids[clusters.assignments]).norm(dim=1)
    sizes = torch.bincount(clusters.assignments, minlength=count).float()
    sums = torch.zeros(count).index_add_(0, clusters.assignments, distances)
    phi = torch.where(sizes > 1, sums / sizes.clamp_min(1) / torch.log(sizes + smooth), torch.zeros(count))
    phi = torch.where(sizes > 1, phi, phi.max())
    phi = phi.clamp(torch.quantile(phi, 0.1), torch.quantile(phi, 0.9)).clamp_min(1e-6)
    return temperature * phi / phi.mean()
