"""Settings of CLAIR."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from crosslens.labels.pseudo_labels import Calibration, Confidence
from crosslens.methods.clair.prompts import PromptConfig
from crosslens.methods.clair.texts import TextContextConfig
from crosslens.methods.clair.whitened import Share
from crosslens.methods.text_map import MapConfig
from crosslens.methods.two_view import TwoViewConfig


class ClairConfig(TwoViewConfig, PromptConfig, MapConfig, TextContextConfig):
    """Settings of CLAIR; those of prompts, of the text map and of text contexts come from their own classes."""

    epochs: int = Field(10, ge=1)

    # Labels: what the paper's abstract asks for, in forms of the first proposal (docs/methods/clair.md).
    label_temperature: float = Field(0.5, gt=0)
    """Of the softmax that gives confidences; 0.01 fits uncalibrated cosines of CLIP."""
    keep: float = Field(1.0, gt=0, le=1)
    """Share of each class's images whose labels are trusted; the first proposal keeps 0.7."""
    floor: float = Field(0.1, ge=0, le=1)
    """Least confidence of a trusted label."""
    threshold: float | None = Field(None, ge=0, le=1)
    """One confidence for all classes, in place of ``keep`` and ``floor``."""
    confidence: Confidence = "share"
    """What a label's confidence is; see ``labels.pseudo_labels``."""
    weighted: bool = True
    """Let images count by their confidence."""
    relabel: bool = False
    """Label anew after every epoch, half by the first posteriors and half by the class prototypes of the moment,
    until fewer than 1 % change."""

    # Losses: the terms are the paper's, every formula is a proposal.
    plain_weight: float = Field(0.0, ge=0)
    """g, of instance contrast over all images, labels unused."""
    instance_weight: float = Field(1.0, ge=0)
    """l1, of the inter-instance contrast."""
    cluster_weight: float = Field(1.0, ge=0)
    """l2, of the inter-cluster contrast."""
    domain_weight: float = Field(1.0, ge=0)
    """l3, of the inter-domain contrast; the first proposal has 0.5."""
    consistency_weight: float = Field(1.0, ge=0)
    """l4, of the consistency with the frozen joint space."""
    cluster_ramp: float = Field(0.1, ge=0, le=1)
    """Share of all steps over which l2 grows from 0."""
    domain_ramp: float = Field(0.25, ge=0, le=1)
    """Share of all steps over which l3 grows from 0."""
    cluster_temperature: float = Field(0.2, gt=0)
    """Of the inter-cluster contrast; the first proposal has 0.07, for CLIP."""
    domain_temperature: float = Field(0.2, gt=0)
    """Of the inter-domain contrast; the first proposal has 0.07, for CLIP."""
    candidates: Literal["bank", "batch"] = "bank"
    """What the inter-instance contrast compares with: the whole memory bank or the batch's keys."""
    prototypes_of: Literal["centre", "bank"] = "centre"
    """What prototypes and new labels are made of: every image's ``centre`` view, embedded anew, or the memory
    ``bank``, as the first proposal has it."""
    prototype_momentum: float = Field(0.0, ge=0, lt=1)
    """Let prototypes also move with every step, ``mu <- normalise(m mu + (1 - m) batch mean)``; 0 refreshes them
    once an epoch."""
    separation_weight: float = Field(0.0, ge=0)
    """Of the prototypes' own distance from each other, the other reading of "inter-cluster"."""
    level: Literal["prototype", "instance", "both"] = "prototype"
    """What the inter-domain contrast compares with: the other domain's prototypes, its images, or both."""
    novel_share: float = Field(0.0, ge=0, lt=1)
    """Share of the classes that stand for new ones in every step: their images then have the instance terms and
    the consistency alone."""
    warmup: bool = False
    """Let the learning rate grow over the first epoch."""
    map_holdout: float = Field(0.0, ge=0, lt=1)
    """Share of the images whose labels teach nothing, to choose the share of the text map on; 0 chooses it on
    those trained on."""

    # What this project adds.
    members: int = Field(3, ge=1)
    centre: bool = True
    space: Literal["joint", "free"] = "joint"
    """``joint`` gives the head the joint space's width and keeps it there by the consistency, so that texts and
    the text map apply to its vectors; ``free`` takes the width from ``head``."""
    calibration: Calibration = "standardise"
    """What is taken from each domain's scores; ``none`` is the first proposal's."""
    label_views: bool = True
    """Score the mean of all cached views instead of the centre view."""
    spread: bool = True
    """Refine labels before training, along neighbours and between the domains."""
    neighbours: int = Field(10, ge=1)
    """Of an image, along which labels are spread."""
    reach: float = Field(0.99, ge=0, lt=1)
    """How far labels are spread: the share that a neighbour passes on."""
    rounds: int = Field(5, ge=0)
    """Rounds of handing labels over between the domains."""
    whitened_share: Share = "auto"
    """Share of every score that comes from frozen features, whitened within pseudo-classes. It keeps the encoder
    useful for classes the head never saw, and costs a little on those it did; with ``auto`` the head moves scores
    four times as much as that part, or with ``--unseen``, where new classes will come, a quarter as much; 0 leaves
    it out."""
    whitened_power: float = Field(0.5, gt=0, le=1)
    """Features are raised to it before they are centred and whitened; 1 leaves them."""

    # Controls.
    labels_from: Literal["names", "kmeans"] = "names"
    """``names``, or ``kmeans``: both domains clustered together into as many groups as there are names."""
    label_noise: float = Field(0.0, ge=0, le=1)
    """With ``--oracle``: share of the images whose label is replaced by another one at random, to measure what
    wrong labels cost."""

    removed: ClassVar[Mapping[str, Any]] = {
        "dropped_weight": 0.0,
        "near_classes": ...,
        "vocabulary_weight": 0.0,
        "vocabulary_temperature": ...,
        "map_in_training": False,
        "handover": 1.0,
        "known_class_ratio": 4.0,
        "new_class_ratio": 0.25,
        "whitening": 10.0,
        "text_weight": 1.0,
        "text_consistency_weight": 1.0,
    }
