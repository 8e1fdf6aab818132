"""UEM's clusters of every domain and their unified prototypes, made anew before every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from crosslens.methods.uem.config import UEMConfig
from crosslens.ops.kmeans import kmeans
from crosslens.ops.matching import Structure, dissimilarity, occupied, unify, vote_pairs


class Clustering(NamedTuple):
    """Every domain's clusters at one count each, fixed during an epoch.

    Attributes:
        assignments: cluster of every bank slot, per domain ``(N,)``.
        centroids: plain means, per domain ``(C, d)``.
        structure: the unified prototypes.
        prototypes: the same as losses use them, per domain ``(U, d)``.
        nearest: nearest of them of every bank slot, per domain ``(N,)``.
    """

    assignments: tuple[Tensor, ...]
    centroids: tuple[Tensor, ...]
    structure: Structure
    prototypes: tuple[Tensor, ...]
    nearest: tuple[Tensor, ...]

    @property
    def positions(self) -> tuple[Tensor, ...]:
        """Unified position of every cluster, per domain ``(C,)``."""
        return self.structure.positions

    def to_state(self) -> list[list[Any]]:
        """Plain lists of tensors, for a checkpoint."""
        return [[list(part) if isinstance(part, tuple) else part for part in field] for field in self]

    @classmethod
    def from_state(cls, state: list[list[Any]], device: torch.device) -> Clustering:
        """What ``to_state`` gave, on ``device``."""

        def here(part: Any) -> Any:
            if isinstance(part, list):
                return tuple(map(here, part))
            return part.to(device) if isinstance(part, Tensor) else part

        assignments, centroids, structure, prototypes, nearest = map(here, state)
        return cls(assignments, centroids, Structure(*structure), prototypes, nearest)


def cluster_domains(
    banks: list[Tensor],
    counts: list[tuple[int, ...]],
    config: UEMConfig,
    *,
    quantile: float,
    seed: int,
    before: list[Clustering],
    neighbours: Sequence[tuple[Tensor, Tensor]] | None = None,
) -> list[Clustering]:
    """Cluster each bank at every count and unify the domains' prototypes.

    Args:
        banks: memory banks ``(N, d)``, domain by domain.
        counts: clusters of every domain, for each clustering.
        config: the settings of k-means and of merging.
        quantile: see ``ops.matching.merge_threshold``.
        seed: of k-means.
        before: the previous epoch's clusterings, for a warm start.
        neighbours: ``cross_neighbours`` between the bank slots of all domains before one, and its own, for the
            second domain and those after it: clusters are matched by them. None matches by distance.

    Raises:
        TrainingError: when a bank is not finite or smaller than a count.
    """
    means = [bank.mean(0) for bank in banks]
    made = []
    for position, of_domains in enumerate(counts):
        previous = before[position].centroids if config.warm_start and position < len(before) else None
        found = [
            _clusters(bank, count, config, seed + position, None if previous is None else previous[domain])
            for domain, (bank, count) in enumerate(zip(banks, of_domains, strict=True))
        ]
        assignments, centroids = tuple(a for a, _ in found), tuple(c for _, c in found)
        structure = unify(
            centroids,
            means,
            quantile=quantile,
            merge=config.merge,
            common=config.frame == "common",
            choose=partial(_elected, assignments, neighbours) if neighbours else None,
        )
        prototypes = structure.prototypes if config.unit_prototypes else structure.raw
        nearest = tuple(dissimilarity(bank, p).argmin(1) for bank, p in zip(banks, prototypes, strict=True))
        made.append(Clustering(assignments, centroids, structure, prototypes, nearest))
    return made


def _elected(
    assignments: Sequence[Tensor], neighbours: Sequence[tuple[Tensor, Tensor]], positions: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Unified prototypes of the domains so far and clusters of the next one that choose each other, ``(P,)``."""
    done = len(positions)
    so_far = torch.cat([at[own] for at, own in zip(positions, assignments[:done], strict=True)])
    return vote_pairs(so_far, assignments[done], neighbours[done - 1])


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
