"""ProtoNCE (PCL, Li et al., ICLR 2021) per domain: the cluster-level baseline before UCDIR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from crosslens.encoder import Encoder
from crosslens.losses.cluster import prototype_contrast
from crosslens.losses.instance import instance_contrast
from crosslens.methods.base import FitJob, Method
from crosslens.methods.tuned import HEAD_OR_BACKBONE
from crosslens.methods.two_view import Embedded, Objective, TwoViewConfig, TwoViewTraining, fit_two_views
from crosslens.ops.cluster_count import count_ladder, estimate_clusters
from crosslens.ops.kmeans import concentration, kmeans


class ProtoNCEConfig(TwoViewConfig):
    """Settings of ProtoNCE."""

    clusters: tuple[int, ...] = ()
    """Clusters per domain, several counts; empty estimates them."""
    cluster_epoch: int = Field(2, ge=0)
    """First epoch with prototypes."""
    prototype_weight: float = Field(1.0, ge=0)
    """Weight of the prototype term beside the instance term."""
    restarts: int = Field(2, ge=1)
    """Of k-means."""
    iterations: int = Field(20, ge=1)
    """Of k-means."""


class _ProtoNCELosses(Objective):
    """Instance contrast plus a softmax over prototypes whose temperatures follow their clusters' concentration."""

    def __init__(self, training: TwoViewTraining[Any], config: ProtoNCEConfig) -> None:
        super().__init__(training)
        self.config = config
        # Per domain and count: assignments (N,), prototypes (C, d), temperatures (C,).
        self.clusterings: list[list[tuple[Tensor, ...]]] = [[] for _ in training.job.domains]

    def start_epoch(self, epoch: int) -> Mapping[str, float]:
        """Cluster the momentum encoder's centre features, each domain alone."""
        if epoch < self.config.cluster_epoch:
            return {}
        found = self.training.job.world.share(
            [self._cluster(self.training.centre_features(domain).cpu()) for domain in range(len(self.clusterings))]
        )
        device = self.training.device
        self.clusterings = [[tuple(t.to(device) for t in parts) for parts in domain] for domain in found]
        return {
            f"clusters_{n}": len(c[-1][1]) for n, c in zip(self.training.letters, self.clusterings, strict=True)
        }

    def losses(self, epoch: int, parts: Sequence[Embedded]) -> dict[str, Tensor]:
        """Instance and prototype terms, the mean over the domains."""
        losses: dict[str, Tensor] = {}
        total = torch.zeros((), device=parts[0].q.device)
        for name, part, clusterings in zip(self.training.letters, parts, self.clusterings, strict=True):
            own = instance_contrast(part.q, part.keys, part.bank, part.index, self.config.temperature)
            losses[f"instance_{name}"] = own
            total = total + own / len(parts)
            if clusterings:
                terms = [
                    prototype_contrast(part.q, prototypes, part.clusters(assignments, prototypes), temperatures)
                    for assignments, prototypes, temperatures in clusterings
                ]
                losses[f"prototype_{name}"] = torch.stack(terms).mean()
                total = total + self.config.prototype_weight * losses[f"prototype_{name}"] / len(parts)
        return {"total": total, **losses}

    def _cluster(self, features: Tensor) -> list[tuple[Tensor, ...]]:
        if self.training.job.oracle is not None:
            counts = sorted(set(self.training.job.oracle.classes.values()))
        else:
            counts = sorted(self.config.clusters) or count_ladder(estimate_clusters(features), len(features))
        result: list[tuple[Tensor, ...]] = []
        for position, count in enumerate(counts):
            found = kmeans(
                features, count, seed=position, iterations=self.config.iterations, restarts=self.config.restarts
            )
            temperatures = concentration(features, found, self.config.temperature)
            result.append((found.assignments, F.normalize(found.centroids, dim=1), temperatures))
        return result

    def state(self) -> dict[str, Any]:
        """Clusters of the epoch."""
        return {"clusters": [[list(parts) for parts in domain] for domain in self.clusterings]}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` gave."""
        device = self.training.device
        self.clusterings = [
            [tuple(t.to(device) for t in parts) for parts in domain] for domain in state["clusters"]
        ]


class ProtoNCE(Method[ProtoNCEConfig]):
    """ProtoNCE on a head or on the whole network."""

    name = "protonce"
    summary = "instance contrast and ProtoNCE per domain, without labels"
    Config = ProtoNCEConfig
    tunes = tuple(HEAD_OR_BACKBONE)

    def fit(self, job: FitJob) -> Encoder:
        """See ``fit_two_views``."""
        return fit_two_views(self, job, partial(_ProtoNCELosses, config=self.config))
