"""Baselines that need no training: the backbone as it is, and each domain's mean taken away."""

from __future__ import annotations

from typing import Literal

from crosslens.encoder import Encoder
from crosslens.encoder.untrained import centred_encoder, frozen_encoder
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
        return self._with_facts(frozen_encoder(job.backbone, joint=self._joint), job)

    @property
    def _joint(self) -> bool:
        assert isinstance(self.settings, FrozenConfig)
        return self.settings.space == "joint"

    def _with_facts(self, encoder: Encoder, job: FitJob) -> Encoder:
        encoder.trained |= self.facts(job)
        return encoder


class Centred(Frozen):
    """Features minus the mean of their domain: what a constant shift between the looks explains."""

    name = "centred"

    def fit(self, job: FitJob) -> Encoder:
        """Compute one mean per domain."""
        features = {domain: found.centre for domain, found in job.features_by_domain().items()}
        return self._with_facts(centred_encoder(job.backbone, features, joint=self._joint), job)
