"""UEM (Wang, Du and Zhu, NeurIPS 2024): unsupervised retrieval between domains that need not share their classes.

**Banks.** Every image has a slow row m in its domain's memory bank, which follows its features z (``learner.py``):

    m <- beta m + (1 - beta) z                                                  (eq. 5)

**Unified prototypes.** Before every epoch each bank is clustered alone. B's centroids are translated by the
difference of the bank means, matched one to one with A's, and merged where they are close, so that both domains
see the same constellation of prototypes p (eq. 8 and 9; ``structure.py``). The paper has two domains; further ones
join the constellation one after the other, are told apart by one classifier, and are matched with every other one
(our extension).

**Stage 1, intra-domain semantic-enhanced learning**, each domain by itself: instance contrast with the bank,
contrast with the own cluster's prototype, and a softly weighted pull to every prototype.

    L_1 = sum_D [ L_INCE + a(e) (L_PNCE + L_SEL) ]                              (eq. 6, 7, 11, 12)
    a(e) = sigmoid(e - E/2)                                                     (eq. 10)

**Stage 2, cross-domain semantic-matched learning**, from where stage 1 ended: a domain classifier that the encoder
deceives; pairwise relations held to those of the frozen stage-1 encoder; a pull to the counterpart of the own
cluster in the other domain and to the nearest neighbour there, where that is reliable: where its prototype is the
counterpart (eq. 15 and 16).

    L_2 = L_DAL + sum_D [ L_SPR + L_SN2M ]                                      (eq. 13, 14, 17, 18)

The authors train a ResNet-50; the defaults here are for a head on cached features. What the paper leaves open is a
setting, and so is each remedy for a trap of its design.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

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
from crosslens.methods.tuned import HEAD_OR_BACKBONE, members_of, weighted_total
from crosslens.methods.uem.config import UEMConfig
from crosslens.methods.uem.learner import Anchors, Learner
from crosslens.methods.uem.structure import Clustering
from crosslens.nn.gradient_reversal import DomainClassifier, reversal_strength, reverse_gradient
from crosslens.ops.matching import switchable_match
from crosslens.training.loop import train
from crosslens.training.schedules import sigmoid_step
from crosslens.training.undo import keep

_ACTIVE = 1e-3
"""Least weight a(e) at which prototypes are made at all (epoch E/2 - 7)."""
WINS, COLLAPSED = 0.95, 1.04
"""Accuracy of the domain classifier above which it wins; that below which it tells nothing, over chance."""


class UEM(Method[UEMConfig]):
    """UEM on a head or on the whole network."""

    name = "uem"
    summary = "UEM (semantic-enhanced private and unified prototypes per domain), without labels"
    Config = UEMConfig
    tunes = tuple(HEAD_OR_BACKBONE)
    least_domains = 2

    def fit(self, job: FitJob) -> Encoder:
        """Train both stages, resuming where the run stopped, and return the encoder of the last epoch.

        Raises:
            TrainingError: unless two or more domains of two or more images are given, or when a loss stops being
                finite.
            ConfigError: for settings that do not go together.
        """
        kind = HEAD_OR_BACKBONE[job.tune]
        members = members_of(self, job, kind)
        # The second view of an image is its own row of the bank.
        job = job.with_at_most(self.config.bank_rows)
        tuned = kind(job, self.config)
        networks, facts = [], {}
        for member in members:
            learner = Learner(self, job, tuned, member.seed)
            stages = ", stage 1" if self.config.align_epochs else ""
            _train(SemanticEnhanced(learner), f"{member.checkpoint}-stage-1", f"{member.label}{stages}")
            if self.config.align_epochs:
                _train(SemanticMatched(learner), f"{member.checkpoint}-stage-2", f"{member.label}, stage 2")
            networks.append(learner.network)
            facts = learner.facts()
        return tuned.encoder(networks, self.name, self.facts(job) | facts)


class SemanticEnhanced:
    """Stage 1, intra-domain semantic-enhanced learning; a ``Trainable`` of the training loop.

    Args:
        learner: what is trained.
    """

    stage: ClassVar[int] = 1

    def __init__(self, learner: Learner) -> None:
        self.learner, self.config = learner, learner.config
        self.epochs, self.steps = self.config.epochs, learner.steps
        self.optimizer = learner.tuned.optimizer(learner.network)
        self.undo: list[Callable[[], object]] = []

    def start_epoch(self, epoch: int) -> Mapping[str, float]:
        """Banks and, as soon as they count, prototypes."""
        weight = prototype_schedule(self.config, epoch)
        info = {"stage": self.stage, **self.learner.begin_epoch(self.config.bank), "prototype_schedule": weight}
        if weight > _ACTIVE:
            info |= self.learner.unify_prototypes(due=epoch % self.config.count_every == 0)
        return info

    def step(self, epoch: int, step: int) -> dict[str, Tensor]:
        """L_1 of one step."""
        self.undo = self.learner.begin_step()
        _, anchors = self.learner.embed(epoch, step)
        return _semantic_enhanced_losses(self.learner, anchors, prototype_schedule(self.config, epoch))

    def end_epoch(self, epoch: int) -> Mapping[str, float]:
        """With an oracle, score the epoch."""
        return self.learner.observe()

    def undo_step(self) -> None:
        """Take back what the last ``step`` changed."""
        _undo(self.undo)

    def state(self) -> dict[str, Any]:
        """See ``Learner``."""
        return self.learner.state(self.optimizer, self.stage, {})

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` gave."""
        self.learner.load_state(state, self.optimizer)


