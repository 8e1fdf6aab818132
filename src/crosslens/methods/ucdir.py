"""UCDIR (Hu and Lee, ECCV 2022): unsupervised cross-domain image retrieval.

Unlabelled domains with the same classes, two in the paper. Per domain: instance contrast (L_I) and, once clusters
mean something, cluster-wise contrast (L_C). Across domains, without matching clusters: self-entropy (L_SE) and the
distance-of-distance loss (L_DD).

    L = 1/D sum_D (L_I^D + w_C(e) L_C^D) + lam_SE L_SE + lam_DD L_DD

Any number D of domains shares one network (our extension): L_SE is the mean over every domain's images and every
domain's clusters, L_DD over every two domains. With one domain L_DD is none.

The authors fix one number of clusters, the true number of classes. Here several counts around an estimate are
clustered at once and their losses averaged, which needs no label and steadies the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from crosslens.encoder import Encoder
from crosslens.losses.cluster import cluster_contrast, cluster_means, gate_probability
from crosslens.losses.distance import distance_of_distance
from crosslens.losses.entropy import self_entropy
from crosslens.losses.instance import bank_logits, instance_contrast
from crosslens.methods.base import FitJob, Method
from crosslens.methods.cluster_setting import ClusterSetting
from crosslens.methods.tuned import HEAD_OR_BACKBONE, weighted_total
from crosslens.methods.two_view import Embedded, Objective, TwoViewConfig, TwoViewTraining, fit_two_views
from crosslens.ops.cluster_count import shared_ladder
from crosslens.ops.kmeans import kmeans
from crosslens.support.errors import ConfigError
from crosslens.training.schedules import linear_ramp


class UCDIRConfig(TwoViewConfig):
    """Settings of UCDIR; weights and temperatures are those of the authors' DomainNet script."""

    # The paper's own.
    cluster_epoch: int = Field(2, ge=0)
    """First epoch with clusters; L_C starts at weight 0 there."""
    align_epoch: int = Field(10, ge=0)
    """First epoch with L_SE and L_DD; w_C reaches its full value here."""
    cluster_weight: float = Field(1.0, ge=0)
    """Full value of w_C."""
    entropy_weight: float = Field(0.5, ge=0)
    """lam_SE, of the self-entropy."""
    entropy_temperature: float = Field(0.1, gt=0)
    """Its temperature."""
    distance_weight: float = Field(0.1, ge=0)
    """lam_DD, of the distance of distance."""
    distance_temperature: float = Field(0.01, gt=0)
    """Its temperature."""
    gate: float = Field(0.2, ge=0, le=1)
    """Least share of its own cluster that lets an image take part in L_C."""
    restarts: int = Field(2, ge=1)
    """Of k-means; the authors take the best of 5, with several counts 2 do as well."""
    iterations: int = Field(20, ge=1)
    """Of k-means."""
    clusters: ClusterSetting = "auto"
    """Clusters per domain: ``auto`` estimates a count and takes several around it; a number, or several, are taken
    as given."""

    # What this project adds.
    members: int = Field(3, ge=1)
    least_steps: int = Field(3, ge=1)
    """Steps of an epoch at least, which small collections reach by several passes; 1 makes an epoch one pass, as
    the authors do."""
    count_method: Literal["two-segments", "chord", "silhouette", "gap"] = "two-segments"
    """How ``auto`` estimates the count."""
    several: Literal["mean", "cumulative"] = "mean"
    """How losses of several counts combine: ``mean`` averages them; ``cumulative`` also asks positives of a count
    to share the clusters of all counts before it (the authors' code)."""
    warm_start: bool = False
    """Start k-means from the previous epoch's centroids, which changes the algorithm."""


