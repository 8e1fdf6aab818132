"""One prototype structure for two domains: translate, match, merge; and the switchable neighbour match (UEM)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from crosslens.support.errors import TrainingError


class Structure(NamedTuple):
    """The unified prototypes of two domains, in one index space ``u = 0 .. U - 1``.

    Translation is rigid, so both domains have the same constellation: ``raw_b + shift == raw_a``, row by row.

    Attributes:
        raw_a: unified prototypes of domain A ``(U, d)``, in A's frame, not normalised.
        raw_b: those of domain B ``(U, d)``, in B's frame.
        index_a: unified position of each cluster of A ``(C_A,)``.
        index_b: unified position of each cluster of B ``(C_B,)``; equal to A's exactly for merged pairs.
        merged: ``(U,)`` bool, whether both domains have a cluster there.
        shift: mean of A's bank minus mean of B's ``(d,)``.
        threshold: distance below which a matched pair merged.
    """

    raw_a: Tensor
    raw_b: Tensor
    index_a: Tensor
    index_b: Tensor
    merged: Tensor
    shift: Tensor
    threshold: float

    @property
    def prototypes(self) -> tuple[Tensor, Tensor]:
        """Both sets with unit rows, as every dot product uses them."""
        return F.normalize(self.raw_a, dim=1), F.normalize(self.raw_b, dim=1)

    @property
    def n_merged(self) -> int:
        """How many pairs merged."""
        return int(self.merged.sum())


def dissimilarity(a: Tensor, b: Tensor) -> Tensor:
    """``(1 - cos(a, b)) |a - b|`` between all rows: UEM's measure in every search.

    Args:
        a: ``(N, d)``.
        b: ``(M, d)``.

    Returns:
        ``(N, M)``, >= 0; of unit rows at distance D it is D^3 / 2, so it orders them as the cosine does.
    """
    cosines = F.normalize(a, dim=1) @ F.normalize(b, dim=1).t()
    return (1 - cosines).clamp_min(0) * torch.cdist(a, b)


def merge_threshold(centroids_a: Tensor, centroids_b: Tensor, quantile: float = 0.0) -> float:
    """The distance under which a matched pair of clusters counts as one (UEM, eq. 9).

    The paper takes the smallest distance between any two centroids of a domain, which one class split in two makes
    tiny. A higher quantile of the nearest-centroid distances of both domains is the sturdier choice.

    Args:
        centroids_a, centroids_b: ``(C_A, d)`` and ``(C_B, d)``.
        quantile: in [0, 1]; 0 is the paper's minimum.

    Returns:
        A distance; infinite when neither domain has two clusters.
    """
    nearest = []
    for centroids in (centroids_a, centroids_b):
        if len(centroids) > 1:
            distances = torch.cdist(centroids, centroids)
            distances.fill_diagonal_(float("inf"))
            nearest.append(distances.min(1).values)
    return float(torch.quantile(torch.cat(nearest), quantile)) if nearest else float("inf")


def unify(
    centroids_a: Tensor,
    centroids_b: Tensor,
    mean_a: Tensor,
    mean_b: Tensor,
    *,
    quantile: float = 0.0,
    merge: bool = True,
    shift: Tensor | None = None,
    pairs: tuple[Tensor, Tensor] | None = None,
) -> Structure:
    """Translate B's prototypes into A's frame, match one to one, merge what is close (UEM, section 3.2.1).

    Args:
        centroids_a, centroids_b: plain cluster means ``(C_A, d)`` and ``(C_B, d)``.
        mean_a, mean_b: bank means ``(d,)``; their difference is the translation.
        quantile: see ``merge_threshold``.
        merge: False keeps every prototype apart (the paper's ablation).
        shift: another translation ``(d,)`` in place of the difference of means; zeros put both domains' prototypes
            in one frame (a deviation from the paper).
        pairs: clusters of A and of B ``(P,)`` that merge, in place of matching by distance (a deviation).

    Returns:
        The structure, with ``U = C_A + C_B - merged`` prototypes a domain.

    Raises:
        TrainingError: when a domain has no cluster or a value is not finite.
    """
    if not len(centroids_a) or not len(centroids_b):
        raise TrainingError("a domain has no cluster left, so prototypes cannot be matched; give fewer clusters")
    shift = mean_a - mean_b if shift is None else shift
    moved = centroids_b + shift
    if not torch.isfinite(centroids_a).all() or not torch.isfinite(moved).all():
        raise TrainingError("prototypes are NaN or infinite and cannot be matched; try a lower learning rate")
    threshold = merge_threshold(centroids_a, centroids_b, quantile)
    if not merge:
        pairs_a = pairs_b = torch.empty(0, dtype=torch.int64)
    elif pairs is not None:
        pairs_a, pairs_b = pairs[0].cpu(), pairs[1].cpu()
    else:
        distances = torch.cdist(centroids_a, moved).cpu().numpy()
        rows, columns = linear_sum_assignment(distances)
        close = distances[rows, columns] < threshold
        pairs_a, pairs_b = torch.from_numpy(rows[close]), torch.from_numpy(columns[close])
    count_a, count_b = len(centroids_a), len(centroids_b)
    index_a = torch.arange(count_a)
    index_b = torch.full((count_b,), -1)
    index_b[pairs_b] = index_a[pairs_a]
    alone = index_b < 0
    index_b[alone] = count_a + torch.arange(int(alone.sum()))
    device = centroids_a.device
    index_a, index_b, alone = index_a.to(device), index_b.to(device), alone.to(device)
    raw_a = torch.cat([centroids_a, moved[alone]])
    merged = torch.zeros(len(raw_a), dtype=torch.bool, device=device)
    if len(pairs_a):
        raw_a[pairs_a] = (centroids_a[pairs_a] + moved[pairs_b]) / 2
        merged[pairs_a] = True
    return Structure(raw_a, raw_a - shift, index_a, index_b, merged, shift, threshold)


@torch.no_grad()
def cross_neighbours(a: Tensor, b: Tensor, *, hub: int = 10, chunk: int = 2048) -> tuple[Tensor, Tensor]:
    """Nearest row of the other domain for every row, hubs held down (cross-domain similarity local scaling).

    ``argmax_j 2 cos(a_i, b_j) - r_a(i) - r_b(j)`` with r the mean cosine to the ``hub`` nearest rows of the other
    domain (Conneau et al., ICLR 2018). Without it a few rows are everybody's neighbour.

    Args:
        a: ``(N, d)``, unit rows.
        b: ``(M, d)``, unit rows.
        hub: rows that tell a hub, capped at N and M.
        chunk: rows whose similarities are held at once.

    Returns:
        Positions in ``b`` of ``a``'s neighbours ``(N,)`` and in ``a`` of ``b``'s ``(M,)``.
    """
    near_a = torch.cat([(part @ b.t()).topk(min(hub, len(b)), 1).values.mean(1) for part in a.split(chunk)])
    near_b = torch.cat([(part @ a.t()).topk(min(hub, len(a)), 1).values.mean(1) for part in b.split(chunk)])
    of_a = torch.cat([(2 * part @ b.t() - near_b).argmax(1) for part in a.split(chunk)])
    of_b = torch.cat([(2 * part @ a.t() - near_a).argmax(1) for part in b.split(chunk)])
    return of_a, of_b


def vote_pairs(
    assignments_a: Tensor, assignments_b: Tensor, neighbours: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Clusters that are each other's first choice when their images vote for their neighbours' clusters.

    A deviation from the paper's matching by centroid distance, which rests on a translation that is wrong when the
    domains show different classes. A pair's votes are the shares of both clusters' images that name the other.

    Args:
        assignments_a: cluster of every row of A ``(N,)``.
        assignments_b: cluster of every row of B ``(M,)``.
        neighbours: ``cross_neighbours`` of the rows.

    Returns:
        Clusters of A and of B ``(P,)``, one to one.
    """
    count_a, count_b = int(assignments_a.max()) + 1, int(assignments_b.max()) + 1
    votes = torch.zeros(count_a, count_b, device=assignments_a.device)
    for rows, columns, dim in (
        (assignments_a, assignments_b[neighbours[0]], 1),
        (assignments_a[neighbours[1]], assignments_b, 0),
    ):
        cast = torch.zeros_like(votes)
        cast.index_put_((rows, columns), torch.ones(len(rows), device=votes.device), accumulate=True)
        votes += cast / cast.sum(dim, keepdim=True).clamp_min(1)
    choice_a, choice_b = votes.argmax(1), votes.argmax(0)
    chosen = (choice_b[choice_a] == torch.arange(count_a, device=votes.device)).nonzero().squeeze(1)
    return chosen, choice_a[chosen]


class Match(NamedTuple):
    """Where anchors of one domain belong in the other.

    Attributes:
        target: unified position ``(B,)`` of each anchor's own cluster: its counterpart in the other domain.
        neighbour: nearest image ``(B,)`` of the other domain.
        reliable: ``(B,)`` bool: the neighbour's own prototype is the counterpart.
    """

    target: Tensor
    neighbour: Tensor
    reliable: Tensor


@torch.no_grad()
def switchable_match(
    z: Tensor, own: Tensor, index: Tensor, bank: Tensor, positions: Tensor, *, unit_bank: bool = True
) -> Match:
    """UEM's switchable nearest-neighbour search (section 3.3.2, eq. 15 and 16).

    Args:
        z: anchors ``(B, d)``, unit rows.
        own: the anchors' own, un-merged prototypes ``(C, d)``.
        index: unified position of each of them ``(C,)``.
        bank: features ``(N, d)`` of the other domain's images.
        positions: nearest unified prototype of every bank row ``(N,)``, of the other domain's.
        unit_bank: whether the bank's rows have unit length, which makes the search one product.
    """
    target = index[dissimilarity(z, own).argmin(1)]
    # Between unit rows the dissimilarity orders as the cosine does.
    neighbour = (z @ bank.t()).argmax(1) if unit_bank else dissimilarity(z, bank).argmin(1)
    return Match(target, neighbour, positions[neighbour] == target)


def occupied(assignments: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """Drop clusters without a point, which would shrink the merge threshold.

    Args:
        assignments: cluster of each point ``(N,)``.
        centroids: ``(C, d)``.

    Returns:
        Assignments ``(N,)`` renumbered without gaps, and the centroids that are left.
    """
    present, renumbered = torch.unique(assignments, return_inverse=True)
    return renumbered, centroids[present]
