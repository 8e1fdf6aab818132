"""Baselines that need no training: the backbone as it is, and each domain's mean taken away."""

from __future__ import annotations

from typing import Literal

import torch

from crosslens.encoder import Encoder
from crosslens.methods.base import FitJob, Method, MethodConfig


class FrozenConfig(MethodConfig):
    """Configuration of ``frozen`` and ``centred``."""

    space: Literal["features", "joint"] = "features"
    """``features``, or ``joint`` for the space shared with text."""


class Frozen(Method[FrozenConfig]):
    """The backbone's features, normalised."""

    name = "frozen"
    summary = "the backbone as it is, without training"
    Config = FrozenConfig
    learns_from = frozenset()

    def fit(self, job: FitJob) -> Encoder:
        """Nothing is learned; images that cannot be read are reported all the same."""
        job.features_by_domain()
        return Encoder(job.backbone, method=self.name, space=self.config.space, trained=self.facts(job))


class Centred(Method[FrozenConfig]):
    """Features minus the mean of their domain: what a constant shift between the looks explains."""

    name = "centred"
    summary = "the backbone's features minus the mean of each domain"
    Config = FrozenConfig

    def fit(self, job: FitJob) -> Encoder:
        """Compute one mean per domain."""
        space, means = self.config.space, {}
        for domain, features in job.features_by_domain().items():
            rows = torch.from_numpy(features.centre)
            means[domain] = (job.backbone.to_joint(rows) if space == "joint" else rows).mean(0)
        return Encoder(job.backbone, method=self.name, means=means, space=space, trained=self.facts(job))