def prototype_schedule(config: UEMConfig, epoch: int) -> float:
    """a(e), the weight of prototypes in stage 1 (eq. 10)."""
    return sigmoid_step(epoch, 2 * config.prototype_start * config.epochs)


def _semantic_enhanced_losses(learner: Learner, anchors: Sequence[Anchors], weight: float) -> dict[str, Tensor]:
    """L_INCE of every domain and, where ``weight`` lets prototypes count, L_PNCE and L_SEL (eq. 6, 7, 11)."""
    config, clusterings = learner.config, learner.clusterings
    losses: dict[str, Tensor] = {}
    terms: list[tuple[float, Tensor]] = []
    for domain, name in enumerate(learner.letters):
        z, index = anchors[domain].z, anchors[domain].index
        bank = learner.banks[domain]
        instance = slow_bank_contrast(z, bank, index, config.temperature, config.negatives, config.reduction)
        losses[f"instance_{name}"] = instance
        terms.append((config.instance_weight, instance))
        if clusterings and weight > _ACTIVE:
            prototype = _mean(
                prototype_contrast(config, clustering, domain, z, index) for clustering in clusterings
            )
            semantic = _mean(_semantic_pull(config, clustering, domain, z) for clustering in clusterings)
            losses[f"prototype_{name}"], losses[f"semantic_{name}"] = prototype, semantic
            terms.append((weight * config.prototype_weight, prototype))
            terms.append((weight * config.semantic_weight, semantic))
    return {"total": weighted_total(terms), **losses}


def prototype_contrast(config: UEMConfig, clustering: Clustering, domain: int, z: Tensor, index: Tensor) -> Tensor:
    """L_PNCE: every image towards its own cluster's unified prototype, against all others (eq. 7)."""
    prototypes, position = clustering.prototypes[domain], clustering.positions[domain]
    own = clustering.assignments[domain][index]
    if config.foreign_negatives:
        own = position[own]
    else:
        prototypes = prototypes[position]
    return prototype_loss(z, prototypes, own, config.temperature, config.reduction)


def _semantic_pull(config: UEMConfig, clustering: Clustering, domain: int, z: Tensor) -> Tensor:
    """L_SEL: a softly weighted pull to every unified prototype (eq. 11)."""
    prototypes = clustering.prototypes[domain]
    return semantic_enhanced(z, prototypes, config.temperature, detach_weights=config.detach_weights)


