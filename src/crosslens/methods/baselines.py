"""Baselines that need no training: the backbone as it is, and each domain's mean taken away."""

from __future__ import annotations

from typing import Literal

import torch

from crosslens.encoder import Encoder
from crosslens.encoder.parts import Centre, Joint
from crosslens.methods.base import FitJob, Method, MethodConfig


class FrozenConfig(MethodConfig):
    """Configuration of ``frozen`` and ``centred``.

    Attributes:
        space: ``features``, or ``joint`` for the space shared with text.
    """

    space: Literal["features", "joint"] = "features"


class Frozen(Method):
    """The backbone's features, normalised."""

    name = "frozen"
    Config = FrozenConfig

    def fit(self, job: FitJob) -> Encoder:
        """Nothing is learned; images that cannot be read are reported all the same."""
        job.features_by_domain()
        return self._encoder(job, {})

    def _encoder(self, job: FitJob, means: dict[str, torch.Tensor]) -> Encoder:
        assert isinstance(self.settings, FrozenConfig)
        joint = Joint(job.backbone) if self.settings.space == "joint" else None
        return Encoder(job.backbone, [joint, Centre(means)], method=self.name, trained=self.facts(job))


class Centred(Frozen):
    """Features minus the mean of their domain: what a constant shift between the looks explains."""

    name = "centred"

    def fit(self, job: FitJob) -> Encoder:
        """Compute one mean per domain."""
        assert isinstance(self.settings, FrozenConfig)
        means = {}
        for domain, features in job.features_by_domain().items():
            rows = torch.from_numpy(features.centre)
            means[domain] = (job.backbone.to_joint(rows) if self.settings.space == "joint" else rows).mean(0)
        return self._encoder(job, means)
