"""ProtoOT (Li et al., AAAI 2024): unsupervised cross-domain image retrieval by prototypical optimal transport.

Unlabelled domains with the same classes. Per domain, k-means gives prototypes and the share of the images that
each should get; optimal transport with these shares (Sinkhorn) says which prototype is an image's own. Three
contrasts have the same negatives, the prototypes that are not: the positive is the other view of the image, its
nearest neighbour in the memory bank, or its own prototype. From the middle of the training on the prototypes
of the other domain take part in the same way.

    L = sum_D ( L_view^D + lam_N L_neighbour^D + lam_P L_prototype^D + lam_X(e) L_cross^D )

Formulas and order within a step are those of the authors' code (HCVLab/ProtoOT at ebe94d7), but for what
``published`` says. As in UCDIR here, several counts are clustered at once and their losses averaged, since no
label tells the right one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from crosslens.encoder import Encoder
from crosslens.losses.cluster import unmatched_contrast
from crosslens.methods.base import FitJob, Method
from crosslens.methods.cluster_setting import ClusterSetting
from crosslens.methods.tuned import HEAD_OR_BACKBONE, weighted_total
from crosslens.methods.two_view import Embedded, Objective, TwoViewConfig, TwoViewTraining, fit_two_views
from crosslens.ops.cluster_count import shared_ladder
from crosslens.ops.kmeans import kmeans
from crosslens.ops.sinkhorn import transport_codes


class ProtoOTConfig(TwoViewConfig):
    """Settings of ProtoOT; transport and the weights within a domain are the authors'."""

    neighbour_weight: float = Field(0.5, ge=0)
    """lam_N, of the nearest neighbour as the positive."""
    prototype_weight: float = Field(0.1, ge=0)
    """lam_P, of the own prototype as the positive."""
    cross_weight: float = Field(0.3, ge=0)
    """lam_X, of the other domain's prototype as the positive; 0.01 in the authors' code."""
    cross_epoch: int = Field(10, ge=0)
    """First epoch with it."""
    transport_temperature: float = Field(0.05, ge=0.02)
    """Of optimal transport; the smaller, the harder the codes."""
    transport_rounds: int = Field(3, ge=1)
    """Of Sinkhorn's scaling, in every step."""
    clusters: ClusterSetting = "auto"
    """Clusters per domain: ``auto`` estimates a count and takes several around it; a number, or several, are taken
    as given."""
    restarts: int = Field(2, ge=1)
    """Of k-means; the authors take the best of 20."""
    iterations: int = Field(20, ge=1)
    """Of k-means."""
    published: bool = False
    """Keep what look like slips of the authors' code: the shares of an epoch's new clusters go with the prototypes
    of the first epoch, in whatever order; another domain's prototype has the share of the own domain's one of the
    same number; across domains the negatives, but not the positive, are divided by the length of their row."""

    # What this project adds.
    members: int = Field(3, ge=1)


class Prototypes(NamedTuple):
    """One domain's prototypes at one count.

    Attributes:
        vectors: unit rows ``(C, d)``; they move with every step.
        shares: of the domain's images ``(C,)`` that each is to get.
    """

    vectors: Tensor
    shares: Tensor


