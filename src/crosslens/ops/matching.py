"""One prototype structure for several domains: translate, match, merge; the switchable neighbour match (UEM)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from crosslens.support.errors import TrainingError


class Structure(NamedTuple):
    """The unified prototypes of several domains, in one index space ``u = 0 .. U - 1``.

    Translation is rigid, so all domains have the same constellation: ``raw[d] + shifts[d] == raw[0]``, row by row.

    Attributes:
        raw: unified prototypes ``(U, d)`` of each domain, in its own frame, not normalised.
        positions: unified position of each cluster ``(C,)``, per domain; those of two domains are equal exactly
            where their clusters merged.
        merged: ``(U,)`` bool, whether at least two domains have a cluster there.
        shifts: mean of the first domain's bank minus mean of each domain's ``(d,)``.
        threshold: distance below which a matched pair merged; with more than two domains the last one's.
    """

    raw: tuple[Tensor, ...]
    positions: tuple[Tensor, ...]
    merged: Tensor
    shifts: tuple[Tensor, ...]
    threshold: float

    @property
    def prototypes(self) -> tuple[Tensor, ...]:
        """Every domain's with unit rows, as every dot product uses them."""
        return tuple(F.normalize(raw, dim=1) for raw in self.raw)

    @property
    def n_merged(self) -> int:
        """How many prototypes at least two domains share."""
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
    centroids: Sequence[Tensor],
    means: Sequence[Tensor],
    *,
    quantile: float = 0.0,
    merge: bool = True,
    common: bool = False,
    choose: Callable[[Sequence[Tensor]], tuple[Tensor, Tensor]] | None = None,
) -> Structure:
    """Translate prototypes into the first domain's frame, match one to one, merge what is close (UEM, 3.2.1).

    The paper has two domains. Of more, each one joins the structure of those before it, in their order: a cluster
    of its own merges with a unified prototype, whichever of those domains that stands for, or is added behind them
    (our extension). A merged prototype is the mean of its clusters.

    Args:
        centroids: plain cluster means ``(C, d)`` of two or more domains.
        means: bank means ``(d,)``; their differences are the translations.
        quantile: see ``merge_threshold``.
        merge: False keeps every prototype apart (the paper's ablation).
        common: put all domains' prototypes in one frame, untranslated (a deviation from the paper).
        choose: from the positions ``(C,)`` of the domains so far to the unified prototypes and the clusters of the
            next domain ``(P,)`` that merge, in place of matching by distance (a deviation).

    Returns:
        The structure; of two domains it has ``U = C_A + C_B - merged`` prototypes.

    Raises:
        TrainingError: when a domain has no cluster or a value is not finite.
    """
    if not all(map(len, centroids)):
        raise TrainingError("a domain has no cluster left, so prototypes cannot be matched; give fewer clusters")
    shifts = [torch.zeros_like(mean) if common else means[0] - mean for mean in means]
    device = centroids[0].device
    sums = centroids[0]
    held = torch.ones(len(sums), dtype=sums.dtype, device=device)
    positions = [torch.arange(len(sums), device=device)]
    threshold = float("inf")
    for own, shift in zip(centroids[1:], shifts[1:], strict=True):
        moved, unified = own + shift, sums / held[:, None]
        if not torch.isfinite(unified).all() or not torch.isfinite(moved).all():
            raise TrainingError("prototypes are NaN or infinite and cannot be matched; try a lower learning rate")
        threshold = merge_threshold(unified, own, quantile)
        if not merge:
            at = mine = torch.empty(0, dtype=torch.int64, device=device)
        elif choose is not None:
            at, mine = choose(positions)
        else:
            at, mine = _close_pairs(unified, moved, threshold)
        position = torch.full((len(own),), -1, device=device)
        position[mine] = at
        alone = position < 0
        position[alone] = len(sums) + torch.arange(int(alone.sum()), device=device)
        positions.append(position)
        sums, held = torch.cat([sums, moved[alone]]), torch.cat([held, held.new_ones(int(alone.sum()))])
        sums[at] += moved[mine]
        held[at] += 1
    raw = sums / held[:, None]
    return Structure(tuple(raw - shift for shift in shifts), tuple(positions), held > 1, tuple(shifts), threshold)


def _close_pairs(unified: Tensor, moved: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """The pairs ``(P,)`` of the cheapest one-to-one assignment that are closer than the threshold."""
    distances = torch.cdist(unified, moved).cpu().numpy()
    rows, columns = linear_sum_assignment(distances)
    close = distances[rows, columns] < threshold
    return torch.from_numpy(rows[close]).to(moved.device), torch.from_numpy(columns[close]).to(moved.device)


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
