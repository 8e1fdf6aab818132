"""The settings of UEM: the paper's own, what the paper leaves open, and what this project adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from crosslens.losses.semantic import Negatives, Reduction
from crosslens.methods.cluster_setting import ClusterSetting
from crosslens.methods.tuned import TunedConfig
from crosslens.ops.kmeans import First

BankSource = Literal["ema", "refresh"]


class UEMConfig(TunedConfig):
    """Settings of UEM; the values in the paper stand beside those defaults that differ."""

    # The paper's own.
    epochs: int = Field(20, ge=1)
    """Of stage 1 (E); 100 or 200 in the paper."""
    align_epochs: int = Field(6, ge=0)
    """Of stage 2; 50 in the paper, 0 leaves it out."""
    temperature: float = Field(0.2, gt=0)
    """Of every loss; 0.07 in the paper."""
    bank_momentum: float = Field(0.95, ge=0, lt=1)
    """beta, how much of its old row a bank slot keeps when its image is visited. The paper's 0.99 belongs to 100
    epochs; the same share of the first row is left after 20 with 0.95."""
    clusters: ClusterSetting = "auto"
    """Per domain: ``auto`` estimates a count; a number, or several, are taken as given."""
    merge: bool = True
    """Merge prototypes that correspond; false keeps all apart (the paper's ablation)."""
    foreign_negatives: bool = True
    """Take unmerged prototypes of the other domain as negatives of L_PNCE, as in the paper."""
    instance_weight: float = Field(1.0, ge=0)
    """Of L_INCE."""
    prototype_weight: float = Field(1.0, ge=0)
    """Of L_PNCE."""
    semantic_weight: float = Field(1.0, ge=0)
    """Of L_SEL."""
    prototype_start: float = Field(0.2, ge=0, le=1)
    """Share of stage 1 at which the weight of prototypes, a(e), is a half; 0.5 in the paper."""
    adversarial_weight: float = Field(1.0, ge=0)
    """Of L_DAL."""
    preserve_weight: float = Field(1.0, ge=0)
    """Of L_SPR."""
    match_weight: float = Field(1.0, ge=0)
    """Of L_SN2M."""
    match: Literal["switchable", "neighbour", "none"] = "switchable"
    """``switchable`` is L_SN2M; ``neighbour`` the paper's ablation of it; ``none``."""

    # What the paper leaves open.
    unit_bank: bool = True
    """Scale a bank row to unit length whenever it is written."""
    align_bank: BankSource = "ema"
    """Where bank rows come from in stage 2; see ``bank``."""
    negatives: Negatives = "batch"
    """Of L_INCE: ``batch`` is the printed equation, ``bank`` the sentence around it."""
    reduction: Reduction = "mean"
    """Of L_INCE, L_PNCE and L_DAL, which are printed as sums over the batch beside means in the other terms."""
    count_method: Literal["two-segments", "chord", "silhouette", "gap"] = "two-segments"
    """How counts are estimated; the paper says elbow."""
    count_every: int = Field(20, ge=1)
    """Epochs between estimates; the median of the last three counts."""
    restarts: int = Field(3, ge=1)
    """Of k-means."""
    iterations: int = Field(25, ge=1)
    """Of k-means."""
    kmeans_start: First = "random"
    """How the first centroids of k-means are drawn where there are none to start from."""
    warm_start: bool = True
    """Start k-means from the previous epoch's centroids when the count is unchanged."""
    unit_prototypes: bool = True
    """Scale prototypes to unit length after merging."""
    detach_weights: bool = False
    """Let no gradient through the weights of L_SEL."""
    align_lr: float = Field(0.2, gt=0)
    """Learning rate of stage 2 over that of stage 1; 1 restarts it."""
    hidden: int = Field(256, ge=1)
    """Width of the domain classifier."""
    classifier_lr: float = Field(10.0, gt=0)
    """Its learning rate over stage 2's."""
    reversal_ramp: float | None = Field(10.0, gt=0)
    """How steeply the reversal's weight rises from 0 to 1 over stage 2; None reverses in full from the first
    step."""

    # What this project adds.
    members: int = Field(3, ge=1)
    bank: BankSource = "refresh"
    """Where bank rows come from in stage 1: ``ema``, moved as images are visited, is the paper's; ``refresh``
    computes them anew before every epoch."""
    ladder: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0)
    """Cluster at several counts, these multiples of the estimate, and average the losses; empty takes the estimate
    alone, as the paper does."""
    matching: Literal["distance", "votes"] = "votes"
    """``distance`` is the paper's; ``votes`` merges clusters whose members' nearest neighbours across the domains,
    in the features that training starts from, are mostly each other's."""
    frame: Literal["translated", "common"] = "common"
    """``translated`` is the paper's: each domain's prototypes stand in its own place; ``common`` gives both
    domains the same ones, untranslated."""
    merge_quantile: float = Field(0.0, ge=0, le=1)
    """Quantile of the nearest-centroid distances below which pairs merge (``matching=distance``); 0 is the
    paper's."""
    merge_fallback: float | None = Field(0.25, ge=0, le=1)
    """The quantile for stage 2 where fewer than a fifth of the pairs merged in stage 1; None never falls back."""
    match_epoch: int = Field(0, ge=0)
    """First epoch of stage 2 with L_SN2M; 0 is the paper's."""
    exclude_same_prototype: bool = True
    """Let images of the other domain that belong to the anchor's counterpart be no negatives of L_SN2M; in the
    paper they are."""
    keep_stage1: float = Field(1.0, ge=0)
    """Weight of the stage-1 losses in stage 2; 0 in the paper."""
    pause_adversary: bool = False
    """Keep the domain classifier's gradient out of the encoder for an epoch after one in which it was right on
    more than 95 % of the images."""

    removed: ClassVar[Mapping[str, Any]] = {"ema": 0.0, "votes": "start"}
