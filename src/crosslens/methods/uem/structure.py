"""UEM's clusters of both domains and their unified prototypes, made anew before every epoch."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from crosslens.methods.uem.config import UEMConfig
from crosslens.ops.kmeans import kmeans
from crosslens.ops.matching import Structure, dissimilarity, occupied, unify, vote_pairs


class Clustering(NamedTuple):
    """Both domains' clusters at one count each, fixed during an epoch.

    Attributes:
        assignments: cluster of every bank slot, per domain ``(N,)``.
        centroids: plain means, per domain ``(C, d)``.
        structure: the unified prototypes.
        prototypes: the same as losses use them, per domain ``(U, d)``.
        nearest: nearest of them of every bank slot, per domain ``(N,)``.
    """

    assignments: tuple[Tensor, Tensor]
    centroids: tuple[Tensor, Tensor]
    structure: Structure
    prototypes: tuple[Tensor, Tensor]
    nearest: tuple[Tensor, Tensor]

    @property
    def positions(self) -> tuple[Tensor, Tensor]:
        """Unified position of every cluster, per domain ``(C,)``."""
        return self.structure.index_a, self.structure.index_b

    def to_state(self) -> list[list[Any]]:
        """Plain lists of tensors, for a checkpoint."""
        return [list(part) for part in self]

    @classmethod
    def from_state(cls, state: list[list[Any]], device: torch.device) -> Clustering:
        """What ``to_state`` gave, on ``device``."""

        def here(parts: list[Any]) -> Any:
            return tuple(part.to(device) if isinstance(part, Tensor) else part for part in parts)

        assignments, centroids, structure, prototypes, nearest = map(here, state)
        return cls(assignments, centroids, Structure(*structure), prototypes, nearest)


def cluster_domains(
    banks: list[Tensor],
    counts: list[tuple[int, int]],
    config: UEMConfig,
    *,
    quantile: float,
    seed: int,
    before: list[Clustering],
    neighbours: tuple[Tensor, Tensor] | None = None,
) -> list[Clustering]:
    """Cluster each bank at every count and unify the two domains' prototypes.

    Args:
        banks: memory banks of both domains ``(N, d)``.
        counts: clusters of A and of B, one pair a clustering.
        config: the settings of k-means and of merging.
        quantile: see ``ops.matching.merge_threshold``.
        seed: of k-means.
        before: the previous epoch's clusterings, for a warm start.
        neighbours: of the bank slots across the domains, by which clusters are matched; None matches by distance.

    Raises:
        TrainingError: when a bank is not finite or smaller than a count.
    """
    common = torch.zeros_like(banks[0][0]) if config.frame == "common" else None
    made = []
    for position, pair in enumerate(counts):
        previous = before[position].centroids if config.warm_start and position < len(before) else None
        found = [
            _clusters(bank, count, config, seed + position, None if previous is None else previous[domain])
            for domain, (bank, count) in enumerate(zip(banks, pair, strict=True))
        ]
        (in_a, means_a), (in_b, means_b) = found
        structure = unify(
            means_a,
            means_b,
            banks[0].mean(0),
            banks[1].mean(0),
            quantile=quantile,
            merge=config.merge,
            shift=common,
            pairs=vote_pairs(in_a, in_b, neighbours) if neighbours else None,
        )
        a, b = structure.prototypes if config.unit_prototypes else (structure.raw_a, structure.raw_b)
        nearest = dissimilarity(banks[0], a).argmin(1), dissimilarity(banks[1], b).argmin(1)
        made.append(Clustering((in_a, in_b), (means_a, means_b), structure, (a, b), nearest))
    return made


def _clusters(
    bank: Tensor, count: int, config: UEMConfig, seed: int, start: Tensor | None
) -> tuple[Tensor, Tensor]:
    # After empty clusters were dropped, the old centroids are too few to start from.
    start = start.cpu() if start is not None and len(start) == count else None
    found = kmeans(
        bank.cpu(),
        count,
        seed=seed,
        iterations=config.iterations,
        restarts=config.restarts,
        start=start,
        first=config.kmeans_start,
    )
    assignments, centroids = occupied(found.assignments, found.centroids)
    return assignments.to(bank.device), centroids.to(bank.device)