class Clustering(NamedTuple):
    """One domain's clusters at one count, fixed during an epoch."""

    assignments: Tensor
    centroids: Tensor
    prototypes: Tensor
    positives: Tensor
    sizes: Tensor
    """Of the sets of positives."""

    @classmethod
    def restored(cls, parts: Sequence[Tensor], device: torch.device) -> Clustering:
        """What a checkpoint holds; an earlier version kept a matrix in place of the sizes."""
        placed = cls(*(part.to(device) for part in parts))
        return placed if placed.sizes.dim() == 1 else placed._replace(sizes=torch.bincount(placed.positives))


class _UCDIRLosses(Objective):
    """The clusters of an epoch and the four losses over them."""

    def __init__(self, training: TwoViewTraining[Any], config: UCDIRConfig) -> None:
        super().__init__(training)
        self.config = config
        if config.several == "cumulative" and any(sample is not None for sample in training.samples):
            raise ConfigError(
                "several=cumulative needs every image in the memory bank: use several=mean, or raise bank_rows"
            )
        self.clusterings: list[list[Clustering]] = [[] for _ in training.job.domains]
        # Of each domain, once they are chosen.
        self.counts: list[list[int]] = []

    def start_epoch(self, epoch: int) -> Mapping[str, float]:
        """Cluster the momentum encoder's centre features, each domain alone (the E-step)."""
        if epoch < self.config.cluster_epoch:
            return {}
        domains = range(len(self.clusterings))
        features = [self.training.centre_features(domain).cpu() for domain in domains]
        if not self.counts:
            self.counts = self.training.job.world.share(self._choose_counts(features))
        # faiss computes outside Python's lock, so the domains take a thread each.
        with ThreadPoolExecutor(len(domains)) as pool:
            self.clusterings = self.training.job.world.share(list(pool.map(self._cluster, domains, features)))
        info: dict[str, float] = {}
        for name, clusterings in zip(self.training.letters, self.clusterings, strict=True):
            largest = max(clusterings, key=lambda c: len(c.centroids))
            sizes = torch.bincount(largest.assignments, minlength=len(largest.centroids)).float()
            info[f"clusters_{name}"] = len(sizes)
            info[f"largest_cluster_{name}"] = float(sizes.max() / sizes.sum())
        info["cluster_weight"] = cluster_weight(self.config, epoch)
        return info

    def losses(self, epoch: int, parts: Sequence[Embedded]) -> dict[str, Tensor]:
        """All terms that are active in this epoch."""
        weight = cluster_weight(self.config, epoch)
        share = 1 / len(parts)
        losses: dict[str, Tensor] = {}
        terms: list[tuple[float, Tensor]] = []
        for name, part, clusterings in zip(self.training.letters, parts, self.clusterings, strict=True):
            logits = bank_logits(part.q, part.bank, self.config.temperature)
            log_total = torch.logsumexp(logits, dim=1)
            instance = instance_contrast(
                part.q, part.keys, part.bank, part.index, self.config.temperature, logits, log_total
            )
            losses[f"instance_{name}"] = instance
            terms.append((share, instance))
            if clusterings and epoch >= self.config.cluster_epoch:
                cluster = self._cluster_loss(part, clusterings, log_total)
                losses[f"cluster_{name}"] = cluster
                terms.append((share * weight, cluster))
        if epoch >= self.config.align_epoch and self.clusterings[0]:
            weights = {"entropy": self.config.entropy_weight, "distance": self.config.distance_weight}
            for term, loss in self._alignment(parts).items():
                losses[term] = loss
                terms.append((weights[term], loss))
        return {"total": weighted_total(terms), **losses}

    def _cluster_loss(self, part: Embedded, clusterings: list[Clustering], log_total: Tensor) -> Tensor:
        temperature = self.config.temperature
        sure, positives, means, offset = [], [], [], 0
        for clustering in clusterings:
            own = part.clusters(clustering.assignments, clustering.centroids)
            sure.append(gate_probability(part.keys, clustering.prototypes, own, temperature) > self.config.gate)
            # With one set of clusters a positive shares the cluster; several at once need every image in the bank.
            positives.append((clustering.positives[part.index] if part.held is None else own) + offset)
            means.append(cluster_means(part.bank, clustering.positives, clustering.sizes))
            offset += len(clustering.sizes)
        own, gates = torch.stack(positives), torch.stack(sure)
        return cluster_contrast(part.q, part.bank, own, gates, torch.cat(means), temperature, log_total)

    def _alignment(self, parts: Sequence[Embedded]) -> dict[str, Tensor]:
        """The terms by which domains see each other; of one domain the entropy of its own clusters alone."""
        features = [part.q for part in parts]
        each: dict[str, list[Tensor]] = {"entropy": [], "distance": []}
        for of_count in zip(*self.clusterings, strict=True):
            prototypes = [clustering.prototypes for clustering in of_count]
            each["entropy"].append(self_entropy(features, prototypes, self.config.entropy_temperature))
            if len(parts) > 1:
                each["distance"].append(
                    distance_of_distance(features, prototypes, self.config.distance_temperature)
                )
        return {term: torch.stack(losses).mean() for term, losses in each.items() if losses}

    def _cluster(self, domain: int, features: Tensor) -> list[Clustering]:
        device = self.training.device
        clusterings: list[Clustering] = []
        positives: Tensor | None = None
        for position, count in enumerate(self.counts[domain]):
            start = self._previous_centroids(domain, position) if self.config.warm_start else None
            found = kmeans(
                features,
                count,
                seed=position,
                iterations=self.config.iterations,
                restarts=self.config.restarts,
                start=start,
            )
            assignments = found.assignments
            if self.config.several == "cumulative" and positives is not None:
                joined = positives * (int(assignments.max()) + 1) + assignments
                positives = torch.unique(joined, return_inverse=True)[1]
            else:
                positives = assignments
            parts = (assignments, found.centroids, found.prototypes, positives, torch.bincount(positives))
            clusterings.append(Clustering(*(part.to(device) for part in parts)))
        return clusterings

    def _previous_centroids(self, domain: int, position: int) -> Tensor | None:
        before = self.clusterings[domain]
        return before[position].centroids.cpu() if position < len(before) else None

    def _choose_counts(self, features: Sequence[Tensor]) -> list[list[int]]:
        if self.training.job.oracle is not None:
            return [[self.training.job.oracle.classes[domain]] for domain in self.training.job.domains]
        if self.config.clusters == "auto":
            return [shared_ladder(features, self.config.count_method)] * len(features)
        counts = sorted(self.config.clusters)
        if counts[-1] > min(map(len, features)):
            raise ConfigError(f"{counts[-1]} clusters cannot be made of {min(map(len, features))} images")
        return [counts] * len(features)

    def state(self) -> dict[str, Any]:
        """Clusters of the epoch and the counts chosen."""
        clusters = [[list(clustering) for clustering in domain] for domain in self.clusterings]
        return {"clusters": clusters, "counts": [list(counts) for counts in self.counts]}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` gave."""
        device = self.training.device
        self.clusterings = [
            [Clustering.restored(parts, device) for parts in domain] for domain in state["clusters"]
        ]
        self.counts = [list(counts) for counts in state["counts"] if counts]


class UCDIR(Method[UCDIRConfig]):
    """UCDIR on a head or on the whole network."""

    name = "ucdir"
    summary = "UCDIR (instance and cluster-wise contrast, self-entropy, distance-of-distance), without labels"
    Config = UCDIRConfig
    tunes = tuple(HEAD_OR_BACKBONE)

    def fit(self, job: FitJob) -> Encoder:
        """See ``fit_two_views``."""
        return fit_two_views(self, job, partial(_UCDIRLosses, config=self.config))


def cluster_weight(config: UCDIRConfig, epoch: int) -> float:
    """w_C(e): 0 up to ``cluster_epoch``, then linear up to its full value at ``align_epoch``."""
    return config.cluster_weight * linear_ramp(epoch, config.cluster_epoch, config.align_epoch)
