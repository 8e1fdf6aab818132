"""Euclidean k-means on arrays, by faiss on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

_SMALL = 50_000_000
"""Multiplications of one Lloyd step below which one thread is used."""


class ArrayClusters(NamedTuple):
    """A k-means solution of N points.

    Attributes:
        assignments: nearest centroid of each point ``(N,)``.
        centroids: plain means ``(C, d)``.
        objective: sum of squared distances of the points to their centroids.
    """

    assignments: NDArray[np.int64]
    centroids: Array
    objective: float


def faiss_kmeans(
    points: Array,
    clusters: int,
    *,
    seed: int = 0,
    iterations: int = 20,
    restarts: int = 5,
    start: Array | None = None,
) -> ArrayClusters:
    """See ``crosslens.ops.kmeans.kmeans``, which checks its arguments.

    Args:
        points: ``(N, d)``, finite.
        clusters: C, at most N.
        seed, iterations, restarts: as there.
        start: first centroids ``(C, d)``; one run is made from them.
    """
    import faiss

    data = np.ascontiguousarray(points, dtype=np.float32)
    dim = data.shape[1]
    settings = faiss.ClusteringParameters()
    settings.niter, settings.nredo, settings.seed = iterations, 1 if start is not None else restarts, seed
    settings.max_points_per_centroid, settings.min_points_per_centroid = 2000, 2
    job = faiss.Clustering(dim, clusters, settings)
    if start is not None:
        faiss.copy_array_to_vector(np.ascontiguousarray(start, np.float32).ravel(), job.centroids)
    index = faiss.IndexFlatL2(dim)
    # Threads that wait for each other cost more than they save on small problems, above all on a busy machine.
    threads = faiss.omp_get_max_threads()
    if data.size * clusters < _SMALL:
        faiss.omp_set_num_threads(1)
    try:
        job.train(data, index)
        distances, nearest = index.search(data, 1)
    finally:
        faiss.omp_set_num_threads(threads)
    centroids = faiss.vector_to_array(job.centroids).reshape(clusters, dim).copy()
    return ArrayClusters(nearest[:, 0].copy(), centroids, float(distances.sum()))