class ProtoOTLosses(Objective):
    """The prototypes and the four contrasts with them."""

    def __init__(self, training: TwoViewTraining[Any], config: ProtoOTConfig) -> None:
        super().__init__(training)
        self.config = config
        # Per domain, one a count.
        self.prototypes: list[list[Prototypes]] = []

    def start_epoch(self, epoch: int) -> Mapping[str, float]:
        """Cluster the memory banks, each domain alone."""
        rows = [bank.cpu() for bank in self.training.banks]
        counts = [len(prototypes.shares) for prototypes in self.prototypes[0]] if epoch else self._counts(rows)
        found = self.training.job.world.share(
            [[self._cluster(own, k, n) for n, k in enumerate(counts)] for own in rows]
        )
        if epoch and self.config.published:
            pairs = [zip(*pair, strict=True) for pair in zip(self.prototypes, found, strict=True)]
            found = [[old._replace(shares=new.shares) for old, new in pair] for pair in pairs]
        self.prototypes = self._placed(found)
        info: dict[str, float] = {}
        for name, several in zip(self.training.letters, self.prototypes, strict=True):
            info[f"clusters_{name}"] = len(several[-1].shares)
            info[f"largest_cluster_{name}"] = float(several[-1].shares.max())
        return info

    def losses(self, epoch: int, parts: Sequence[Embedded]) -> dict[str, Tensor]:
        """All terms that are active in this epoch; moves the prototypes on."""
        config = self.config
        losses: dict[str, Tensor] = {}
        terms: list[tuple[float, Tensor]] = []
        before = self.prototypes
        self.training.undo.append(lambda: setattr(self, "prototypes", before))
        self.prototypes = []
        for name, part, several in zip(self.training.letters, parts, before, strict=True):
            nearest = part.bank[nearest_others(part)]
            within = [self._within(part, nearest, prototypes) for prototypes in several]
            view, neighbour, prototype = torch.stack([found for found, _ in within]).mean(0)
            losses |= {f"view_{name}": view, f"neighbour_{name}": neighbour, f"prototype_{name}": prototype}
            terms += [(1.0, view), (config.neighbour_weight, neighbour), (config.prototype_weight, prototype)]
            self.prototypes.append([moved for _, moved in within])
        if epoch >= config.cross_epoch and config.cross_weight and len(parts) > 1:
            for domain, (name, part) in enumerate(zip(self.training.letters, parts, strict=True)):
                losses[f"cross_{name}"] = self._across(domain, part)
                terms.append((config.cross_weight, losses[f"cross_{name}"]))
        return {"total": weighted_total(terms), **losses}

    def _within(self, part: Embedded, nearest: Tensor, prototypes: Prototypes) -> tuple[Tensor, Prototypes]:
        """View, neighbour and prototype terms ``(3,)`` at one count, and the prototypes moved to their images."""
        codes = self._codes(part.bank, prototypes.vectors, prototypes.shares)
        own = codes[part.index].argmax(1)
        scores = part.q @ prototypes.vectors.t()
        positives = (part.keys, nearest, prototypes.vectors[own])
        terms = [
            unmatched_contrast((part.q * positive).sum(1), scores, own, self.config.temperature)
            for positive in positives
        ]
        return torch.stack(terms), prototypes._replace(vectors=F.normalize(codes.t() @ part.bank, dim=1))

    def _across(self, domain: int, part: Embedded) -> Tensor:
        """The term with the prototypes of every other domain, the mean over these and over counts."""
        found = []
        for other in range(len(self.prototypes)):
            if other == domain:
                continue
            for mine, theirs in zip(self.prototypes[domain], self.prototypes[other], strict=True):
                shares = mine.shares if self.config.published else theirs.shares
                own = self._codes(part.bank, theirs.vectors, shares)[part.index].argmax(1)
                scores = part.q @ theirs.vectors.t()
                positive = scores.gather(1, own[:, None]).squeeze(1)
                negatives = F.normalize(scores, dim=1) if self.config.published else scores
                found.append(unmatched_contrast(positive, negatives, own, self.config.temperature))
        return torch.stack(found).mean()

    def _codes(self, bank: Tensor, prototypes: Tensor, shares: Tensor) -> Tensor:
        """How much of every image ``(N, C)`` each prototype gets."""
        scores = F.normalize(bank @ prototypes.t(), dim=1)
        return transport_codes(scores, shares, self.config.transport_temperature, self.config.transport_rounds)

    def _cluster(self, rows: Tensor, count: int, seed: int) -> Prototypes:
        config = self.config
        found = kmeans(rows, count, seed=seed, iterations=config.iterations, restarts=config.restarts)
        return Prototypes(found.prototypes, torch.bincount(found.assignments, minlength=count) / len(rows))

    def _counts(self, rows: Sequence[Tensor]) -> list[int]:
        """Counts of clusters; the domains show the same classes, so they have them in common."""
        oracle = self.training.job.oracle
        if oracle is not None:
            return [max(oracle.classes[domain] for domain in self.training.job.domains)]
        if self.config.clusters != "auto":
            return sorted(self.config.clusters)
        return shared_ladder(rows)

    def _placed(self, prototypes: Sequence[Sequence[Sequence[Tensor]]]) -> list[list[Prototypes]]:
        device = self.training.device
        return [[Prototypes(*(t.to(device) for t in each)) for each in several] for several in prototypes]

    def state(self) -> dict[str, Any]:
        """The prototypes as they are."""
        return {"prototypes": [[list(each) for each in several] for several in self.prototypes]}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` gave."""
        self.prototypes = self._placed(state["prototypes"])


def nearest_others(part: Embedded) -> Tensor:
    """Slots ``(B,)`` of the bank whose rows are nearest to the keys, their own left out."""
    scores = part.keys @ part.bank.t()
    return scores.scatter(1, part.index[:, None], -torch.inf).argmax(1)


class ProtoOT(Method[ProtoOTConfig]):
    """ProtoOT on a head or on the whole network."""

    name = "protoot"
    summary = "ProtoOT (prototypical optimal transport and contrast with unmatched prototypes), without labels"
    Config = ProtoOTConfig
    tunes = tuple(HEAD_OR_BACKBONE)

    def fit(self, job: FitJob) -> Encoder:
        """See ``fit_two_views``."""
        return fit_two_views(self, job, partial(ProtoOTLosses, config=self.config))
