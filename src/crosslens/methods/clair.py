"""CLAIR (Tan, Hu and Lee, 2025): class names and a vision-language model's noisy labels. A reconstruction.

Only the paper's abstract could be read; its loss names and purposes are the paper's, every formula is a proposal
(named [U] in the specification), and no result here may be held against the paper's.

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

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from crosslens.encoder import Encoder
from crosslens.errors import ConfigError
from crosslens.features.load import Features
from crosslens.labels.account import write_account
from crosslens.labels.naming import centred_rows, class_scores, joint_rows
from crosslens.labels.pseudo_labels import (
    Calibration,
    Confidence,
    PseudoLabels,
    calibrated,
    pseudo_labels,
    refreshed_scores,
)
from crosslens.labels.spread import spread_labels
from crosslens.labels.wording import class_texts, look_of, require_text
from crosslens.losses.consistency import consistency
from crosslens.losses.instance import bank_logits, instance_contrast
from crosslens.losses.inter_cluster import class_prototypes, inter_cluster_contrast
from crosslens.losses.inter_domain import inter_domain_contrast, inter_domain_instances
from crosslens.losses.inter_instance import inter_instance_contrast
from crosslens.methods.base import FitJob
from crosslens.methods.clair_prompts import PromptConfig, PromptTuning
from crosslens.methods.text_map import MapConfig, domain_maps
from crosslens.methods.two_view import Embedded, TwoViewConfig, weighted_total
from crosslens.methods.whitened import Share, whitened_part
from crosslens.nn.heads import Head, TunedNetwork
from crosslens.ops.kmeans import kmeans
from crosslens.training.schedules import linear_ramp
from crosslens.training.views import Views


class ClairConfig(TwoViewConfig, PromptConfig, MapConfig):
    """Settings of CLAIR; those of prompts and of the text map come from their own classes.

    Attributes:
        epochs, members, centre: see ``TwoViewConfig``; with ``--tune prompts`` members are 1 and nothing is
            centred.
        temperature: T of the plain and of the inter-instance contrast.
        space: ``joint`` gives the head the joint space's width and keeps it there by L_gen, so that texts and the
            text map apply to its vectors; ``free`` takes the width from ``head``.
        labels_from: ``names``; for ablations ``kmeans`` clusters both domains together into as many groups as
            there are names. With ``--oracle`` the true labels teach, and results are marked.
        calibration: what is taken from each domain's scores; ``none`` is the specification's.
        label_views: score the mean of all cached views instead of the centre view.
        label_temperature: of the softmax that gives confidences; 0.01 fits uncalibrated cosines of CLIP.
        spread: refine labels before training; ``neighbours``, ``reach``, ``rounds`` and ``handover`` belong to it.
        confidence, keep, floor, threshold, weighted: the filter; see ``pseudo_labels``.
        relabel: label anew after every epoch (R2) until fewer than 1 % change.
        whitened_share: share of every score that comes from frozen features, whitened within pseudo-classes. It
            keeps the encoder useful for classes the head never saw, and costs a little on those it did; ``auto``
            follows the two ratios, 0 leaves it out.
        known_class_ratio: with ``auto``: how many times as much as that part the head moves scores, where every
            class is named.
        new_class_ratio: the same with ``--unseen``, where new classes will come.
        whitening: ridge of the whitening.
        plain_weight: g, of instance contrast over all images, labels unused.
        instance_weight, cluster_weight, domain_weight, consistency_weight: l1 to l4.
        cluster_ramp, domain_ramp: share of all steps over which l2 and l3 grow from 0.
        cluster_temperature, domain_temperature: of their terms.
        level: what L_dom contrasts with: the other domain's prototypes, its images, or both.
        novel_share: share of the classes that stand for new ones in every step: their images teach nothing about
            classes then (G3).
    """

    epochs: int = Field(10, ge=1)
    members: int = Field(3, ge=1)
    centre: bool = True
    space: Literal["joint", "free"] = "joint"
    labels_from: Literal["names", "kmeans"] = "names"
    calibration: Calibration = "standardise"
    label_views: bool = True
    label_temperature: float = Field(0.5, gt=0)
    spread: bool = True
    neighbours: int = Field(10, ge=1)
    reach: float = Field(0.99, ge=0, lt=1)
    rounds: int = Field(5, ge=0)
    handover: float = Field(1.0, ge=0)
    confidence: Confidence = "share"
    keep: float = Field(1.0, gt=0, le=1)
    floor: float = Field(0.1, ge=0, le=1)
    threshold: float | None = Field(None, ge=0, le=1)
    weighted: bool = True
    relabel: bool = False
    whitened_share: Share = "auto"
    whitening: float = Field(10.0, gt=0)
    known_class_ratio: float = Field(4.0, gt=0)
    new_class_ratio: float = Field(0.25, gt=0)
    plain_weight: float = Field(0.0, ge=0)
    instance_weight: float = Field(1.0, ge=0)
    cluster_weight: float = Field(1.0, ge=0)
    domain_weight: float = Field(1.0, ge=0)
    consistency_weight: float = Field(1.0, ge=0)
    cluster_ramp: float = Field(0.1, ge=0, le=1)
    domain_ramp: float = Field(0.25, ge=0, le=1)
    cluster_temperature: float = Field(0.2, gt=0)
    domain_temperature: float = Field(0.2, gt=0)
    level: Literal["prototype", "instance", "both"] = "prototype"
    novel_share: float = Field(0.0, ge=0, lt=1)


class Clair(PromptTuning):
    """CLAIR on a head behind cached features, or on prompts in a CLIP vision transformer."""

    name = "clair"
    Config = ClairConfig
    needs_classes = True
    tunes = ("head", "prompts")

    @property
    def config(self) -> ClairConfig:
        """The settings, typed."""
        assert isinstance(self.settings, ClairConfig)
        return self.settings

    def fit(self, job: FitJob) -> Encoder:
        """Label, train, map; writes ``labels.json`` and ``labels.parquet`` into the run.

        Raises:
            ConfigError: for fewer than two class names, or names that the text tower cannot tell apart.
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
        one_network = job.tune != "head" or job.oracle is not None
        if one_network and "members" not in self.config.model_fields_set:
            self.settings = self.config.model_copy(update={"members": 1})
        self.names = job.classes
        self.first_labels: list[PseudoLabels] = []
        self.handed_over: list[bool] = []
        encoder = super().fit(job)
        encoder.text = job.tune == "head" and self.config.space == "joint"
        if job.tune == "prompts" or encoder.text:
            encoder.maps = domain_maps(encoder, job, self.config, self.features, self.first_labels)
        if job.tune == "head" and self.config.whitened_share != 0:
            ratio = self.config.new_class_ratio if job.new_classes else self.config.known_class_ratio
            share = self.config.whitened_share
            encoder.whitened = whitened_part(
                encoder, self.features, self.first_labels, self.config.whitening, share, ratio
            )
        return encoder

    def facts(self, job: FitJob) -> dict[str, Any]:
        """What the model card says."""
        facts = super().facts(job) | {"reconstruction": "of CLAIR from its abstract", "classes": list(job.classes)}
        if job.oracle is not None:
            facts["oracle"] = "true labels stood in for the pseudo-labels"
        return facts

    def remember(self, by_domain: Mapping[str, Features]) -> None:
        """Keep the frozen features for labelling and consistency."""
        self.features = [by_domain[domain] for domain in self.job.domains]
        self.teachers = [
            joint_rows(self.job.backbone, features.values[:, :1], self.config.calibration != "none").to(
                self.job.torch_device
            )
            for features in self.features
        ]

    def _cached_views(self, job: FitJob) -> tuple[Views, Views]:
        by_domain = job.features_by_domain(self.config.views, self.config.augmentation)
        self.remember(by_domain)
        return self.views_of(by_domain)

    def _network(self, job: FitJob) -> Any:
        if job.tune != "head":
            return super()._network(job)
        sizes = self.config.head
        if self.config.space == "joint":
            sizes = (*sizes[:-1], job.backbone.joint_dim or 0)
        return TunedNetwork(Head((job.backbone.dim, *sizes)))

    def reset(self) -> None:
        """Labels of the start, the same for every member."""
        if not self.first_labels:
            self.first_labels = self.job.world.share(self._label())
            if self.job.world.is_main:
                self._write_account()
        self.labels = [self._on_device(found) for found in self.first_labels]
        self.prototypes: list[Tensor] = []
        self.is_settled = not self.config.relabel

    def start_epoch(self, epoch: int) -> Mapping[str, float]:
        """Refresh prototypes, and labels where that is asked for; how far labels and features agree."""
        features = [self.centre_features(domain) for domain in (0, 1)]
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

    def step(self, epoch: int, step: int) -> dict[str, Tensor]:
        """One step's losses."""
        self.progress = (epoch * self.steps + step) / (self.epochs * self.steps)
        self.novel = self._novel_classes(epoch, step)
        return super().step(epoch, step)

    def losses(self, epoch: int, parts: tuple[Embedded, Embedded]) -> dict[str, Tensor]:
        """All terms; those over prototypes grow by the share of steps done."""
        config = self.config
        cluster = config.cluster_weight * self._ramp(config.cluster_ramp)
        across = config.domain_weight * self._ramp(config.domain_ramp)
        losses: dict[str, Tensor] = {}
        terms: list[tuple[float, Tensor]] = []

        def add(name: str, weight: float, loss: Tensor) -> None:
            losses[name] = loss
            terms.append((weight, loss))

        weights = [self._weights(found) for found in self.labels]
        for number, (name, part) in enumerate(zip("ab", parts, strict=True)):
            found, w = self.labels[number], weights[number]
            own, anchors = found.labels[part.index], w[part.index]
            logits = bank_logits(part.q, part.bank, config.temperature)
            if config.plain_weight:
                plain = instance_contrast(part.q, part.keys, part.bank, part.index, config.temperature, logits)
                add(f"plain_{name}", config.plain_weight / 2, plain)
            instance = inter_instance_contrast(
                part.q, part.keys, part.bank, part.index, found.labels, w, config.temperature, logits
            )
            add(f"instance_{name}", config.instance_weight / 2, instance)
            near = inter_cluster_contrast(
                part.q, self.prototypes[number], own, anchors, config.cluster_temperature
            )
            add(f"cluster_{name}", cluster / 2, near)
            far = self._inter_domain(part, own, anchors, parts[1 - number], weights[1 - number], 1 - number)
            add(f"domain_{name}", across / 2, far)
            if config.consistency_weight and part.q.shape[1] == self.teachers[number].shape[1]:
                kept = consistency(part.q, self.teachers[number][part.index])
                add(f"consistency_{name}", config.consistency_weight / 2, kept)
        return {"total": weighted_total(terms) if any(w for w, _ in terms) else parts[0].q.sum() * 0, **losses}

    def _inter_domain(
        self, part: Embedded, own: Tensor, anchors: Tensor, other: Embedded, weights: Tensor, number: int
    ) -> Tensor:
        temperature, found = self.config.domain_temperature, []
        if self.config.level != "instance":
            found.append(inter_domain_contrast(part.q, self.prototypes[number], own, anchors, temperature))
        if self.config.level != "prototype":
            labels = self.labels[number].labels
            found.append(inter_domain_instances(part.q, own, anchors, other.bank, labels, weights, temperature))
        return torch.stack(found).mean()

    def _ramp(self, share: float) -> float:
        return linear_ramp(round(1e6 * self.progress) + 1, 0, round(1e6 * share))

    def _novel_classes(self, epoch: int, step: int) -> Tensor | None:
        count = round(self.config.novel_share * len(self.names))
        if not count:
            return None
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch * self.steps + step)
        return torch.randperm(len(self.names), generator=generator)[:count]

    def _weights(self, found: PseudoLabels) -> Tensor:
        if self.novel is None:
            return found.weights
        return found.weights * ~torch.isin(found.labels, self.novel.to(found.labels.device))

    def _label(self) -> list[PseudoLabels]:
        """Pseudo-labels of both domains from the frozen features; with an oracle the true ones."""
        config = self.config
        if self.job.oracle is not None:
            return [self._true_labels(features.catalog.ids) for features in self.features]
        if config.labels_from == "kmeans":
            rows = torch.cat([centred_rows(features.values) for features in self.features])
            found = kmeans(rows, len(self.names), seed=0, restarts=5)
            scores = list((rows @ found.prototypes.t()).split([len(f.catalog) for f in self.features]))
            return [self._filtered(calibrated(s, "standardise")) for s in scores]
        scores = []
        for domain, features in zip(self.job.domains, self.features, strict=True):
            texts = class_texts(self.job.backbone, self.names, look_of(domain, config.looks))
            values = features.values if config.label_views else features.values[:, :1]
            scores.append(class_scores(self.job.backbone, values, texts, config.calibration))
        if config.spread:
            scores, self.handed_over = spread_labels(
                [centred_rows(features.values) for features in self.features],
                [calibrated(s, "standardise") for s in scores],
                neighbours=config.neighbours,
                reach=config.reach,
                rounds=config.rounds,
                handover=config.handover,
                temperature=config.label_temperature,
            )
        return [self._filtered(s) for s in scores]

    def _filtered(self, scores: Tensor, temperature: float | None = None) -> PseudoLabels:
        config = self.config
        return pseudo_labels(
            scores,
            temperature or config.label_temperature,
            keep=config.keep,
            floor=config.floor,
            fixed=config.threshold,
            confidence=config.confidence,
            is_weighted=config.weighted,
        )

    def _true_labels(self, ids: list[str]) -> PseudoLabels:
        assert self.job.oracle is not None
        true = [self.job.oracle.labels.get(image) for image in ids]
        if unnamed := sorted({label for label in true if label is not None} - set(self.names)):
            raise ConfigError(f"--classes lacks {', '.join(unnamed)}, which the oracle's labels hold")
        labels = torch.tensor([0 if label is None else self.names.index(label) for label in true])
        kept = torch.tensor([label is not None for label in true])
        posteriors = F.one_hot(labels, len(self.names)).float()
        return PseudoLabels(posteriors, labels, torch.ones(len(ids)), kept)

    def _relabel(self, features: list[Tensor]) -> dict[str, float]:
        """R2: half the first posteriors, half what the class prototypes of the moment say."""
        info: dict[str, float] = {}
        fresh = []
        for name, rows, first, before in zip("ab", features, self.first_labels, self.labels, strict=True):
            prototypes = class_prototypes(rows, before.labels, before.weights, len(self.names))
            scores = refreshed_scores(
                first.posteriors.to(rows.device), rows, prototypes, self.config.cluster_temperature
            )
            found = self._filtered(scores, temperature=1.0)
            info[f"churn_{name}"] = float((found.labels != before.labels).float().mean())
            fresh.append(self._on_device(found))
        self.labels = fresh
        self.is_settled = max(info.values()) < 0.01
        return info

    def _write_account(self) -> None:
        ids = {d: f.catalog.ids for d, f in zip(self.job.domains, self.features, strict=True)}
        labels = dict(zip(self.job.domains, self.first_labels, strict=True))
        took = dict(zip(self.job.domains, self.handed_over, strict=False))
        write_account(self.job.run.folder, self.names, ids, labels, took)

    def _on_device(self, found: PseudoLabels) -> PseudoLabels:
        device = self.job.torch_device
        return PseudoLabels(*(part.to(device) for part in vars(found).values()))

    def extra_state(self) -> dict[str, Any]:
        """Labels and prototypes of the epoch."""
        return {
            "labels": [list(vars(found).values()) for found in self.labels],
            "prototypes": list(self.prototypes),
            "is_settled": self.is_settled,
        }

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take over what ``extra_state`` gave."""
        self.labels = [self._on_device(PseudoLabels(*parts)) for parts in state["labels"]]
        self.prototypes = [rows.to(self.job.torch_device) for rows in state["prototypes"]]
        self.is_settled = state["is_settled"]


def _agreement(rows: Tensor, prototypes: Tensor, labels: Tensor) -> float:
    present = prototypes.abs().sum(1) > 0
    scores = (rows @ prototypes.t()).masked_fill(~present, -torch.inf)
    return float((scores.argmax(1) == labels).float().mean())
