"""Settings of CLAIR."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from crosslens.errors import ConfigError
from crosslens.labels.pseudo_labels import Calibration, Confidence
from crosslens.methods.base import FitJob
from crosslens.methods.clair.prompts import PromptConfig
from crosslens.methods.clair.texts import TextContextConfig
from crosslens.methods.clair.whitened import Share
from crosslens.methods.text_map import MapConfig
from crosslens.methods.two_view import TwoViewConfig


class ClairConfig(TwoViewConfig, PromptConfig, MapConfig, TextContextConfig):
    """Settings of CLAIR; those of prompts, of the text map and of text contexts come from their own classes.

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
        dropped_weight: gamma, of the instance contrast that images without a trusted label keep (R3); their
            ``near_classes`` likeliest classes are spared as negatives.
        label_noise: share of the images whose label is replaced by another one at random, to measure what wrong
            labels cost.
        whitened_share: share of every score that comes from frozen features, whitened within pseudo-classes. It
            keeps the encoder useful for classes the head never saw, and costs a little on those it did; ``auto``
            follows the two ratios, 0 leaves it out.
        known_class_ratio: with ``auto``: how many times as much as that part the head moves scores, where every
            class is named.
        new_class_ratio: the same with ``--unseen``, where new classes will come.
        whitening: ridge of the whitening.
        whitened_power: features are raised to it before they are centred and whitened; 1 leaves them.
        plain_weight: g, of instance contrast over all images, labels unused.
        instance_weight, cluster_weight, domain_weight, consistency_weight: l1 to l4.
        cluster_ramp, domain_ramp: share of all steps over which l2 and l3 grow from 0.
        cluster_temperature, domain_temperature: of their terms.
        candidates: what the inter-instance contrast compares with: the whole memory bank or the batch's keys.
        prototypes_of: what prototypes and R2's new labels are made of: every image's ``centre`` view, embedded
            anew, or the memory ``bank``, as the specification has it.
        prototype_momentum: prototypes also move with every step, ``mu <- normalise(m mu + (1 - m) batch mean)``;
            0 refreshes them once an epoch.
        separation_weight: of ``prototype_separation``, the other reading of "inter-cluster".
        vocabulary_weight: beta, of the part of L_gen over many nouns; ``vocabulary_temperature`` is its T.
        map_in_training: queries pass through the text map in L_dom, by a share that grows as l3 does.
        map_holdout: share of the images whose labels teach nothing, to choose the share of the map on; 0 chooses
            it on those trained on.
        warmup: the learning rate grows over the first epoch.
        level: what L_dom contrasts with: the other domain's prototypes, its images, or both.
        novel_share: share of the classes that stand for new ones in every step: their images then have the
            instance terms and L_gen alone (G3).
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
    dropped_weight: float = Field(0.0, ge=0)
    near_classes: int = Field(3, ge=1)
    label_noise: float = Field(0.0, ge=0, le=1)
    whitened_share: Share = "auto"
    whitening: float = Field(10.0, gt=0)
    whitened_power: float = Field(0.5, gt=0, le=1)
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
    candidates: Literal["bank", "batch"] = "bank"
    prototypes_of: Literal["centre", "bank"] = "centre"
    prototype_momentum: float = Field(0.0, ge=0, lt=1)
    separation_weight: float = Field(0.0, ge=0)
    vocabulary_weight: float = Field(0.0, ge=0)
    vocabulary_temperature: float = Field(0.01, gt=0)
    map_in_training: bool = False
    map_holdout: float = Field(0.0, ge=0, lt=1)
    warmup: bool = False
    level: Literal["prototype", "instance", "both"] = "prototype"
    novel_share: float = Field(0.0, ge=0, lt=1)


def require_fitting(config: ClairConfig, job: FitJob) -> None:
    """Check that settings go together.

    Raises:
        ConfigError: naming the two that do not.
    """
    if config.space == "free" and job.tune == "head":
        for key in ("map_in_training", "text_tokens", "vocabulary_weight"):
            if getattr(config, key):
                raise ConfigError(f"{key} works in the space of texts; leave out space=free")
    if config.map_in_training and config.map == "none":
        raise ConfigError("map_in_training needs a map; leave out map=none")
    if config.label_noise and job.oracle is None:
        raise ConfigError("label_noise spoils true labels to measure what errors cost; add --oracle")
