"""The settings of UEM, with what the paper states, what it leaves open and what departs from it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from crosslens.losses.semantic import Negatives, Reduction
from crosslens.methods.cluster_setting import ClusterSetting
from crosslens.methods.two_view import TwoViewConfig
from crosslens.ops.kmeans import First


class UEMConfig(TwoViewConfig):
    """Settings of UEM. Settings marked "deviation" are not in the paper; "open" ones it does not state.

    Attributes:
        epochs: of stage 1 (E); 100 or 200 in the paper.
        align_epochs: of stage 2; 50 in the paper, 0 leaves it out.
        members: see ``TwoViewConfig``.
        ema: averages the weights for the encoder that is kept (deviation); 0 keeps the trained weights.
        temperature: of every loss; 0.07 in the paper.
        bank_momentum: beta, how much of its old row a bank slot keeps when its image is visited. The paper's 0.99
            belongs to 100 epochs; the same share of the first row is left after 20 with 0.95.
        unit_bank: scale a bank row to unit length whenever it is written (open).
        bank, align_bank: where bank rows come from in stage 1 and 2: ``ema`` as above, or ``refresh``: recomputed
            before every epoch (open in stage 2, a deviation in stage 1).
        negatives: of L_INCE: ``batch`` is the printed equation, ``bank`` the sentence around it (open).
        reduction: of L_INCE, L_PNCE and L_DAL, which are printed as sums over the batch beside means in the other
            terms (open).
        clusters: per domain: ``auto`` estimates a count; a number, or several, are taken as given.
        ladder: cluster at several counts, these multiples of the estimate, and average the losses as UCDIR does
            here (deviation).
        count_method: how counts are estimated; the paper says elbow (open).
        count_every: epochs between estimates; the median of the last three counts (open).
        restarts, iterations: of k-means (open).
        kmeans_start: how its first centroids are drawn where there are none to start from (open).
        warm_start: start k-means from the previous epoch's centroids when the count is unchanged (open).
        merge: False keeps all prototypes apart (the paper's ablation).
        matching: ``distance`` is the paper's; ``votes`` merges clusters whose members' nearest neighbours across
            the domains are mostly each other's (deviation).
        votes: neighbours are found once in the features training starts from, or anew in the ``bank`` before every
            epoch (deviation).
        frame: ``translated`` is the paper's: each domain's prototypes stand in its own place; ``common`` gives
            both domains the same ones, untranslated (deviation).
        foreign_negatives: unmerged prototypes of the other domain are negatives of L_PNCE, as in the paper.
        merge_quantile: of the nearest-centroid distances, below which pairs merge; 0 is the paper's (deviation).
        merge_fallback: quantile for stage 2 where fewer than a fifth of the pairs merged in stage 1; None never
            falls back (deviation).
        unit_prototypes: scale prototypes to unit length after merging (open).
        instance_weight, prototype_weight, semantic_weight: of L_INCE, L_PNCE and L_SEL; 1 in the paper.
        prototype_start: share of stage 1 at which a(e) is a half; 0.5 in the paper.
        detach_weights: no gradient through the weights of L_SEL (open).
        adversarial_weight, preserve_weight, match_weight: of L_DAL, L_SPR and L_SN2M; 1 in the paper.
        match: ``switchable`` is L_SN2M; ``neighbour`` the paper's ablation of it; ``none``.
        match_epoch: first epoch of stage 2 with that loss; 0 in the paper.
        exclude_same_prototype: images of the other domain that belong to the anchor's counterpart are no
            negatives of L_SN2M (deviation).
        keep_stage1: weight of the stage-1 losses in stage 2; 0 in the paper (deviation).
        pause_adversary: after an epoch in which the domain classifier was right on more than 95 % of the images,
            its gradient stays out of the encoder for an epoch (deviation).
        align_lr: learning rate of stage 2 over that of stage 1; 1 restarts it (open).
        hidden, classifier_lr: width of the domain classifier, and its learning rate over stage 2's (open).
        reversal_ramp: how steeply the reversal's weight rises from 0 to 1 over stage 2; see ``reversal_strength``
            (open). None reverses in full from the first step.
    """

    epochs: int = Field(20, ge=1)
    align_epochs: int = Field(6, ge=0)
    members: int = Field(3, ge=1)
    ema: float = Field(0.0, ge=0, lt=1)
    temperature: float = Field(0.2, gt=0)
    bank_momentum: float = Field(0.95, ge=0, lt=1)
    unit_bank: bool = True
    bank: Literal["ema", "refresh"] = "refresh"
    align_bank: Literal["ema", "refresh"] = "ema"
    negatives: Negatives = "batch"
    reduction: Reduction = "mean"
    clusters: ClusterSetting = "auto"
    ladder: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0)
    count_method: Literal["two-segments", "chord", "silhouette", "gap"] = "two-segments"
    count_every: int = Field(20, ge=1)
    restarts: int = Field(3, ge=1)
    iterations: int = Field(25, ge=1)
    kmeans_start: First = "random"
    warm_start: bool = True
    merge: bool = True
    matching: Literal["distance", "votes"] = "votes"
    votes: Literal["bank", "start"] = "start"
    frame: Literal["translated", "common"] = "common"
    foreign_negatives: bool = True
    merge_quantile: float = Field(0.0, ge=0, le=1)
    merge_fallback: float | None = Field(0.25, ge=0, le=1)
    unit_prototypes: bool = True
    instance_weight: float = Field(1.0, ge=0)
    prototype_start: float = Field(0.2, ge=0, le=1)
    prototype_weight: float = Field(1.0, ge=0)
    semantic_weight: float = Field(1.0, ge=0)
    detach_weights: bool = False
    adversarial_weight: float = Field(1.0, ge=0)
    preserve_weight: float = Field(1.0, ge=0)
    match_weight: float = Field(1.0, ge=0)
    match: Literal["switchable", "neighbour", "none"] = "switchable"
    match_epoch: int = Field(0, ge=0)
    exclude_same_prototype: bool = True
    keep_stage1: float = Field(1.0, ge=0)
    pause_adversary: bool = False
    align_lr: float = Field(0.2, gt=0)
    hidden: int = Field(256, ge=1)
    classifier_lr: float = Field(10.0, gt=0)
    reversal_ramp: float | None = Field(10.0, gt=0)
