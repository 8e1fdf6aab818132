"""CLAIR (Tan, Hu and Lee, 2025): class names and a vision-language model's noisy labels. A reconstruction.

Only the paper's abstract could be read; its loss names and purposes are the paper's, every formula is a proposal
and no result here may be held against the paper's.

    L = 1/2 sum_D (g L_plain^D + l1 L_inst^D + l2(e) L_clu^D) + l3(e) L_dom + l4 L_gen

Labels: scores of every image against domain-worded class names, calibrated per domain, refined by spreading along
neighbours and handing over between domains, then filtered and weighted by confidence. Losses: inter-instance,
inter-cluster and inter-domain contrast over pseudo-classes, which have names and so are shared by both domains;
consistency with the frozen joint space, in which the encoder stays. Last, a closed-form map from text alone.

Where proposals of the specification failed on frozen ``lite`` features, others are the defaults: scores are
calibrated and labels refined before anything is trained, no label is filtered away, L_dom counts fully and
temperatures are higher. ``recipes/clair-spec.yaml`` has the specification's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from crosslens.encoder import Encoder
from crosslens.encoder.parts import DomainMap
from crosslens.features.load import Features
from crosslens.labels.account import write_account
from crosslens.labels.naming import joint_rows
from crosslens.labels.pseudo_labels import PseudoLabels, refreshed_scores
from crosslens.labels.wording import look_of, require_text
from crosslens.losses.consistency import consistency
from crosslens.losses.instance import bank_logits, instance_contrast
from crosslens.losses.inter_cluster import class_prototypes, inter_cluster_contrast, prototype_separation
from crosslens.losses.inter_domain import inter_domain_contrast, inter_domain_instances
from crosslens.losses.inter_instance import inter_instance_contrast
from crosslens.losses.text_contexts import text_consistency, text_contrast
from crosslens.methods.base import FitJob, Method
from crosslens.methods.clair.config import ClairConfig, require_fitting
from crosslens.methods.clair.labels import filtered, held_out, label_domains
from crosslens.methods.clair.prompts import TunedPrompts
from crosslens.methods.clair.texts import TextContexts
from crosslens.methods.clair.whitened import whitened_part
from crosslens.methods.text_map import domain_maps, domain_texts
from crosslens.methods.tuned import Tuned, TunedHead, members_of, weighted_total
from crosslens.methods.two_view import Embedded, Objective, TwoViewTraining
from crosslens.support.errors import ConfigError
from crosslens.training.schedules import linear_ramp


class Clair(Method[ClairConfig]):
    """CLAIR on a head behind cached features, or on prompts in a CLIP vision transformer."""

    name = "clair"
    summary = (
        "a reconstruction of CLAIR from its abstract: class names, a vision-language model's noisy labels, no"
        " label of an image"
    )
    Config = ClairConfig
    learns_from = frozenset({"images", "names"})
    tunes = ("head", "prompts")
    reconstruction_of = "CLAIR"
    oracle_mark = "taught"
    oracle_fact = "true labels stood in for the pseudo-labels"

    def fit(self, job: FitJob) -> Encoder:
        """Label, train, map; writes ``labels.json`` and ``labels.parquet`` into the run.

        Raises:
            ConfigError: for fewer than two class names, names that the text tower cannot tell apart, or settings
                that do not go together.
            BackboneError: when the backbone has no text tower.
            TrainingError: unless two domains are given, when no two names match any image, or when a loss stops
                being finite.
        """
        require_text(job.backbone)
        if len(job.classes) < 2:
            raise ConfigError(
                f"clair learns from at least two class names, and --classes gives {len(job.classes)};"
                " with one class every image has the same label"
            )
        require_fitting(self.config, job)
        one_network = job.tune != "head" or job.oracle is not None
        if one_network and "members" not in self.config.model_fields_set:
            self.config = self.config.model_copy(update={"members": 1})
        # First of all: names that cannot be read are told before any image is embedded.
        texts = domain_texts(job, self.config)
        members = members_of(self, job)
        tuned = self._tuned(job)
        labels = _label(job, self.config, tuned.features, texts)
        networks, learned = [], []
        for member in members:
            objective = partial(ClairLosses, config=self.config, first_labels=labels)
            training = TwoViewTraining(self, job, tuned, objective, member.seed)
            training.run(member)
            networks.append(training.slow)
            learned.append(training.objective.learned_texts())
        encoder = tuned.encoder(networks, self.name, self.facts(job))
        if job.tune == "prompts" or self.config.space == "joint":
            texts = _mean_texts(job, learned) or texts
            chosen_on = _chosen_on(job, self.config, labels)
            maps = domain_maps(encoder, job, self.config, tuned.features, chosen_on, texts)
            encoder = encoder.with_part(DomainMap(maps))
        if job.tune == "head" and self.config.whitened_share != 0:
            config = self.config
            ratio = config.new_class_ratio if job.new_classes else config.known_class_ratio
            strengths = config.whitening, config.whitened_share, ratio, config.whitened_power
            encoder = encoder.with_part(whitened_part(encoder, tuned.features, labels, *strengths))
        return encoder

    def facts(self, job: FitJob) -> dict[str, Any]:
        """What the model card says."""
        return super().facts(job) | {"reconstruction": "of CLAIR from its abstract", "classes": list(job.classes)}

    def _tuned(self, job: FitJob) -> Tuned:
        if job.tune == "prompts":
            return TunedPrompts(job, self.config)
        widths, is_joint = self.config.head, self.config.space == "joint"
        if is_joint:
            widths = (*widths[:-1], job.backbone.joint_dim or 0)
        return TunedHead(job, self.config, widths, serves_text=is_joint)


class ClairLosses(Objective):
    """Labels and prototypes of an epoch, and the losses over them.

    Args:
        training: the training it is for.
        config: the settings.
        first_labels: pseudo-labels of both domains' images from before training.
    """

    def __init__(
        self, training: TwoViewTraining[Any], config: ClairConfig, first_labels: Sequence[PseudoLabels]
    ) -> None:
        super().__init__(training)
        self.config, self.job, self.names = config, training.job, training.job.classes
        self.first_labels = first_labels
        self.held = [mask.to(training.device) for mask in _held(self.job, config, first_labels)]
        self.labels = [self._teaching(n, found) for n, found in enumerate(first_labels)]
        # Centred as what is trained is centred: before its first step it then stays where it is.
        is_centred = self.job.tune == "head" and config.centre
        self.teachers = [
            joint_rows(self.job.backbone, features.values[:, :1], is_centred).to(training.device)
            for features in training.tuned.features
        ]
        self.prototypes: list[Tensor] = []
        self.is_settled = not config.relabel
        self.contexts = self._add_contexts() if config.text_tokens else None
        self.rates = [float(group["lr"]) for group in training.optimizer.param_groups]

    def start_epoch(self, epoch: int) -> Mapping[str, float]:
        """Refresh prototypes, and labels where that is asked for; how far labels and features agree."""
        is_fresh = self.config.prototypes_of == "centre"
        banks = self.training.banks
        features = [self.training.centre_features(domain) for domain in (0, 1)] if is_fresh else banks
        info: dict[str, float] = {}
        if not self.is_settled and epoch >= 2:
            info |= self._relabel(features)
        self.prototypes = [
            class_prototypes(rows, found.labels, found.weights, len(self.names))
            for rows, found in zip(features, self.labels, strict=True)
        ]
        for name, rows, own, other, found in zip(
            "ab", features, self.prototypes, self.prototypes[::-1], self.labels, strict=True
        ):
            info[f"kept_{name}"] = float(found.kept.float().mean())
            info[f"agreement_{name}"] = _agreement(rows, own, found.labels)
            info[f"agreement_across_{name}"] = _agreement(rows, other, found.labels)
        return info

    def start_step(self, epoch: int, step: int) -> None:
        """How far training is, which classes stand for new ones, and the learning rate of a warm-up."""
        steps = self.training.steps
        self.progress = (epoch * steps + step) / (self.training.epochs * steps)
        self.novel = self._novel_classes(epoch, step)
        if self.config.warmup and epoch == 0:
            for group, rate in zip(self.training.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * (step + 1) / steps

    def losses(self, epoch: int, parts: tuple[Embedded, Embedded]) -> dict[str, Tensor]:
        """All terms; those over prototypes grow by the share of steps done."""
        losses: dict[str, Tensor] = {}
        terms: list[tuple[float, Tensor]] = []
        weights = [self._weights(found) for found in self.labels]
        if self.config.prototype_momentum:
            self._move_prototypes(parts, weights)
        texts = self._texts()
        for number, (name, part) in enumerate(zip("ab", parts, strict=True)):
            found = self._domain_losses(number, part, weights, parts[1 - number], texts)
            for term, (weight, loss) in found.items():
                losses[f"{term}_{name}"] = loss
                terms.append((weight / 2, loss))
        return {"total": weighted_total(terms) if any(w for w, _ in terms) else parts[0].q.sum() * 0, **losses}

    def _domain_losses(
        self, number: int, part: Embedded, weights: Sequence[Tensor], other: Embedded, texts: Tensor | None
    ) -> dict[str, tuple[float, Tensor]]:
        """Weight and value of every term of one domain."""
        config, found = self.config, self.labels[number]
        # Stand-ins for new classes teach nothing about classes; the instance terms keep them.
        w, anchors = found.weights, weights[number][part.index]
        q, own = part.q, found.labels[part.index]
        cluster = config.cluster_weight * ramp(self.progress, config.cluster_ramp)
        terms: dict[str, tuple[float, Tensor]] = {}
        logits = bank_logits(q, part.bank, config.temperature)
        if config.plain_weight:
            plain = instance_contrast(q, part.keys, part.bank, part.index, config.temperature, logits)
            terms["plain"] = config.plain_weight, plain
        if config.candidates == "bank":
            instance = inter_instance_contrast(
                q, part.keys, part.bank, part.index, found.labels, w, config.temperature, logits
            )
        else:
            places = torch.arange(len(q), device=q.device)
            batch = w[part.index]
            instance = inter_instance_contrast(q, part.keys, part.keys, places, own, batch, config.temperature)
        terms["instance"] = config.instance_weight, instance
        prototypes = self.prototypes[number]
        near_own = inter_cluster_contrast(q, prototypes, own, anchors, config.cluster_temperature)
        terms["cluster"] = cluster, near_own
        if config.separation_weight:
            apart = prototype_separation(q, prototypes, own, anchors, config.cluster_temperature)
            terms["separation"] = config.separation_weight, apart
        far = self._inter_domain(number, part, own, anchors, other, weights[1 - number])
        terms["domain"] = config.domain_weight * ramp(self.progress, config.domain_ramp), far
        teacher = self.teachers[number]
        if config.consistency_weight and q.shape[1] == teacher.shape[1]:
            terms["consistency"] = config.consistency_weight, consistency(q, teacher[part.index])
        if texts is not None and self.contexts is not None:
            read = text_contrast(q, texts[number], own, anchors, config.text_temperature)
            terms["text"] = config.text_weight, read
            true = text_consistency(texts[number], self.contexts.written_texts(number))
            terms["text_consistency"] = config.text_consistency_weight, true
        return terms

    def _inter_domain(
        self, number: int, part: Embedded, own: Tensor, anchors: Tensor, other: Embedded, weights: Tensor
    ) -> Tensor:
        temperature, found = self.config.domain_temperature, []
        if self.config.level != "instance":
            found.append(inter_domain_contrast(part.q, self.prototypes[1 - number], own, anchors, temperature))
        if self.config.level != "prototype":
            labels = self.labels[1 - number].labels
            found.append(inter_domain_instances(part.q, own, anchors, other.bank, labels, weights, temperature))
        return torch.stack(found).mean()

    def learned_texts(self) -> Tensor | None:
        """Class texts ``(2, C, J)`` of the learned contexts, on the CPU; None without contexts."""
        if self.contexts is None:
            return None
        with torch.no_grad():
            texts: Tensor = self.contexts()
        return texts.cpu()

    def _add_contexts(self) -> TextContexts:
        """Text contexts, whose vectors the optimiser learns too."""
        looks = [look_of(domain, self.config.looks) for domain in self.job.domains]
        training, count = self.training, self.config.text_tokens
        contexts = TextContexts(self.job.backbone, self.names, looks, count, training.seed, self.job.torch_device)
        training.optimizer.add_param_group(
            {"params": [contexts.vectors], "lr": self.config.text_lr, "weight_decay": 0.0}
        )
        return contexts

    def _texts(self) -> Tensor | None:
        """Learned class texts ``(2, C, J)``; every process computes them whole, so their gradient is shared."""
        if self.contexts is None:
            return None
        texts: Tensor = self.contexts()
        still = texts.detach()
        return still + (texts - still) / self.job.world.size

    @torch.no_grad()
    def _move_prototypes(self, parts: Sequence[Embedded], weights: Sequence[Tensor]) -> None:
        """``mu_c <- normalise(m mu_c + (1 - m) mean of the batch's keys)`` for the classes of the batch."""
        share = self.config.prototype_momentum
        self.training.undo.append(partial(self.prototypes.__setitem__, slice(None), list(self.prototypes)))
        for number, (part, w) in enumerate(zip(parts, weights, strict=True)):
            own = self.labels[number].labels[part.index]
            found = class_prototypes(part.keys, own, w[part.index], len(self.names))
            here = found.abs().sum(1, keepdim=True) > 0
            moved = F.normalize(share * self.prototypes[number] + (1 - share) * found, dim=1)
            self.prototypes[number] = torch.where(here, moved, self.prototypes[number])

    def _novel_classes(self, epoch: int, step: int) -> Tensor | None:
        count = round(self.config.novel_share * len(self.names))
        if not count:
            return None
        training = self.training
        generator = torch.Generator().manual_seed(training.seed * 1_000_003 + epoch * training.steps + step)
        return torch.randperm(len(self.names), generator=generator)[:count]

    def _weights(self, found: PseudoLabels) -> Tensor:
        if self.novel is None:
            return found.weights
        return found.weights * ~torch.isin(found.labels, self.novel.to(found.labels.device))

    def _relabel(self, features: list[Tensor]) -> dict[str, float]:
        """New labels: half the first posteriors, half what the class prototypes of the moment say."""
        info: dict[str, float] = {}
        fresh = []
        sides = zip(features, self.first_labels, self.labels, strict=True)
        for number, (rows, first, before) in enumerate(sides):
            prototypes = class_prototypes(rows, before.labels, before.weights, len(self.names))
            scores = refreshed_scores(
                first.posteriors.to(rows.device), rows, prototypes, self.config.cluster_temperature
            )
            found = filtered(self.config, scores, temperature=1.0)
            info[f"churn_{'ab'[number]}"] = float((found.labels != before.labels).float().mean())
            fresh.append(self._teaching(number, found))
        self.labels = fresh
        self.is_settled = max(info.values()) < 0.01
        return info

    def _teaching(self, number: int, found: PseudoLabels) -> PseudoLabels:
        """Labels on the training's device, without those held out for the map."""
        found = self._on_device(found)
        return PseudoLabels(found.posteriors, found.labels, found.confidence, found.kept & ~self.held[number])

    def _on_device(self, found: PseudoLabels) -> PseudoLabels:
        return PseudoLabels(*(part.to(self.training.device) for part in vars(found).values()))

    def state(self) -> dict[str, Any]:
        """Labels and prototypes of the epoch."""
        return {
            "labels": [list(vars(found).values()) for found in self.labels],
            "prototypes": list(self.prototypes),
            "is_settled": self.is_settled,
            "contexts": None if self.contexts is None else self.contexts.vectors.detach(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` gave."""
        self.labels = [self._on_device(PseudoLabels(*parts)) for parts in state["labels"]]
        self.prototypes = [rows.to(self.training.device) for rows in state["prototypes"]]
        self.is_settled = state["is_settled"]
        if self.contexts is not None:
            with torch.no_grad():
                self.contexts.vectors.copy_(state["contexts"])


def ramp(progress: float, share: float) -> float:
    """What a growing term counts after ``progress`` of all steps, of which ``share`` let it grow from 0 to 1."""
    return linear_ramp(round(1e6 * progress) + 1, 0, round(1e6 * share))


def _label(
    job: FitJob, config: ClairConfig, features: Sequence[Features], texts: Mapping[str, Tensor]
) -> list[PseudoLabels]:
    """Labels of the start, the same for every head; their account goes into the run."""
    found, took = label_domains(job, config, features, texts)
    labels: list[PseudoLabels] = job.world.share(found)
    if job.world.is_main:
        write_account(
            job.run.folder,
            job.classes,
            {domain: part.catalog.ids for domain, part in zip(job.domains, features, strict=True)},
            dict(zip(job.domains, labels, strict=True)),
            dict(zip(job.domains, took, strict=False)),
        )
    return labels


def _held(job: FitJob, config: ClairConfig, labels: Sequence[PseudoLabels]) -> list[Tensor]:
    """Per domain the images ``(N,)`` whose labels teach nothing, so that the share of the map is chosen on
    them."""
    return [held_out(found, config.map_holdout, job.seed + 17 * number) for number, found in enumerate(labels)]


def _chosen_on(job: FitJob, config: ClairConfig, labels: Sequence[PseudoLabels]) -> Sequence[PseudoLabels]:
    """The labels that the share of the map is chosen on: those held out, else all."""
    if not config.map_holdout:
        return labels
    return [
        PseudoLabels(found.posteriors, found.labels, found.confidence, held)
        for found, held in zip(labels, _held(job, config, labels), strict=True)
    ]


def _mean_texts(job: FitJob, learned: Sequence[Tensor | None]) -> dict[str, Tensor] | None:
    """The class texts that were learned, the mean over the heads; None where none were."""
    found = [texts for texts in learned if texts is not None]
    if not found:
        return None
    return dict(zip(job.domains, F.normalize(torch.stack(found).mean(0), dim=2), strict=True))


def _agreement(rows: Tensor, prototypes: Tensor, labels: Tensor) -> float:
    present = prototypes.abs().sum(1) > 0
    scores = (rows @ prototypes.t()).masked_fill(~present, -torch.inf)
    return float((scores.argmax(1) == labels).float().mean())