class SemanticMatched:
    """Stage 2, cross-domain semantic-matched learning; a ``Trainable`` of the training loop.

    Args:
        learner: what stage 1 trained.

    Attributes:
        frozen: the encoder at the end of stage 1.
        classifier: of domains, set against the encoder.
        accuracies: of the classifier in the steps of this epoch.
        paused: whether its gradient stays out of the encoder in this epoch.
    """

    stage: ClassVar[int] = 2

    def __init__(self, learner: Learner) -> None:
        self.learner, self.config = learner, learner.config
        self.epochs, self.steps = self.config.align_epochs, learner.steps
        learner.write_banks()
        self.frozen = copy.deepcopy(learner.network).requires_grad_(False)
        for module in self.frozen.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.momentum = 0.0  # batch statistics as in training, running ones untouched
        bank = learner.banks[0]
        torch.manual_seed(learner.seed + 1)
        self.classifier = DomainClassifier(bank.shape[1], self.config.hidden, len(learner.banks)).to(bank.device)
        self.optimizer = self._new_optimizer()
        self.accuracies: list[float] = []
        self.paused = False
        self.undo: list[Callable[[], object]] = []
        learner.raise_merge_quantile()

    def start_epoch(self, epoch: int) -> Mapping[str, float]:
        """Banks and prototypes, with as many clusters as stage 1 ended with."""
        info = {"stage": self.stage, **self.learner.begin_epoch(self.config.align_bank)}
        return info | self.learner.unify_prototypes(due=False)

    def step(self, epoch: int, step: int) -> dict[str, Tensor]:
        """L_2 of one step."""
        self.undo = [*self.learner.begin_step(), keep(list(self.frozen.buffers())), self._forget_step()]
        batch, anchors = self.learner.embed(epoch, step)
        with torch.no_grad():
            before = self.learner.features(self.frozen, batch)
        progress = (epoch * self.steps + step) / (self.epochs * self.steps)
        strength = 0.0 if self.paused else reversal_strength(progress, self.config.reversal_ramp)
        losses = self.losses(epoch, anchors, before, strength)
        self.accuracies.append(float(losses["discriminator_accuracy"]))
        return losses

    def losses(
        self, epoch: int, anchors: Sequence[Anchors], before: Sequence[Tensor], strength: float
    ) -> dict[str, Tensor]:
        """L_DAL, L_SPR and L_SN2M (eq. 13 to 18), and the losses of stage 1 where they are kept.

        Args:
            epoch: of this stage.
            anchors: of each domain.
            before: the frozen encoder's features ``(B, d)`` of the same images.
            strength: of the gradient's reversal, in [0, 1].
        """
        config = self.config
        logits = [self.classifier(reverse_gradient(part.z, strength)) for part in anchors]
        losses = {"adversarial": domain_adversarial(logits, config.reduction)}
        terms = [(config.adversarial_weight, losses["adversarial"])]
        for domain, name in enumerate(self.learner.letters):
            losses[f"preserve_{name}"] = semantic_preserving(anchors[domain].z, before[domain])
            terms.append((config.preserve_weight, losses[f"preserve_{name}"]))
            if config.match != "none" and epoch >= config.match_epoch:
                match, rate = self.neighbour_match(domain, anchors[domain].z)
                losses[f"match_{name}"], losses[f"switch_rate_{name}"] = match, rate
                terms.append((config.match_weight, match))
        if config.keep_stage1:
            kept = _semantic_enhanced_losses(self.learner, anchors, 1.0)
            terms.append((config.keep_stage1, kept.pop("total")))
            losses |= kept
        losses["discriminator_accuracy"] = domain_accuracy(logits)
        losses["reversal_strength"] = torch.tensor(strength)
        return {"total": weighted_total(terms), **losses}

    def neighbour_match(self, domain: int, z: Tensor) -> tuple[Tensor, Tensor]:
        """L_SN2M of a domain's images ``(B, d)`` towards every other domain, and the share of reliable ones."""
        banks = self.learner.banks
        matched = [
            _switchable_neighbour_match(self.config, clustering, domain, z, other, bank)
            for clustering in self.learner.clusterings
            for other, bank in enumerate(banks)
            if other != domain
        ]
        return _mean(loss for loss, _ in matched), _mean(rate for _, rate in matched)

    def end_epoch(self, epoch: int) -> Mapping[str, float]:
        """With an oracle, score the epoch; judge the domain classifier, and pause it where asked to.

        An accuracy of 0.5 to 0.8 is healthy.
        """
        observed = self.learner.observe()
        accuracy = sum(self.accuracies) / len(self.accuracies)
        self.accuracies = []
        wins, collapsed = accuracy > WINS, accuracy < COLLAPSED / len(self.learner.letters)
        self.paused = wins and self.config.pause_adversary
        return {**observed, "discriminator_wins": float(wins), "discriminator_collapsed": float(collapsed)}

    def _new_optimizer(self) -> torch.optim.Optimizer:
        """Of the network and, at a rate of its own, of the domain classifier."""
        optimizer = self.learner.tuned.optimizer(self.learner.network)
        rate = self.config.lr * self.config.align_lr
        for group in optimizer.param_groups:
            group["lr"] = rate
        for weight in self.classifier.parameters():
            # Every process has the whole gradient of the classifier, and the loop adds them up.
            weight.register_hook(lambda gradient: gradient / self.learner.job.world.size)
        optimizer.add_param_group(
            {"params": list(self.classifier.parameters()), "lr": rate * self.config.classifier_lr}
        )
        return optimizer

    def _forget_step(self) -> Callable[[], object]:
        before = list(self.accuracies)
        return lambda: setattr(self, "accuracies", before)

    def undo_step(self) -> None:
        """Take back what the last ``step`` changed."""
        _undo(self.undo)

    def state(self) -> dict[str, Any]:
        """See ``Learner``; beside it the frozen encoder and the classifier."""
        own: dict[str, Any] = {"frozen": self.frozen.state_dict(), "classifier": self.classifier.state_dict()}
        own |= {"accuracies": list(self.accuracies), "paused": self.paused}
        return self.learner.state(self.optimizer, self.stage, own)

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` gave."""
        own = self.learner.load_state(state, self.optimizer)
        self.frozen.load_state_dict(own["frozen"])
        self.classifier.load_state_dict(own["classifier"])
        self.accuracies, self.paused = list(own["accuracies"]), own["paused"]


def _switchable_neighbour_match(
    config: UEMConfig, clustering: Clustering, domain: int, z: Tensor, other: int, bank: Tensor
) -> tuple[Tensor, Tensor]:
    """L_SN2M over one clustering, and the share of anchors whose neighbour is reliable (eq. 15 to 17).

    Args:
        config: which neighbours are positives, and which images negatives.
        clustering: the clusters of every domain.
        domain: of the anchors.
        z: anchors ``(B, d)``, unit rows.
        other: the domain that they are pulled to.
        bank: its bank ``(N, d)``.
    """
    nearest = clustering.nearest[other]
    found = switchable_match(
        z.detach(),
        clustering.centroids[domain],
        clustering.positions[domain],
        bank,
        nearest,
        unit_bank=config.unit_bank,
    )
    rate = found.reliable.float().mean()
    if config.match == "neighbour":
        return neighbour_match_loss(z, bank, found.neighbour, config.temperature), rate
    excluded = None
    if config.exclude_same_prototype:
        excluded = nearest[None, :] == found.target[:, None]
    prototypes = clustering.prototypes[other]
    loss = switchable_match_loss(
        z, prototypes, bank, found.target, found.neighbour, found.reliable, config.temperature, excluded
    )
    return loss, rate


def _train(stage: SemanticEnhanced | SemanticMatched, name: str, label: str) -> None:
    job = stage.learner.job
    train(stage, job.run, world=job.world, name=name, label=label, after_epoch=stage.end_epoch)


def _undo(steps: list[Callable[[], object]]) -> None:
    while steps:
        steps.pop()()


def _mean(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean()
