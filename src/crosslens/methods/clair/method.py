"""CLAIR (Tan, Hu and Lee, 2025): class names and a vision-language model's noisy labels. A reconstruction.

Only the paper's abstract could be read; its loss names and purposes are the paper's, every formula is a proposal
and no result here may be held against the paper's.

**Pseudo-labels** (``labels.py``). The frozen space shared with text scores every image against the class names,
worded for its domain: s_ic = <v_i, t_c>. Scores are calibrated per domain, spread along neighbours and handed over
between the domains. The best class is the label y_i; its share of a softmax, the confidence, weighs the image.

**Losses** over pseudo-classes, which have names and so are shared by both domains. q_i is an image's query, m_j a
row of its domain's memory bank, mu_c^D the mean of domain D's images with label c, v_i the frozen joint vector:

    L_inst^D   inter-instance: q_i towards the m_j with its label, against all others
    L_clu^D    inter-cluster: softmax over <q_i, mu_c^D> / T_c at y_i
    L_dom^D    inter-domain: the same over the other domain's prototypes, or its images
    L_gen^D    consistency: 1 - <q_i, v_i>, which keeps the encoder in the space of the texts
    L_plain^D  instance contrast, labels unused

    L = 1/2 sum_D (g L_plain^D + l1 L_inst^D + l2(e) L_clu^D + l3(e) L_dom^D + l4 L_gen^D)

**The cross-domain map** (``text_map.py``), last: in closed form, from the class names' texts alone. This project
puts a **whitened part** beside the head (``whitened.py``), which serves classes that the head never saw.

Where the first proposal (docs/methods/clair.md, ``recipes/clair-spec.yaml``) failed on frozen ``lite`` features,
the defaults are others: scores are calibrated and labels refined before anything is trained, no label is filtered
away, L_dom counts fully and temperatures are higher.
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
from crosslens.methods.clair.config import ClairConfig
from crosslens.methods.clair.labels import filtered, first_labels, held_out_masks, labels_to_choose_on
from crosslens.methods.clair.networks import NETWORKS
from crosslens.methods.clair.texts import TextContexts, mean_texts
from crosslens.methods.clair.whitened import whitened_part
from crosslens.methods.text_map import domain_maps, domain_texts
from crosslens.methods.tuned import Tuned, members_of, weighted_total
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
    tunes = tuple(NETWORKS)
    least_domains = most_domains = 2
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
        kind = NETWORKS[job.tune]
        if self.config.text_tokens and not kind.stays_joint(self.config):
            raise ConfigError("text_tokens works in the space of texts; leave out space=free")
        if self.config.label_noise and job.oracle is None:
            raise ConfigError("label_noise spoils true labels to measure what errors cost; add --oracle")
        if (not kind.joins or job.oracle is not None) and "members" not in self.config.model_fields_set:
            self.config = self.config.model_copy(update={"members": 1})
        # First of all: names that cannot be read are told before any image is embedded.
        texts = domain_texts(job, self.config)
        members = members_of(self, job, kind)
        # Every image has a label of its own, refined along the whole set.
        job = job.with_at_most(self.config.bank_rows)
        tuned = kind(job, self.config)
        labels = first_labels(job, self.config, tuned.features, texts)
        networks, learned = [], []
        for member in members:
            training = TwoViewTraining(
                self, job, tuned, partial(_ClairLosses, config=self.config, first_labels=labels), member.seed
            )
            training.run(member)
            networks.append(training.slow)
            learned.append(training.objective.learned_texts())
        encoder = tuned.encoder(networks, self.name, self.facts(job))
        if tuned.serves_text:
            encoder = self._mapped(encoder, job, tuned, labels, mean_texts(job.domains, learned) or texts)
        if tuned.keeps_features and self.config.whitened_share != 0:
            share, power = self.config.whitened_share, self.config.whitened_power
            part = whitened_part(encoder, tuned.features, labels, share, power, new_classes=job.new_classes)
            encoder = encoder.with_part(part)
        return encoder

    def facts(self, job: FitJob) -> dict[str, Any]:
        """What the model card says."""
        return super().facts(job) | {"reconstruction": "of CLAIR from its abstract", "classes": list(job.classes)}

    def _mapped(
        self,
        encoder: Encoder,
        job: FitJob,
        tuned: Tuned,
        labels: Sequence[PseudoLabels],
        texts: Mapping[str, Tensor],
    ) -> Encoder:
        """With the map between the domains behind it."""
        chosen_on = labels_to_choose_on(job, self.config, labels)
        return encoder.with_part(
            DomainMap(domain_maps(encoder, job, self.config, tuned.features, chosen_on, texts))
        )


class _ClairLosses(Objective):
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
        self.held = [mask.to(training.device) for mask in held_out_masks(self.job, config, first_labels)]
        self.labels = [self._teaching(n, found) for n, found in enumerate(first_labels)]
        # Centred as what is trained is centred: before its first step it then stays where it is.
        self.teachers = [
            joint_rows(self.job.backbone, features.values[:, :1], bool(training.tuned.means)).to(training.device)
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

    def losses(self, epoch: int, parts: Sequence[Embedded]) -> dict[str, Tensor]:
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
        """Weight and value of every term of one domain.

        Stand-ins for new classes teach nothing about classes; the instance terms keep them.
        """
        config, q = self.config, part.q
        own, anchors = self.labels[number].labels[part.index], weights[number][part.index]
        logits = bank_logits(q, part.bank, config.temperature)
        terms: dict[str, tuple[float, Tensor]] = {}
        if config.plain_weight:
            plain = instance_contrast(q, part.keys, part.bank, part.index, config.temperature, logits)
            terms["plain"] = config.plain_weight, plain
        terms["instance"] = config.instance_weight, self._inter_instance(number, part, own, logits)
        prototypes = self.prototypes[number]
        near = inter_cluster_contrast(q, prototypes, own, anchors, config.cluster_temperature)
        terms["cluster"] = config.cluster_weight * ramp(self.progress, config.cluster_ramp), near
        if config.separation_weight:
            apart = prototype_separation(q, prototypes, own, anchors, config.cluster_temperature)
            terms["separation"] = config.separation_weight, apart
        across = self._inter_domain(number, part, own, anchors, other, weights[1 - number])
        terms["domain"] = config.domain_weight * ramp(self.progress, config.domain_ramp), across
        teacher = self.teachers[number]
        if config.consistency_weight and q.shape[1] == teacher.shape[1]:
            terms["consistency"] = config.consistency_weight, consistency(q, teacher[part.index])
        if texts is not None and self.contexts is not None:
            # Texts as near to their images as to what was written; the two pull against each other evenly.
            terms["text"] = 1.0, text_contrast(q, texts[number], own, anchors, config.text_temperature)
            written = self.contexts.written_texts(number)
            terms["text_consistency"] = 1.0, text_consistency(texts[number], written)
        return terms

    def _inter_instance(self, number: int, part: Embedded, own: Tensor, logits: Tensor) -> Tensor:
        """L_inst: towards the images of the own label, in the memory bank or in the batch."""
        config, found = self.config, self.labels[number]
        q, keys, weights = part.q, part.keys, found.weights
        if config.candidates == "bank":
            return inter_instance_contrast(
                q, keys, part.bank, part.index, found.labels, weights, config.temperature, logits
            )
        places = torch.arange(len(q), device=q.device)
        return inter_instance_contrast(q, keys, keys, places, own, weights[part.index], config.temperature)

    def _inter_domain(
        self, number: int, part: Embedded, own: Tensor, anchors: Tensor, other: Embedded, weights: Tensor
    ) -> Tensor:
        """L_dom: towards the other domain's prototype of the own label, its images of that label, or both."""
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


def _agreement(rows: Tensor, prototypes: Tensor, labels: Tensor) -> float:
    present = prototypes.abs().sum(1) > 0
    scores = (rows @ prototypes.t()).masked_fill(~present, -torch.inf)
    return float((scores.argmax(1) == labels).float().mean())
