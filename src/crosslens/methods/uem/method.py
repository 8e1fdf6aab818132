"""UEM (Wang, Du and Zhu, NeurIPS 2024): unsupervised retrieval between domains that need not share their classes.

Stage 1 learns each domain's own structure and gives both the same constellation of prototypes: cluster each
domain's slow memory bank, translate B's prototypes by the difference of the bank means, match one to one, merge
what is close.

    L_1 = sum_D [ L_INCE + a(e) (L_PNCE + L_SEL) ],    a(e) = sigmoid(e - E/2)

Stage 2 moves the domains onto each other without losing that structure: adversarial alignment, pairwise relations
held to those of the frozen stage-1 encoder, and a pull to the counterpart of the own cluster and, when it is
reliable, to the nearest neighbour of the other domain.

    L_2 = L_DAL + sum_D [ L_SPR + L_SN2M ]

The authors train a ResNet-50; the defaults here are for a head on cached features. What the paper leaves open is a
setting, and so is each remedy for a trap of its design.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from crosslens.encoder import Encoder
from crosslens.losses.adversarial import domain_accuracy, domain_adversarial
from crosslens.losses.semantic import (
    neighbour_match_loss,
    prototype_loss,
    semantic_enhanced,
    semantic_preserving,
    slow_bank_contrast,
    switchable_match_loss,
)
from crosslens.methods.base import FitJob, Method
from crosslens.methods.best_epoch import BestEpoch
from crosslens.methods.tuned import Member, Tuned, members_of, tuned_head_or_backbone, weighted_total
from crosslens.methods.two_view import Embedded, load_banks
from crosslens.methods.uem.config import UEMConfig
from crosslens.methods.uem.counts import ClusterCounts
from crosslens.methods.uem.structure import Clustering, cluster_domains
from crosslens.nn.gradient_reversal import DomainClassifier, reversal_strength, reverse_gradient
from crosslens.ops.matching import cross_neighbours, switchable_match
from crosslens.support.errors import TrainingError
from crosslens.support.progress import note
from crosslens.training.batches import PairBatches
from crosslens.training.loop import train
from crosslens.training.schedules import sigmoid_step
from crosslens.training.undo import keep

ACTIVE = 1e-3
"""Least weight a(e) at which prototypes are made at all (epoch E/2 - 7)."""
WINS, COLLAPSED = 0.95, 0.52
"""Accuracy of the domain classifier above which it wins, and below which it tells nothing."""


class UEM(Method[UEMConfig]):
    """UEM on a head or on the whole network."""

    name = "uem"
    summary = "UEM (semantic-enhanced private and unified prototypes per domain), without labels"
    Config = UEMConfig
    tunes = ("head", "full")

    def fit(self, job: FitJob) -> Encoder:
        """Train both stages, resuming where the run stopped, and return the encoder of the last epoch.

        Raises:
            TrainingError: unless two domains of two or more images are given, or when a loss stops being finite.
            ConfigError: for settings that do not go together.
        """
        members = members_of(self, job)
        tuned = tuned_head_or_backbone(job, self.config)
        networks, facts = [], {}
        for member in members:
            training = UEMTraining(self, job, tuned, member.seed)
            training.run(member)
            networks.append(training.network)
            facts = training.facts()
        return tuned.encoder(networks, self.name, self.facts(job) | facts)


class UEMTraining:
    """Both stages of one network; a ``Trainable`` of the training loop in each.

    Every image is seen once an epoch: its slow bank row stands for the second view.

    Args:
        method: whose settings and facts these are.
        job: the fit.
        tuned: what may change.
        seed: of everything random.

    Attributes:
        stage: 1 or 2.
        banks: memory banks ``(N, d)`` of both domains.
        pending: index and rows of the last step, which are not in the banks yet.
        clusterings: of the epoch, one a count.
    """

    def __init__(self, method: UEM, job: FitJob, tuned: Tuned, seed: int) -> None:
        self.method, self.job, self.tuned, self.seed = method, job, tuned, seed
        self.config = config = method.config
        views = tuned.views
        for domain, view in zip(job.domains, views, strict=True):
            if len(view) < 2:
                raise TrainingError(
                    f"the domain {domain!r} has one image, and one image has no structure to match"
                )
        known = None if job.oracle is None else [job.oracle.classes[domain] for domain in job.domains]
        self.counts = ClusterCounts(
            config, (len(views[0]), len(views[1])), (known[0], known[1]) if known else None, seed
        )
        torch.manual_seed(seed)
        self.batches = PairBatches(views, config.batch_size, seed, config.order, job.world, views_per_image=1)
        self.epochs = config.epochs
        self.steps = min(self.batches.steps, config.most_steps or self.batches.steps)
        self.network = tuned.new_network(seed)
        self.optimizer = tuned.optimizer(self.network)
        self.best = BestEpoch(job, [features.catalog for features in tuned.features])
        self.banks = [self.centre_features(domain) for domain in (0, 1)]
        self.neighbours = self._neighbours() if config.matching == "votes" else None
        self.stage = 1
        self.clusterings: list[Clustering] = []
        self.pending: list[tuple[Tensor, Tensor]] = []
        self.quantile = config.merge_quantile
        self.accuracies: list[float] = []
        self.paused = False
        self.undo: list[Callable[[], object]] = []

    def run(self, member: Member) -> None:
        """Train both stages to their ends, from the checkpoint where there is one."""
        stages = "" if not self.config.align_epochs else ", stage 1"
        self._train(f"{member.checkpoint}-stage-1", f"{member.label}{stages}")
        if self.config.align_epochs:
            self._begin_alignment()
            self._train(f"{member.checkpoint}-stage-2", f"{member.label}, stage 2")
        self._write_bank()

    def start_epoch(self, epoch: int) -> Mapping[str, float]:
        """Refresh the banks where asked to, cluster them and unify the prototypes."""
        self._write_bank()
        kind = self.config.bank if self.stage == 1 else self.config.align_bank
        if kind == "refresh":
            self.banks = [self.centre_features(domain) for domain in (0, 1)]
        means = [bank.mean(0) for bank in self.banks]
        info: dict[str, float] = {
            "stage": self.stage,
            "mean_cosine": float(torch.cosine_similarity(means[0], means[1], dim=0)),
            "mean_distance": float((means[0] - means[1]).norm()),
        }
        if self.stage == 1:
            info["prototype_schedule"] = self._schedule(epoch)
        if self.stage == 2 or self._schedule(epoch) > ACTIVE:
            made = cluster_domains(
                self.banks,
                self.job.world.share(self._counts(epoch)),
                self.config,
                quantile=self.quantile,
                seed=self.seed,
                before=self.clusterings,
                neighbours=self.neighbours,
            )
            self.clusterings = self.job.world.share(made)
            largest = max(self.clusterings, key=lambda c: len(c.centroids[0]))
            info |= {
                "clusters_a": len(largest.centroids[0]),
                "clusters_b": len(largest.centroids[1]),
                "n_merged": largest.structure.n_merged,
                "merge_threshold": largest.structure.threshold,
                "merge_quantile": self.quantile,
            }
        return info

    def step(self, epoch: int, step: int) -> dict[str, Tensor]:
        """One step's losses. Its bank rows are written before the next one, so that no loss meets its own row."""
        self._write_bank()
        self.undo = [keep(list(self.network.buffers())), partial(self._forget_step, len(self.accuracies))]
        if self.stage == 2:
            self.undo.append(keep(list(self.frozen.buffers())))
        batch = self.batches.get(epoch, step)
        rows = self.tuned.forward(self.network.train(), batch.queries)
        parts = []
        for domain in (0, 1):
            z = self.job.world.gather(rows[domain])
            index = batch.index[domain].to(z.device)
            parts.append(Embedded(z, z.detach(), index, self.banks[domain]))
        self.pending = [(part.index, part.keys) for part in parts]
        if self.stage == 1:
            return self.losses(epoch, (parts[0], parts[1]))
        with torch.no_grad():
            before = self.tuned.forward(self.frozen.train(), batch.queries)
        frozen = (self.job.world.gather(before[0]), self.job.world.gather(before[1]))
        progress = (epoch * self.steps + step) / (self.epochs * self.steps)
        strength = 0.0 if self.paused else reversal_strength(progress, self.config.reversal_ramp)
        losses = self._alignment_losses(epoch, (parts[0], parts[1]), frozen, strength)
        self.accuracies.append(float(losses["discriminator_accuracy"]))
        return losses

    def losses(self, epoch: int, parts: tuple[Embedded, Embedded]) -> dict[str, Tensor]:
        """Stage 1: L_IPM and L_SEL of both domains (eq. 6 to 12)."""
        weight = self._schedule(epoch) if self.stage == 1 else 1.0
        losses: dict[str, Tensor] = {}
        terms: list[tuple[float, Tensor]] = []
        for domain, name in enumerate("ab"):
            part = parts[domain]
            instance = slow_bank_contrast(
                part.q,
                part.bank,
                part.index,
                self.config.temperature,
                self.config.negatives,
                self.config.reduction,
            )
            losses[f"instance_{name}"] = instance
            terms.append((self.config.instance_weight, instance))
            if self.clusterings and weight > ACTIVE:
                losses[f"prototype_{name}"] = self._mean(c for c in self._prototype_losses(domain, part))
                losses[f"semantic_{name}"] = self._mean(c for c in self._semantic_losses(domain, part))
                terms.append((weight * self.config.prototype_weight, losses[f"prototype_{name}"]))
                terms.append((weight * self.config.semantic_weight, losses[f"semantic_{name}"]))
        return {"total": weighted_total(terms), **losses}

    def _prototype_losses(self, domain: int, part: Embedded) -> Any:
        for clustering in self.clusterings:
            prototypes, index = clustering.prototypes[domain], clustering.positions[domain]
            own = clustering.assignments[domain][part.index]
            if self.config.foreign_negatives:
                own = index[own]
            else:
                prototypes = prototypes[index]
            yield prototype_loss(part.q, prototypes, own, self.config.temperature, self.config.reduction)

    def _semantic_losses(self, domain: int, part: Embedded) -> Any:
        for clustering in self.clusterings:
            yield semantic_enhanced(
                part.q,
                clustering.prototypes[domain],
                self.config.temperature,
                detach_weights=self.config.detach_weights,
            )

    def _schedule(self, epoch: int) -> float:
        """a(e), the weight of prototypes in stage 1."""
        return sigmoid_step(epoch, 2 * self.config.prototype_start * self.config.epochs)

    def _begin_alignment(self) -> None:
        """Freeze what stage 1 learned and set a domain classifier against the encoder."""
        self._write_bank()
        self.stage, self.epochs = 2, self.config.align_epochs
        self.frozen = copy.deepcopy(self.network).requires_grad_(False)
        for module in self.frozen.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.momentum = 0.0  # batch statistics as in training, running ones untouched
        device = self.banks[0].device
        torch.manual_seed(self.seed + 1)
        self.classifier = DomainClassifier(self.banks[0].shape[1], self.config.hidden).to(device)
        self.optimizer = self.tuned.optimizer(self.network)
        rate = self.config.lr * self.config.align_lr
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        for weight in self.classifier.parameters():
            # Every process has the whole gradient of the classifier, and the loop adds them up.
            weight.register_hook(lambda gradient: gradient / self.job.world.size)
        own = {"params": list(self.classifier.parameters()), "lr": rate * self.config.classifier_lr}
        self.optimizer.add_param_group(own)
        self._fall_back()

    def _fall_back(self) -> None:
        """Merge at a larger quantile in stage 2 where too few prototypes merged in stage 1."""
        fallback = self.config.merge_fallback
        by_distance = self.config.merge and self.config.matching == "distance"
        if self.clusterings and by_distance and fallback is not None and fallback > self.quantile:
            structures = [clustering.structure for clustering in self.clusterings]
            pairs = sum(min(len(s.index_a), len(s.index_b)) for s in structures)
            merged = sum(s.n_merged for s in structures)
            if merged < 0.2 * pairs:
                note(f"{merged} of {pairs} prototype pairs merged; stage 2 merges at the quantile {fallback}")
                self.quantile = fallback

    def _alignment_losses(
        self, epoch: int, parts: tuple[Embedded, Embedded], frozen: tuple[Tensor, Tensor], strength: float
    ) -> dict[str, Tensor]:
        """Stage 2: L_DAL, L_SPR and L_SN2M (eq. 13 to 18)."""
        config = self.config
        logits = [self.classifier(reverse_gradient(part.q, strength)) for part in parts]
        losses = {"adversarial": domain_adversarial(logits[0], logits[1], config.reduction)}
        terms = [(config.adversarial_weight, losses["adversarial"])]
        for domain, name in enumerate("ab"):
            losses[f"preserve_{name}"] = semantic_preserving(parts[domain].q, frozen[domain])
            terms.append((config.preserve_weight, losses[f"preserve_{name}"]))
            if config.match != "none" and epoch >= config.match_epoch:
                found = [self._match(c, domain, parts) for c in self.clusterings]
                losses[f"match_{name}"] = self._mean(loss for loss, _ in found)
                losses[f"switch_rate_{name}"] = self._mean(rate for _, rate in found)
                terms.append((config.match_weight, losses[f"match_{name}"]))
        if config.keep_stage1:
            kept = self.losses(epoch, parts)
            terms.append((config.keep_stage1, kept.pop("total")))
            losses |= kept
        losses["discriminator_accuracy"] = domain_accuracy(logits[0], logits[1])
        losses["reversal_strength"] = torch.tensor(strength)
        return {"total": weighted_total(terms), **losses}

    def _match(
        self, clustering: Clustering, domain: int, parts: tuple[Embedded, Embedded]
    ) -> tuple[Tensor, Tensor]:
        """Loss of domain's anchors towards the other domain, and the share of reliable ones."""
        anchors, other = parts[domain].q, self.banks[1 - domain]
        index, prototypes = clustering.positions[domain], clustering.prototypes[1 - domain]
        temperature = self.config.temperature
        positions = clustering.nearest[1 - domain]
        found = switchable_match(
            anchors.detach(),
            clustering.centroids[domain],
            index,
            other,
            positions,
            unit_bank=self.config.unit_bank,
        )
        rate = found.reliable.float().mean()
        if self.config.match == "neighbour":
            return neighbour_match_loss(anchors, other, found.neighbour, temperature), rate
        excluded = None
        if self.config.exclude_same_prototype:
            excluded = positions[None, :] == found.target[:, None]
        loss = switchable_match_loss(
            anchors, prototypes, other, found.target, found.neighbour, found.reliable, temperature, excluded
        )
        return loss, rate

    def end_epoch(self, epoch: int) -> Mapping[str, float]:
        """Judge the domain classifier by the epoch that ends, and pause the game with it where asked to."""
        observed = self.best.observe(self.centre_features, self.encoder)
        return {**observed, **self._watch_discriminator()}

    def _watch_discriminator(self) -> Mapping[str, float]:
        """Whether the domain classifier won or collapsed; an accuracy of 0.5 to 0.8 is healthy."""
        if not self.accuracies:
            return {}
        accuracy = sum(self.accuracies) / len(self.accuracies)
        self.accuracies = []
        wins, collapsed = accuracy > WINS, accuracy < COLLAPSED
        self.paused = wins and self.config.pause_adversary
        return {"discriminator_wins": float(wins), "discriminator_collapsed": float(collapsed)}

    def _counts(self, epoch: int) -> list[tuple[int, int]]:
        """Clusters of A and of B, one pair a clustering."""
        due = self.stage == 1 and epoch % self.config.count_every == 0
        return self.counts.of_epoch(self.banks, due=due)

    def _neighbours(self) -> tuple[Tensor, Tensor]:
        """Nearest neighbours across the domains, in the features that training starts from."""
        starts = self.banks
        if self.job.tune == "head":
            starts = [F.normalize(torch.cat(list(view.centres())), dim=1) for view in self.tuned.views]
        return cross_neighbours(*starts)

    def centre_features(self, domain: int) -> Tensor:
        """Features ``(N, d)`` of every centre view, in evaluation mode."""
        return self.tuned.centre_features(self.network, domain)

    def _write_bank(self) -> None:
        write_banks(self.banks, self.pending, self.config.bank_momentum, unit=self.config.unit_bank)
        self.pending = []

    @staticmethod
    def _mean(values: Any) -> Tensor:
        return torch.stack(list(values)).mean()

    def _train(self, name: str, label: str) -> None:
        train(self, self.job.run, world=self.job.world, name=name, label=label, after_epoch=self.end_epoch)

    def undo_step(self) -> None:
        """Take back what the last ``step`` changed; the bank rows it wrote are the step's before."""
        while self.undo:
            self.undo.pop()()

    def _forget_step(self, accuracies: int) -> None:
        self.pending = []
        self.accuracies = self.accuracies[:accuracies]

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
        self._write_bank()
        facts = self.method.facts(self.job) | self.facts()
        return self.tuned.encoder([self.network], self.method.name, facts)

    def state(self) -> dict[str, Any]:
        """Network, banks, optimiser, clusters, rows not yet written, and stage 2's frozen encoder and
        classifier."""
        extra: dict[str, Any] = {
            "stage": self.stage,
            "clusterings": [clustering.to_state() for clustering in self.clusterings],
            "pending": [list(rows) for rows in self.pending],
            "estimates": [list(history) for history in self.counts.history],
            "quantile": self.quantile,
        }
        if self.stage == 2:
            extra |= {"frozen": self.frozen.state_dict(), "classifier": self.classifier.state_dict()}
            extra |= {"accuracies": list(self.accuracies), "paused": self.paused}
        return {
            "network": self.tuned.state(self.network),
            "banks": list(self.banks),
            "optimizer": self.optimizer.state_dict(),
            "best_score": self.best.score,
            "extra": extra,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` gave."""
        self.tuned.load_state(self.network, state["network"])
        load_banks(self.banks, state["banks"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best.score = state["best_score"]
        extra, device = state["extra"], self.banks[0].device
        self.clusterings = [Clustering.from_state(part, device) for part in extra["clusterings"]]
        self.pending = [(index.to(device), rows.to(device)) for index, rows in extra["pending"]]
        self.counts.history = (list(extra["estimates"][0]), list(extra["estimates"][1]))
        self.quantile = extra["quantile"]
        if self.stage == 2:
            self.frozen.load_state_dict(extra["frozen"])
            self.classifier.load_state_dict(extra["classifier"])
            self.accuracies, self.paused = list(extra["accuracies"]), extra["paused"]


def write_banks(
    banks: Sequence[Tensor], rows: Sequence[tuple[Tensor, Tensor]], beta: float, *, unit: bool
) -> None:
    """``m <- beta m + (1 - beta) z``, in place, for the images of a step (eq. 5).

    Args:
        banks: of both domains ``(N, d)``.
        rows: per domain the slots ``(B,)`` and z ``(B, d)``; nothing where no step was made.
        beta: in [0, 1).
        unit: scale what is written to unit length.
    """
    for bank, (index, z) in zip(banks, rows, strict=False):
        moved = beta * bank[index] + (1 - beta) * z
        bank[index] = F.normalize(moved, dim=1) if unit else moved
