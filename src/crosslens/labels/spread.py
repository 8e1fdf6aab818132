"""Refining noisy labels of two domains: spread within each look, handed over between looks. No true label is used.

A vision-language model names photos well and line drawings badly, but images of a class lie together in either
domain. So scores are spread along each domain's own nearest-neighbour graph (Zhou et al., *Learning with local and
global consistency*, 2003), and what one domain is sure of reaches the other through class prototypes in features
from which each domain's mean is taken.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from crosslens.labels.pseudo_labels import calibrated
from crosslens.ops.rounding import difference


def spread_labels(
    features: Sequence[Tensor],
    scores: Sequence[Tensor],
    *,
    neighbours: int = 10,
    reach: float = 0.99,
    rounds: int = 5,
    handover: float = 1.0,
    temperature: float = 0.5,
) -> tuple[list[Tensor], list[bool]]:
    """Scores of all domains' images after spreading and handing over.

    Whether a domain takes anything from the others is decided first, without true labels: what their prototypes
    say of its images must agree with its own labels significantly better than chance (``agrees``). Where one look
    inverts the other, they agree no better, or worse, and every domain keeps to itself.

    Start: ``Z_D = spread_D(softmax(s_D))``, ``p_D = softmax(Z_D / T)``. Each round, for every domain D at once:
    ``mu_c = normalise(sum_i p_ic max(p_i)^2 f_i)`` over the other domains, then
    ``Z_D = spread_D(softmax(s_D + h standardise(f mu^T)))``. ``spread`` ends in standardised columns.

    Args:
        features: per domain ``(N_D, d)``, unit rows of centred features.
        scores: per domain ``(N_D, C)``, standardised class scores.
        neighbours: of the graphs.
        reach: share of a score that comes from neighbours in every step, in [0, 1); 0 leaves scores alone.
        rounds: handovers between domains; 0 for none.
        handover: h >= 0, how much the other domains count beside the own scores.
        temperature: T > 0 of the posteriors between rounds.

    Returns:
        Per domain ``(N_D, C)`` float32, standardised; and whether it took labels from the others.
    """
    graphs = [neighbour_graph(rows, neighbours) for rows in features]
    current = [spread(graph, torch.softmax(s, dim=1), reach) for graph, s in zip(graphs, scores, strict=True)]
    rounds = rounds if len(features) > 1 and handover else 0
    takes: list[bool] = []
    for _ in range(rounds):
        sums = [_class_sums(rows, z / temperature) for rows, z in zip(features, current, strict=True)]
        total = torch.stack(sums).sum(0)
        from_others = [
            calibrated(rows @ F.normalize(total - own, dim=1).t(), "standardise")
            for rows, own in zip(features, sums, strict=True)
        ]
        takes = takes or [agrees(foreign, own) for foreign, own in zip(from_others, current, strict=True)]
        current = [
            spread(graph, torch.softmax(s + handover * foreign, dim=1), reach) if is_taking else own
            for graph, s, foreign, own, is_taking in zip(graphs, scores, from_others, current, takes, strict=True)
        ]
    return current, takes or [False] * len(features)


def agrees(first: Tensor, second: Tensor, deviations: float = 3.0) -> bool:
    """Whether two sets of class scores ``(N, C)`` name the same class more often than chance would.

    Chance is ``sum_c a_c b_c`` for the shares of the classes in either; the excess must be beyond ``deviations``
    binomial standard errors.
    """
    a, b = first.argmax(dim=1), second.argmax(dim=1)
    classes = first.shape[1]
    shares = [torch.bincount(part, minlength=classes).double() / len(part) for part in (a, b)]
    chance = float((shares[0] * shares[1]).sum())
    error = (chance * (1 - chance) / len(a)) ** 0.5
    return float((a == b).double().mean()) > chance + deviations * error


def spread(graph: Tensor, posteriors: Tensor, reach: float, steps: int = 60) -> Tensor:
    """``steps`` of ``Z <- a A Z + (1 - a) P`` from Z = P, with P's columns centred; standardised at the end.

    Centring keeps a class that takes a little of every image from flooding the graph.

    Args:
        graph: A, symmetric and normalised, ``(N, N)`` sparse.
        posteriors: P ``(N, C)``.
        reach: a in [0, 1).
        steps: 60 leave ``a^60`` of the start, 0.55 at a = 0.99: the spread is meant to stay partly local.
    """
    start = difference(posteriors, posteriors.mean(0), dim=0)
    z = start
    for _ in range(steps if reach > 0 else 0):
        z = reach * (graph @ z) + (1 - reach) * start
    return calibrated(z, "standardise")


def neighbour_graph(rows: Tensor, neighbours: int, temperature: float = 0.1, chunk: int = 2048) -> Tensor:
    """The symmetric k-nearest-neighbour graph ``D^-1/2 S D^-1/2`` with ``S_ij = exp(x_i.x_j / T)`` on its edges.

    Args:
        rows: ``(N, d)``, unit rows.
        neighbours: k; at most N - 1 are taken. An edge is there when either end chose it.
        temperature: T > 0.
        chunk: rows compared at once; memory is chunk x N.

    Returns:
        ``(N, N)`` sparse float32 without self-loops.
    """
    count = len(rows)
    k = min(neighbours, count - 1)
    if k < 1:
        empty = torch.zeros(0, dtype=torch.int64)
        return torch.sparse_coo_tensor(
            torch.stack([empty, empty]), torch.zeros(0), (count, count), check_invariants=False
        )
    sources, targets, values = [], [], []
    for start in range(0, count, chunk):
        part = rows[start : start + chunk]
        own = torch.arange(start, start + len(part))
        similarity = part @ rows.t()
        similarity[torch.arange(len(part)), own] = -torch.inf
        found = similarity.topk(k, dim=1)
        sources.append(own[:, None].expand(-1, k).reshape(-1))
        targets.append(found.indices.reshape(-1))
        values.append(torch.exp(found.values.reshape(-1) / temperature))
    i, j, v = torch.cat(sources), torch.cat(targets), torch.cat(values)
    # An edge that both ends chose is listed twice with equal values, so either copy will do.
    key, first = torch.unique(torch.cat([i * count + j, j * count + i]), return_inverse=True)
    weight = torch.zeros(len(key)).scatter_(0, first, torch.cat([v, v]))
    i, j = key // count, key % count
    degree = torch.zeros(count).index_add_(0, i, weight).clamp_min(1e-12).rsqrt()
    values_ = weight * degree[i] * degree[j]
    return torch.sparse_coo_tensor(
        torch.stack([i, j]), values_, (count, count), is_coalesced=True, check_invariants=False
    )


def _class_sums(rows: Tensor, logits: Tensor) -> Tensor:
    posteriors = torch.softmax(logits, dim=1)
    sure = posteriors * posteriors.amax(dim=1, keepdim=True).square()
    return F.normalize(sure.t() @ rows, dim=1)
