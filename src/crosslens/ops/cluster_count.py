"""How many clusters there are, estimated from features alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from crosslens.ops.faiss_kmeans import faiss_kmeans
from crosslens.support.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_RESTARTS = 2
LEAST_POINTS = 10
"""Fewer points than these have no curve to read a number of clusters from."""


def candidate_counts(images: int, most: int = 150) -> list[int]:
    """Counts to try for N images: 2, 3, .. 30, then every fifth up to min(150, N / 5) (UEM's elbow range)."""
    largest = max(2, min(most, images // 5))
    return [k for k in range(2, largest + 1) if k <= 30 or k % 5 == 0]


def two_segments(counts: Sequence[int], errors: Sequence[float]) -> int:
    """The count where the curve is best fitted by two straight lines (least squares), each through its points.

    Args:
        counts: ascending.
        errors: sum of squared distances at each count.
    """
    x, y = np.asarray(counts, float), np.asarray(errors, float)
    if len(x) < 4:
        return int(x[len(x) // 2])

    def residual(part: slice) -> float:
        design = np.stack([x[part], np.ones_like(x[part])], axis=1)
        solution = np.linalg.lstsq(design, y[part], rcond=None)[0]
        return float(((design @ solution - y[part]) ** 2).sum())

    breaks = range(1, len(x) - 2)
    costs = [residual(slice(0, b + 1)) + residual(slice(b, len(x))) for b in breaks]
    return int(x[breaks[int(np.argmin(costs))]])


def largest_distance_to_chord(counts: Sequence[int], errors: Sequence[float]) -> int:
    """The count farthest below the straight line between the curve's ends, both axes scaled to [0, 1]."""
    x, y = np.asarray(counts, float), np.asarray(errors, float)
    x = (x - x[0]) / max(x[-1] - x[0], 1e-12)
    y = (y - y[-1]) / max(y[0] - y[-1], 1e-12)
    return int(counts[int(np.argmax(1 - x - y))])


_ELBOWS: dict[str, Callable[[Sequence[int], Sequence[float]], int]] = {
    "two-segments": two_segments,
    "chord": largest_distance_to_chord,
}


def _best_silhouette(points: Tensor, counts: Sequence[int], seed: int) -> int:
    from crosslens.ops.cluster_validity import best_silhouette

    return best_silhouette(points, counts, seed=seed)


def _gap_statistic(points: Tensor, counts: Sequence[int], seed: int) -> int:
    from crosslens.ops.cluster_validity import gap_statistic

    return gap_statistic(points, counts, seed=seed)


_VALIDITIES: dict[str, Callable[[Tensor, Sequence[int], int], int]] = {
    "silhouette": _best_silhouette,
    "gap": _gap_statistic,
}
METHODS = (*_ELBOWS, *_VALIDITIES)


def estimate_clusters(
    points: Tensor | NDArray[np.float32], *, method: str = "two-segments", seed: int = 0, most: int = 150
) -> int:
    """Estimate the number of clusters of ``points (N, d)`` without labels, from k-means at many counts.

    Args:
        points: features, finite; unit rows make the curve comparable between domains. Arrays, which need no
            PyTorch, for the elbows alone.
        method: ``two-segments`` or ``chord``, elbows of the error's curve; ``silhouette``; ``gap``, which takes
            several times as long.
        seed: of k-means.
        most: largest count tried.

    Returns:
        A count in 2 .. min(most, N / 5).

    Raises:
        TrainingError: for fewer than 10 points.
        ConfigError: for an unknown method.
    """
    if method not in METHODS:
        raise ConfigError(f"there is no way {method!r} to count clusters; use {', '.join(METHODS)}")
    if len(points) < LEAST_POINTS:
        raise TrainingError(f"{len(points)} images are too few to estimate a number of clusters; give it yourself")
    counts = candidate_counts(len(points), most)
    if method in _VALIDITIES:
        assert not isinstance(points, np.ndarray)
        return _VALIDITIES[method](points.detach().float(), counts, seed)
    errors = [_fit(points, count, seed) for count in counts]
    return _ELBOWS[method](counts, errors)


def count_ladder(centre: int, images: int, steps: Sequence[float] = (0.5, 0.7, 1.0, 1.4, 2.0)) -> list[int]:
    """Several counts around an estimate, each at least 2 and at most N / 5, without repeats.

    Clustering at several counts at once makes training robust to a wrong estimate: what is one cluster at a
    coarse count stays together, what only a fine count separates is pulled apart more weakly.
    """
    limit = max(2, images // 5)
    return sorted({min(limit, max(2, round(centre * step))) for step in steps})


def shared_ladder(domains: Sequence[Tensor], method: str = "two-segments") -> list[int]:
    """One ladder for domains ``(N_i, d)`` of the same classes, around the geometric mean of their estimates.

    Raises:
        ConfigError, TrainingError: as ``estimate_clusters``.
    """
    with ThreadPoolExecutor(len(domains)) as pool:
        estimates = list(pool.map(partial(estimate_clusters, method=method), domains))
    middle = round(math.prod(estimates) ** (1 / len(estimates)))
    return count_ladder(middle, min(map(len, domains)))


def _fit(points: Any, count: int, seed: int) -> float:
    if isinstance(points, np.ndarray):
        return faiss_kmeans(points, count, seed=seed, restarts=_RESTARTS).objective
    from crosslens.ops.kmeans import kmeans

    return kmeans(points.float(), count, seed=seed, restarts=_RESTARTS).objective
