"""Which queries have no counterpart in the gallery, told by clusters (UEM, appendix B)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from crosslens.ops.kmeans import Clusters, kmeans
from crosslens.ops.matching import Structure, dissimilarity, occupied, unify
from crosslens.support.errors import TrainingError


@dataclass(frozen=True)
class Detection:
    """What the two tests said of Q queries.

    Attributes:
        unmerged: ``(Q,)`` bool: the query's cluster has no counterpart in the gallery (first test).
        far: ``(Q,)`` bool: its cluster has one, but every gallery item is farther than that pair is wide
            (second test).
        clusters: clusters of the queries and of the gallery.
        n_merged: pairs of clusters that merged.
    """

    unmerged: Tensor
    far: Tensor
    clusters: tuple[int, int]
    n_merged: int

    @property
    def private(self) -> Tensor:
        """``(Q,)`` bool: no counterpart, by either test."""
        return self.unmerged | self.far


def cluster_sides(
    queries: Tensor, gallery: Tensor, clusters: tuple[int, int], *, seed: int = 0, restarts: int = 10
) -> tuple[Clusters, Clusters]:
    """k-means of the queries ``(Q, d)`` and of the gallery ``(G, d)``, which every rule here rests on.

    Raises:
        TrainingError: when there are more clusters than rows, or a value is not finite.
    """
    of_queries = kmeans(queries, clusters[0], seed=seed, restarts=restarts)
    return of_queries, kmeans(gallery, clusters[1], seed=seed, restarts=restarts)


def detect_private(
    queries: Tensor,
    gallery: Tensor,
    clusters: tuple[int, int],
    *,
    merge_quantile: float = 0.0,
    spread_quantile: float = 1.0,
    seed: int = 0,
    restarts: int = 10,
    chunk: int = 1024,
    clustered: tuple[Clusters, Clusters] | None = None,
) -> Detection:
    """UEM's detection of private queries (eq. 25 to 27).

    Both sides are clustered again, the gallery's prototypes translated into the queries' frame and merged. A query
    whose nearest own prototype stayed unmerged is private. Otherwise ``D_c``, the largest dissimilarity between
    the rows of its cluster and of the gallery's merged with it, is held against ``D_i``, the query's smallest
    to any gallery item: private when ``D_c < D_i``.

    With the maximum the second test cannot fire on queries that were clustered themselves, since a query's own
    dissimilarities are among those the maximum is taken of. A quantile below 1 can (a deviation from the paper).

    Args:
        queries: ``(Q, d)``, unit rows.
        gallery: ``(G, d)``, unit rows.
        clusters: counts for the queries and for the gallery; at most Q and G.
        merge_quantile: see ``ops.matching.merge_threshold``; 0 is the paper's.
        spread_quantile: of the dissimilarities that D_c is; 1 is the paper's maximum.
        seed, restarts: of k-means.
        chunk: queries whose distances are held at once.
        clustered: ``cluster_sides`` of the same rows and counts, when already at hand.

    Raises:
        TrainingError: when there are more clusters than rows, or a value is not finite.
    """
    found = clustered or cluster_sides(queries, gallery, clusters, seed=seed, restarts=restarts)
    parts = [occupied(f.assignments, f.centroids) for f in found]
    own_q, own_g = parts[0][1], parts[1][1]
    structure = unify((own_q, own_g), (queries.mean(0), gallery.mean(0)), quantile=merge_quantile)
    in_q, in_g = structure.positions
    at_q = in_q[dissimilarity(queries, own_q).argmin(1)]
    at_g = in_g[dissimilarity(gallery, own_g).argmin(1)]
    unmerged = ~structure.merged[at_q]
    far = _far_queries(queries, gallery, at_q, at_g, structure, spread_quantile, chunk=chunk) & ~unmerged
    return Detection(unmerged, far, (len(own_q), len(own_g)), structure.n_merged)


def _far_queries(
    queries: Tensor,
    gallery: Tensor,
    at_q: Tensor,
    at_g: Tensor,
    structure: Structure,
    quantile: float = 1.0,
    *,
    chunk: int = 1024,
    sample: int = 200_000,
) -> Tensor:
    """The second test alone: ``(Q,)`` bool, whether the nearest gallery item is beyond the cluster pair's width.

    Args:
        queries, gallery: ``(Q, d)`` and ``(G, d)``, unit rows.
        at_q, at_g: unified positions of their clusters, ``(Q,)`` and ``(G,)``.
        structure: the unified prototypes.
        quantile: of the dissimilarities within a pair; 1 takes the maximum.
        chunk: queries whose distances are held at once.
        sample: dissimilarities of a pair that a quantile below 1 is taken of, at most, evenly spaced.
    """
    nearest = torch.cat([dissimilarity(part, gallery).min(1).values for part in queries.split(chunk)])
    far = torch.zeros(len(queries), dtype=torch.bool, device=queries.device)
    for place in structure.merged.nonzero().squeeze(1).tolist():
        mine, theirs = at_q == place, at_g == place
        if not mine.any() or not theirs.any():
            continue
        widths = [dissimilarity(part, gallery[theirs]) for part in queries[mine].split(chunk)]
        if quantile >= 1:
            width = torch.stack([w.max() for w in widths]).max()
        else:
            every = torch.cat([w.flatten() for w in widths])
            width = torch.quantile(every[:: max(1, -(-len(every) // sample))], quantile)
        far[mine] = nearest[mine] > width
    return far


def detect_by_spread(
    queries: Tensor,
    gallery: Tensor,
    clusters: int,
    *,
    seed: int = 0,
    restarts: int = 10,
    clustered: Clusters | None = None,
) -> Tensor:
    """The rule the paper gives to its baselines: private when the nearest gallery item is farther than the query's
    own cluster is wide (Euclidean).

    Args:
        queries: ``(Q, d)``.
        gallery: ``(G, d)``.
        clusters: of the queries, at most Q.
        seed, restarts: of k-means.
        clustered: the queries' clusters, when already at hand.

    Returns:
        ``(Q,)`` bool.

    Raises:
        TrainingError: when there are more clusters than queries, or a value is not finite.
    """
    if not len(gallery):
        raise TrainingError("the gallery is empty; add images to it")
    found = clustered or kmeans(queries, clusters, seed=seed, restarts=restarts)
    own = found.assignments
    nearest = torch.cat([torch.cdist(part, gallery).min(1).values for part in queries.split(1024)])
    width = torch.zeros(clusters, device=queries.device)
    for cluster in own.unique().tolist():
        inside = queries[own == cluster]
        width[cluster] = max(float(torch.cdist(part, inside).max()) for part in inside.split(1024))
    return nearest > width[own]
