"""What UEM's two stages work on one after the other: a network, slow memory banks and unified prototypes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from crosslens.encoder import Encoder
from crosslens.methods.base import FitJob, Method
from crosslens.methods.best_epoch import BestEpoch
from crosslens.methods.tuned import Tuned
from crosslens.methods.two_view import load_banks
from crosslens.methods.uem.config import BankSource, UEMConfig
from crosslens.methods.uem.counts import ClusterCounts
from crosslens.methods.uem.structure import Clustering, cluster_domains
from crosslens.ops.matching import cross_neighbours
from crosslens.support.errors import TrainingError
from crosslens.support.progress import note
from crosslens.training.batches import DomainBatch, DomainBatches
from crosslens.training.letters import domain_letters
from crosslens.training.undo import keep


@dataclass(frozen=True)
class Anchors:
    """One domain's images of a step, over the whole batch of all processes.

    Attributes:
        z: features ``(B, d)``, unit rows, with gradient.
        index: bank slots ``(B,)``.
    """

    z: Tensor
    index: Tensor


class Learner:
    """The network of one training with its memory banks and the unified prototypes of the epoch.

    Every image is seen once an epoch: its slow bank row stands for the second view.

    Args:
        method: whose settings and facts these are.
        job: the fit.
        tuned: what may change.
        seed: of everything random.

    Attributes:
        letters: of the domains in the log, ``a`` the first.
        banks: memory banks ``(N, d)`` of each domain.
        pending: index and rows of the last step, which are not in the banks yet.
        clusterings: of the epoch, one a count.
        quantile: of the nearest-centroid distances, below which prototypes merge.

    Raises:
        TrainingError: when a domain has too few images.
        ConfigError: when more clusters are asked for than a domain has images.
    """

    def __init__(self, method: Method[UEMConfig], job: FitJob, tuned: Tuned, seed: int) -> None:
        self.method, self.job, self.tuned, self.seed = method, job, tuned, seed
        self.config = config = method.config
        views = tuned.views
        for domain, view in zip(job.domains, views, strict=True):
            if len(view) < 2:
                raise TrainingError(
                    f"the domain {domain!r} has one image, and one image has no structure to match"
                )
        known = None if job.oracle is None else [job.oracle.classes[domain] for domain in job.domains]
        self.counts = ClusterCounts(config, [len(view) for view in views], known, seed)
        torch.manual_seed(seed)
        self.batches = DomainBatches(
            views, config.batch_size, seed, config.order, job.world, 1, config.least_steps
        )
        self.steps = min(self.batches.steps, config.most_steps or self.batches.steps)
        self.network = tuned.new_network(seed)
        self.best = BestEpoch(job, [features.catalog for features in tuned.features])
        self.letters = domain_letters(len(job.domains))
        self.banks = self.centre_banks()
        self.neighbours: list[tuple[Tensor, Tensor]] | None = None
        if config.matching == "votes":
            starts = [tuned.features_before_training(domain, bank) for domain, bank in enumerate(self.banks)]
            self.neighbours = [
                cross_neighbours(torch.cat(starts[:number]), starts[number]) for number in range(1, len(starts))
            ]
        self.clusterings: list[Clustering] = []
        self.pending: list[tuple[Tensor, Tensor]] = []
        self.quantile = config.merge_quantile

    def centre_features(self, domain: int) -> Tensor:
        """Features ``(N, d)`` of every centre view, in evaluation mode."""
        return self.tuned.centre_features(self.network, domain)

    def centre_banks(self) -> list[Tensor]:
        """``centre_features`` of every domain."""
        return [self.centre_features(domain) for domain in range(len(self.letters))]

    def begin_epoch(self, source: BankSource) -> dict[str, float]:
        """Write what the last step left, and refresh the banks where asked to; returns numbers for the log."""
        self.write_banks()
        if source == "refresh":
            self.banks = self.centre_banks()
        pairs = list(combinations([bank.mean(0) for bank in self.banks], 2))
        cosines = [float(torch.cosine_similarity(a, b, dim=0)) for a, b in pairs]
        distances = [float((a - b).norm()) for a, b in pairs]
        return {
            "mean_cosine": sum(cosines) / len(pairs),
            "mean_distance": sum(distances) / len(pairs),
        }

    def unify_prototypes(self, *, due: bool) -> dict[str, float]:
        """Cluster the banks and unify their prototypes (eq. 8 and 9); returns numbers for the log.

        Args:
            due: estimate the numbers of clusters anew.
        """
        made = cluster_domains(
            self.banks,
            self.job.world.share(self.counts.of_epoch(self.banks, due=due)),
            self.config,
            quantile=self.quantile,
            seed=self.seed,
            before=self.clusterings,
            neighbours=self.neighbours,
        )
        self.clusterings = self.job.world.share(made)
        largest = max(self.clusterings, key=lambda c: len(c.centroids[0]))
        return {
            **{f"clusters_{name}": len(c) for name, c in zip(self.letters, largest.centroids, strict=True)},
            "n_merged": largest.structure.n_merged,
            "merge_threshold": largest.structure.threshold,
            "merge_quantile": self.quantile,
        }

    def embed(self, epoch: int, step: int) -> tuple[DomainBatch, list[Anchors]]:
        """The images of a step and their features. Their bank rows are not written before the next step, so that
        no loss meets its own row."""
        batch = self.batches.get(epoch, step)
        anchors = [
            Anchors(z, index.to(z.device))
            for z, index in zip(self.features(self.network, batch), batch.index, strict=True)
        ]
        self.pending = [(part.index, part.z.detach()) for part in anchors]
        return batch, anchors

    def features(self, network: torch.nn.Module, batch: DomainBatch) -> list[Tensor]:
        """A network's features ``(B, d)`` of a step's images, per domain, of all processes, in training."""
        return [self.job.world.gather(rows) for rows in self.tuned.forward(network.train(), batch.queries)]

    def write_banks(self) -> None:
        """Move the bank rows of the last step's images (eq. 5)."""
        write_banks(self.banks, self.pending, self.config.bank_momentum, unit=self.config.unit_bank)
        self.pending = []

    def begin_step(self) -> list[Callable[[], object]]:
        """Write the bank rows of the step before; returns what takes back all that this one changes before the
        optimiser does."""
        self.write_banks()
        return [keep(list(self.network.buffers())), partial(setattr, self, "pending", [])]

    def observe(self) -> Mapping[str, float]:
        """With an oracle, score the epoch; returns numbers for the log."""
        return self.best.observe(self.centre_features, self.encoder)

    def raise_merge_quantile(self) -> None:
        """Merge at ``merge_fallback`` from now on where too few prototypes merged so far."""
        fallback = self.config.merge_fallback
        by_distance = self.config.merge and self.config.matching == "distance"
        if self.clusterings and by_distance and fallback is not None and fallback > self.quantile:
            structures = [clustering.structure for clustering in self.clusterings]
            pairs = sum(min(map(len, s.positions)) for s in structures)
            merged = sum(s.n_merged for s in structures)
            if merged < 0.2 * pairs:
                note(f"{merged} of {pairs} prototype pairs merged; stage 2 merges at the quantile {fallback}")
                self.quantile = fallback

    def facts(self) -> dict[str, Any]:
        """What the model card says: the clusters a domain was taken to have."""
        if not self.clusterings:
            return {}
        middle = self.clusterings[len(self.clusterings) // 2]
        counts = self.counts.estimates or [len(centroids) for centroids in middle.centroids]
        clusters = dict(zip(self.job.domains, counts, strict=True))
        return {"clusters": clusters, "merge_quantile": self.quantile}

    def encoder(self) -> Encoder:
        """The encoder of the network as it is now."""
        self.write_banks()
        facts = self.method.facts(self.job) | self.facts()
        return self.tuned.encoder([self.network], self.method.name, facts)

    def state(self, optimizer: torch.optim.Optimizer, stage: int, own: Mapping[str, Any]) -> dict[str, Any]:
        """A stage's checkpoint: network, banks, clusters, rows not yet written, and the stage's own."""
        return {
            "network": self.tuned.state(self.network),
            "banks": list(self.banks),
            "optimizer": optimizer.state_dict(),
            "best_score": self.best.score,
            "extra": {
                "stage": stage,
                "clusterings": [clustering.to_state() for clustering in self.clusterings],
                "pending": [list(rows) for rows in self.pending],
                "estimates": [list(history) for history in self.counts.history],
                "quantile": self.quantile,
                **own,
            },
        }

    def load_state(self, state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Take over what ``state`` gave; returns the stage's own."""
        self.tuned.load_state(self.network, state["network"])
        load_banks(self.banks, state["banks"])
        optimizer.load_state_dict(state["optimizer"])
        self.best.score = state["best_score"]
        extra, device = state["extra"], self.banks[0].device
        self.clusterings = [Clustering.from_state(part, device) for part in extra["clusterings"]]
        self.pending = [(index.to(device), rows.to(device)) for index, rows in extra["pending"]]
        self.counts.history = [list(history) for history in extra["estimates"]]
        self.quantile = extra["quantile"]
        return extra


def write_banks(
    banks: Sequence[Tensor], rows: Sequence[tuple[Tensor, Tensor]], beta: float, *, unit: bool
) -> None:
    """``m <- beta m + (1 - beta) z``, in place, for the images of a step (eq. 5).

    Args:
        banks: of each domain ``(N, d)``.
        rows: per domain the slots ``(B,)`` and z ``(B, d)``; nothing where no step was made.
        beta: in [0, 1).
        unit: scale what is written to unit length.
    """
    for bank, (index, z) in zip(banks, rows, strict=False):
        moved = beta * bank[index] + (1 - beta) * z
        bank[index] = F.normalize(moved, dim=1) if unit else moved
