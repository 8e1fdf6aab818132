"""Baselines that need no training: the backbone as it is, and each domain's mean taken away."""

from __future__ import annotations

from typing import Literal

import numpy as np

from crosslens.encoder import Encoder
from crosslens.encoder.model_card import UNTRAINED
from crosslens.encoder.untrained import centred_encoder, frozen_encoder
from crosslens.methods.base import FitJob, Method, MethodConfig
from crosslens.support.errors import TrainingError


class FrozenConfig(MethodConfig):
    """Configuration of ``frozen`` and ``centred``."""

    space: Literal["features", "joint"] = "features"
    """``features``, or ``joint`` for the space shared with text."""


class Frozen(Method[FrozenConfig]):
    """The backbone's features, normalised."""

    name = "frozen"
    summary = UNTRAINED["frozen"]
    Config = FrozenConfig
    learns_from = frozenset()

    def fit(self, job: FitJob) -> Encoder:
        """Nothing is learned; images that cannot be read are reported all the same."""
        job.features_by_domain()
        encoder = frozen_encoder(job.backbone, joint=self.config.space == "joint")
        encoder.trained |= self.facts(job)
        return encoder


class Centred(Method[FrozenConfig]):
    """Features minus the mean of their domain: what a constant shift between the looks explains."""

    name = "centred"
    summary = UNTRAINED["centred"]
    Config = FrozenConfig

    def fit(self, job: FitJob) -> Encoder:
        """Compute one mean per domain.

        Raises:
            TrainingError: for a domain whose pictures do not differ: all of them would get a vector of length 0.
        """
        features = {domain: found.centre for domain, found in job.features_by_domain().items()}
        for domain, rows in features.items():
            if np.allclose(rows, rows.mean(0), rtol=1e-4, atol=1e-6):
                raise TrainingError(
                    f"the domain {domain!r} has one picture alone, or copies of one ({len(rows)}): its mean is"
                    " that picture, and without it nothing is left; add pictures, leave the domain out"
                    " (--domains), or use the method 'frozen'"
                )
        encoder = centred_encoder(job.backbone, features, joint=self.config.space == "joint")
        encoder.trained |= self.facts(job)
        return encoder
